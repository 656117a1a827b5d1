"""All checks, in the order in which a run would meet the trouble."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.client import Client
from exporter.connections import Timeouts
from exporter.doctor import access, machine
from exporter.doctor.destination import destinations
from exporter.doctor.findings import Check, State
from exporter.doctor.host import host
from exporter.errors import ConfigError
from exporter.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.credentials import Credentials
    from exporter.settings import Settings

_MOST_PROJECTS: Final = 20
_OF_A_PROJECT: Final = ("key", "pii_access")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined.

    Attributes:
        settings: of the run that is to be.
        credentials: its keys.
        projects: for each (account, project) conversations to look for raw audio in; None where
            no raw audio is going to be asked for.
        learn: is told each key, before anything is said or sent.
    """

    settings: Settings
    credentials: Credentials
    projects: Mapping[tuple[str, str], Sequence[str] | None]
    learn: Callable[[str], None] = field(default=lambda _: None)


async def examine(patient: Patient) -> list[Check]:
    """Look at everything; what is not well is in what comes back."""
    settings = patient.settings
    checks = [machine.time_zones(settings.output.timezone)]
    if not patient.projects:
        why = "no project is named: give a manifest, or --account and --project"
        checks.append(Check.skipped("key_found", why))
    projects = []
    for (account, project), conversations in list(patient.projects.items())[:_MOST_PROJECTS]:
        about = f"{account}/{project}"
        try:
            credential = patient.credentials.of(account, project)
        except ConfigError as error:
            checks.append(Check.failed("key_found", error, about=about))
            continue
        patient.learn(credential.key)
        checks.append(Check("key_found", State.OK, f"in {credential.name}", about=about))
        wants_raw = conversations is not None
        projects.append(
            access.Project(account, project, credential, wants_raw, conversations or ())
        )
    checks += await destinations(settings)
    return [*checks, *await _api(settings, projects, patient)]


async def _api(
    settings: Settings, projects: Sequence[access.Project], patient: Patient
) -> list[Check]:
    api = settings.api
    others = {each for each in (api.list_origin, api.detail_origin) if each} - {api.origin}
    try:
        client = Client(
            origin=api.origin,
            surface=api.surface,
            timeouts=Timeouts(**api.timeout.model_dump()),
            ca_file=api.ca_file,
            never_raw=lambda *project: settings.policy_of(*project).never_raw,
            other_origins=sorted(others),
        )
    except ConfigError as error:
        return [Check.failed("config", error)]
    async with client:
        checks = await host(client, api.origin)
        if any(one.state is State.FAILED for one in checks):
            why = "the host cannot be asked"
            skipped = [_skipped(name, why, one) for one in projects for name in _OF_A_PROJECT]
            return [*checks, *skipped]
        listing = Listing(client, list_origin=api.list_origin, detail_origin=api.detail_origin)
        for one in projects:
            checks += await _project(client, listing, one, settings)
    if not projects:
        why = "there is no key to look at" if patient.projects else "no project is named"
        checks += [Check.skipped(name, why) for name in _OF_A_PROJECT]
    if (more := len(patient.projects) - _MOST_PROJECTS) > 0:
        checks.append(Check.skipped("key", f"{more:,} more projects are not looked at"))
    return checks


async def _project(
    client: Client, listing: Listing, project: access.Project, settings: Settings
) -> list[Check]:
    key = await access.key(client, project, settings)
    if key.state is not State.OK:
        return [key, _skipped("pii_access", "the key does not open the project", project)]
    return [key, await access.pii_access(client, listing, project, settings)]


def _skipped(name: str, why: str, project: access.Project) -> Check:
    return Check.skipped(name, why, about=project.name)
