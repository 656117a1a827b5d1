"""`exporter doctor`: from the words on the command line to checks that people can read."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from exporter import log
from exporter.credentials import Credentials
from exporter.doctor import NAMES, Check, Patient, State, examine, exit_code_of, versions
from exporter.errors import ExporterError, ManifestError, UsageError
from exporter.loader import open_manifest
from exporter.model import Redaction
from exporter.planning import choice_of
from exporter.policy import without_raw
from exporter.queries import windows_of
from exporter.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from exporter.loader import Manifest
    from exporter.settings import Flag, Settings

_ENOUGH = 3  # conversations of each project that may be looked at

_Projects = dict[tuple[str, str], list[str] | None]


@dataclass(frozen=True, slots=True)
class About:
    """What to look at beside the config.

    Attributes:
        manifest: a file, or `-`; None: there is none.
        manifest_format: of it; None: by its file ending.
        project: (account, project); None: those of the manifest.
        conversation: in which personal data was spoken; None: any that is found.
    """

    manifest: str | None = None
    manifest_format: str | None = None
    project: tuple[str, str] | None = None
    conversation: str | None = None


def about(
    manifest: str | None,
    manifest_format: str | None,
    account: str | None,
    project: str | None,
    conversation: str | None,
) -> About:
    """The flags as one value.

    Raises:
        UsageError: they do not fit together.
    """
    if (account is None) != (project is None):
        raise UsageError("found one of --account and --project, expected both or neither")
    if conversation is not None and account is None and manifest is None:
        raise UsageError("--conversation: expected --account and --project, or a manifest, too")
    named = (account, project) if account is not None and project is not None else None
    return About(manifest, manifest_format, named, conversation)


def doctor(
    what: About,
    *,
    config_file: Path | None,
    flags: Sequence[Flag],
    as_json: bool,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Examine what a run would need; returns the exit code that a run would end with."""
    redactor = log.Redactor()
    log.configure(json=False, level="error", redactor=redactor)
    reading = _Reading([versions()])
    try:
        settings = reading.read(what, config_file, flags, environ)
    except ExporterError as error:
        name = "manifest" if isinstance(error, ManifestError) else "config"
        checks = [*reading.checks, *_failed(name, error)]
        rest = NAMES[NAMES.index(name) + 1 :]
        checks += [Check.skipped(each, f"the {name} cannot be used") for each in rest]
    else:
        credentials = Credentials(settings.credentials, environ)
        patient = Patient(settings, credentials, reading.projects, redactor.add)
        checks = [*reading.checks, *asyncio.run(examine(patient))]
    told = [replace(one, message=redactor.text(one.message)) for one in checks]
    if as_json:
        _print_json(told)
    else:
        from exporter.progress import print_checks  # noqa: PLC0415 (rich is slow to import)

        print_checks(told)
    return exit_code_of(told)


def _failed(name: str, error: ExporterError) -> list[Check]:
    """A check for each mistake."""
    mistakes = [error, *(error.also if isinstance(error, UsageError) else ())]
    failed = [Check.failed(name, one, mend="Correct it at that place.") for one in mistakes]
    if isinstance(error, UsageError) and error.has_more:
        more = UsageError(f"and more; these are the first {len(failed)}")
        failed.append(Check.failed(name, more, mend="Correct these, and look again."))
    return failed


@dataclass(slots=True)
class _Reading:
    """What the user wrote.

    Attributes:
        checks: what was read well.
        projects: those that are going to be asked for, as `Patient` wants them.
    """

    checks: list[Check]
    projects: _Projects = field(default_factory=dict)

    def read(
        self,
        what: About,
        config_file: Path | None,
        flags: Sequence[Flag],
        environ: Mapping[str, str],
    ) -> Settings:
        """Config and manifest, to their ends.

        Raises:
            ExporterError: one of them is wrong.
        """
        if what.manifest is None:
            settings = load_settings(flags=flags, config_file=config_file, environ=environ)
            self._note("config", "can be used")
            self.checks.append(Check.skipped("manifest", "none is named"))
        else:
            with open_manifest(
                what.manifest, format=what.manifest_format, stdin=sys.stdin.buffer
            ) as opened:
                settings = load_settings(
                    flags=flags,
                    config_file=config_file,
                    manifest_config=opened.config,
                    environ=environ,
                )
                self._note("config", "can be used")
                count = self._take(opened, settings)
            self._note("manifest", f"conversations: {count:,}; projects: {len(self.projects):,}")
        self._choose(what, settings)
        return settings

    def _note(self, name: str, message: str) -> None:
        self.checks.append(Check(name, State.OK, message))

    def _take(self, opened: Manifest, settings: Settings) -> int:
        choice = choice_of(settings)
        count = 0
        for one in without_raw(
            opened.conversations(),
            choice,
            lambda *project: settings.policy_of(*project).never_raw,
        ):
            count += 1
            project = one.account_id, one.project_id
            self._add(project, one.redaction or choice.redaction, one.conversation_id)
        for window in windows_of(opened.queries, settings):
            project = window.account_id, window.project_id
            self._add(project, window.redaction or choice.redaction)
        return count

    def _add(self, project: tuple[str, str], redaction: Sequence[Redaction], *names: str) -> None:
        """A project, and conversations of it that are going to be asked for as raw."""
        known = self.projects.setdefault(project, None)
        if Redaction.RAW in redaction:
            self.projects[project] = [*(known or ()), *names][:_ENOUGH]

    def _choose(self, what: About, settings: Settings) -> None:
        """Only what the flags name, if they do."""
        if what.project is not None:
            anything: list[str] | None = [] if Redaction.RAW in settings.export.redaction else None
            self.projects = {what.project: self.projects.get(what.project, anything)}
        if what.conversation is not None:
            if len(self.projects) != 1:
                raise UsageError(
                    f"--conversation: the manifest names {len(self.projects):,} projects",
                    hint="Say which one with --account and --project.",
                )
            self.projects = {one: [what.conversation] for one in self.projects}


def _print_json(checks: Sequence[Check]) -> None:
    exit_code = exit_code_of(checks)
    document = {
        "schema_version": 1,
        "ok": exit_code == 0,
        "exit_code": exit_code,
        "checks": [
            {
                "name": one.name,
                "about": one.about or None,
                "state": one.state,
                "message": one.message,
                "hint": one.hint or None,
            }
            for one in checks
        ],
    }
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n")
