"""Whether the keys open what they should: by one small request each, and by one small pair.

The key is shown to the configured host and to nobody else: which region it belongs to is not tried
out, but concluded from what the host answers.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Final

from exporter.comparison import compare
from exporter.doctor.findings import Check, State
from exporter.doctor.host import patiently
from exporter.errors import ConfigError, ErrorKind, FetchError
from exporter.listing import PageOf
from exporter.model import Direction, Recording, Redaction, RedactionEvidence
from exporter.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.client import Client
    from exporter.credentials import Credential
    from exporter.listing import Listing
    from exporter.settings import Settings

PROBE: Final = "unknown-exporter-doctor"
"""A conversation that nobody has: that the API does not know it is the best answer."""

_PAIRS: Final = 3
_LISTED: Final = 20
_BACK: Final = timedelta(days=7)
_PIECE: Final = 1024 * 1024
_IN_MEMORY: Final = 16 * 1024 * 1024

_ADMITTED: Final = frozenset(
    {ErrorKind.CONVERSATION_NOT_FOUND, ErrorKind.RECORDING_NOT_FOUND, ErrorKind.GONE}
)
_EXPIRED: Final = "AUTH_USER_INVALID_TOKEN"
_UNKNOWN: Final = "AUTH_USER_NOT_FOUND"
_ANOTHER: Final = (
    "Name a conversation in which personal data was spoken (--conversation); or ask the account's"
    " administrator whether the key's role has PII access."
)


@dataclass(frozen=True, slots=True)
class Project:
    """A project whose key is looked at.

    Attributes:
        account_id: as the API writes it.
        project_id: likewise.
        credential: its key.
        wants_raw: raw recordings are going to be asked for.
        conversations: some that may be asked for; empty: to be found by the list.
    """

    account_id: str
    project_id: str
    credential: Credential
    wants_raw: bool
    conversations: Sequence[str] = ()

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.account_id}/{self.project_id}"

    def recording(self, conversation: str, redaction: Redaction) -> Recording:
        """A small one: the sides of a call are as long as both together, and any will do."""
        return Recording(
            self.account_id, self.project_id, conversation, Direction.COMBINED, redaction
        )


async def key(client: Client, project: Project, settings: Settings) -> Check:
    """Whether the key opens the project, by asking for a conversation that nobody has."""
    recording = project.recording(PROBE, Redaction.REDACTED)

    async def ask() -> None:
        async with client.open(recording, project.credential.key):
            """Somebody has it after all: the key opens the project."""

    try:
        await patiently(ask)
    except FetchError as error:
        return judged(error, project, settings)
    return _accepted(project)


def judged(error: FetchError, project: Project, settings: Settings) -> Check:
    """What an answer says about key, project, region and host."""
    if error.kind in _ADMITTED:
        return _accepted(project)
    references = [error.code] if error.code else []
    if error.correlation_id:
        references.append(f"correlation id {error.correlation_id}")
    told = error.message + (f" ({', '.join(references)})" if references else "")
    if error.kind is ErrorKind.RATE_LIMITED:
        message = f"the API takes no more requests for now: {told}"
        mend = "Try again later; another program may be using the same key."
        return Check("key", State.WARNING, message, mend, project.name)
    api = settings.api
    where = api.origin if api.base_url else f"{api.origin} (region {api.region})"
    what, mend = _meaning(error, project, where)
    exit_code = 3 if error.kind in {ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN} else 1
    return Check("key", State.FAILED, f"{what}: {told}", mend, project.name, exit_code)


def _meaning(error: FetchError, project: Project, where: str) -> tuple[str, str]:
    """What happened, and how to mend it."""
    key_name = project.credential.name
    match error.kind:
        case ErrorKind.UNAUTHORIZED:
            return _unauthorized(error.code, key_name, where)
        case ErrorKind.FORBIDDEN:
            what = f"the key in {key_name} is known, but may not read this project"
            return what, (
                "Either it was replaced (rotated) by a newer one: put that into place. Or it lacks"
                f" the permission: ask the account's administrator to let it read {project.name}."
            )
        case ErrorKind.PROJECT_NOT_FOUND:
            what = f"no such project at {where}"
            return what, (
                "Check account_id and project_id for typing errors. If they are right, the project"
                " is in another region: set api.region."
            )
        case ErrorKind.WRONG_HOST | ErrorKind.UNEXPECTED_STATUS:
            what = f"wrong host: what answers at {where} is not this API"
            return what, (
                "Check api.base_url, api.region and api.surface: each family of the API has hosts"
                " of its own."
            )
        case _:
            what = f"{where} did not answer as it should"
            return what, "Try again later; if it stays so, ask the vendor's support."


def _unauthorized(code: str | None, name: str, where: str) -> tuple[str, str]:
    """What happened, and how to mend it."""
    regions = f"A key belongs to one region, and {where} is asked: set api.region to the key's own."
    if code == _EXPIRED:
        what = f"the key in {name} is expired, or malformed"
        return what, f"Ask for a new key, and put it into place. {regions}"
    if code == _UNKNOWN:
        what = f"the key in {name} is not known there"
        return what, f"{regions} Else it was deleted, or mistyped: put a valid one into place."
    what = f"the key in {name} was refused"
    return what, f"It is mistyped, expired, or of another region. {regions}"


def _accepted(project: Project) -> Check:
    message = f"the key in {project.credential.name} opens the project"
    return Check("key", State.OK, message, about=project.name)


async def pii_access(
    client: Client, listing: Listing, project: Project, settings: Settings
) -> Check:
    """Whether the key reads raw audio: compares raw and redacted of one conversation, or a few."""
    about = project.name
    if settings.policy_of(project.account_id, project.project_id).never_raw:
        return Check.skipped("pii_access", "never_raw is set", about=about)
    if not project.wants_raw:
        why = "no raw recordings are asked for; --conversation ID looks all the same"
        return Check.skipped("pii_access", why, about=about)
    try:
        candidates = project.conversations or await _found(listing, project)
        seen = await _pairs(client, project, candidates[:_PAIRS], settings)
    except (FetchError, ConfigError) as error:
        return Check("pii_access", State.WARNING, error.message, _ANOTHER, about)
    return _concluded(seen, about)


def _concluded(seen: Sequence[tuple[str, RedactionEvidence]], about: str) -> Check:
    if not seen:
        return Check(
            "pii_access",
            State.WARNING,
            "no conversation with a recording was found to look at",
            "Name one with --conversation, in which personal data was spoken.",
            about,
        )
    for conversation, evidence in seen:
        if evidence is RedactionEvidence.CONFIRMED:
            message = f"confirmed: raw and redacted audio of {conversation} differ"
            return Check("pii_access", State.OK, message, about=about)
    names = ", ".join(conversation for conversation, _ in seen)
    if all(evidence is RedactionEvidence.IDENTICAL for _, evidence in seen):
        message = (
            f"unknown: raw and redacted audio of {names} are the same, because nothing private was"
            " said, or because the key has no PII access"
        )
        return Check("pii_access", State.WARNING, message, _ANOTHER, about)
    message = f"unknown: raw and redacted audio of {names} cannot be explained by muting alone"
    return Check("pii_access", State.WARNING, message, "Listen to both, or name another.", about)


async def _found(listing: Listing, project: Project) -> list[str]:
    """Some finished calls of late."""
    now = datetime.now(UTC)
    window = Window(project.account_id, project.project_id, now - _BACK, now, "UTC")
    asked = PageOf(window, None, _LISTED)
    page = await patiently(lambda: listing.page(asked, project.credential.key, lambda: None))
    return [
        each.id
        for each in page.conversations
        if each.id and not each.in_progress and window.filters.accept_channel(each.channel)
    ]


async def _pairs(
    client: Client, project: Project, candidates: Sequence[str], settings: Settings
) -> list[tuple[str, RedactionEvidence]]:
    """What they show, until one proves access."""
    seen = []
    for conversation in candidates:
        evidence = await _pair(client, project, conversation, settings)
        if evidence is not None:
            seen.append((conversation, evidence))
        if evidence is RedactionEvidence.CONFIRMED:
            break
    return seen


async def _pair(
    client: Client, project: Project, conversation: str, settings: Settings
) -> RedactionEvidence | None:
    """What the two show; None where one of them is missing. They are kept nowhere."""
    with (
        tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as raw,
        tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as redacted,
    ):
        for redaction, file in ((Redaction.RAW, raw), (Redaction.REDACTED, redacted)):
            recording = project.recording(conversation, redaction)
            try:
                await patiently(lambda: _fetch(client, recording, project, file, settings))  # noqa: B023 (awaited at once)
            except FetchError as error:
                if error.kind in _ADMITTED:
                    return None
                raise
        found = await asyncio.to_thread(compare, _pieces(raw), _pieces(redacted))
    return found.evidence


async def _fetch(
    client: Client, recording: Recording, project: Project, file: IO[bytes], settings: Settings
) -> None:
    file.seek(0)
    file.truncate()
    async with client.open(recording, project.credential.key) as body:
        async for chunk in body.chunks():
            file.write(chunk)
            if file.tell() > settings.limits.max_recording_bytes:
                raise FetchError(ErrorKind.TOO_LARGE, f"{recording} is too long to be compared")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece
