"""What a run is to do, who is told how it goes on, and how it ended."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from exporter.credentials import Credentials
    from exporter.errors import PolicyError
    from exporter.ledger import Totals
    from exporter.model import Outcome
    from exporter.pii_access import Finding
    from exporter.results import RunInfo, Summary
    from exporter.settings import Settings
    from exporter.spool import Spool
    from exporter.stopping import StopReason
    from exporter.window import Window


def utc_now() -> datetime:
    """What time it is."""
    return datetime.now(UTC)


class Watcher(Protocol):
    """Is told how a run goes on; the progress bar."""

    def planned(self, totals: Totals) -> None:
        """Everything asked for is known; the fetching begins."""

    def ended(self, outcome: Outcome) -> None:
        """One recording has its outcome."""


class NullWatcher:
    """Is told and says nothing."""

    def planned(self, totals: Totals) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one run is to do.

    Attributes:
        spool: the conversations of the manifest, checked to the last.
        manifest_path: as given; `<stdin>` for standard input.
        manifest_sha256: of the manifest's bytes.
        windows: what is to be looked for in the list of conversations.
        allow_missing: not found and gone do not make the run fail.
        results_file: where to write the results besides the archive.
        clean: takes secrets out of a text before it is kept.
        now: what time it is.
    """

    spool: Spool
    manifest_path: str
    manifest_sha256: str | None
    settings: Settings
    credentials: Credentials
    windows: Sequence[Window] = ()
    allow_missing: bool = False
    results_file: Path | None = None
    clean: Callable[[str], str] = str
    now: Callable[[], datetime] = utc_now

    @property
    def projects(self) -> list[tuple[str, str]]:
        """(account, project) of everything that is to be asked for."""
        listed = [(each.account_id, each.project_id) for each in self.windows]
        return list(dict.fromkeys([*self.spool.projects, *listed]))


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended.

    Attributes:
        run: as in the results.
        summary: as in the results.
        results_path: where the results lie; None where they could not be written.
        reason: why it ended early; None when it went to the end.
        pii_access: for each (account, project) that raw was asked for.
        policy: which policy was broken.
        retention: how long the vendor keeps recordings; None: nobody said.
        expiry_warning: what it deletes within this time is told.
    """

    run: RunInfo
    summary: Summary
    results_path: str | None
    reason: StopReason | None
    pii_access: dict[tuple[str, str], Finding]
    policy: PolicyError | None
    retention: timedelta | None
    expiry_warning: timedelta


class StoppedWaitingError(ExporterError):
    """The run was stopped while it waited for another one to end."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"{reason.message}, while waiting for the archive", hint=reason.hint)
        self.exit_code = reason.exit_code


def new_run_id() -> str:
    """Sorts by time, and differs for runs of the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
