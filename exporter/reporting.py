"""The results of a run, from the ledger to a file that can be read."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from exporter.certificate import certificate
from exporter.errors import DestinationError
from exporter.layout import RESERVED
from exporter.model import PiiAccessState
from exporter.pii_access import ENOUGH_IDENTICAL, PairCounts, judge
from exporter.places import user_state_dir
from exporter.results import (
    PiiAccess,
    Result,
    RunInfo,
    Summary,
    WindowInfo,
    render,
    to_result,
)
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from exporter.ledger import Ledger, LedgerThread
    from exporter.pii_access import Finding
    from exporter.results import MetadataCounts
    from exporter.settings import OutputSettings
    from exporter.sinks.base import Sink

_PAGE = 1000

_log = structlog.get_logger()


def results_path(run_id: str) -> str:
    """Where a run's results lie in the archive."""
    return f"{RESERVED}/runs/{run_id}/results.json"


def ended_at(run: RunInfo) -> datetime:
    """When a run ended, as its results say."""
    return datetime.fromisoformat(run.finished_at)


async def prepare_beside(file: Path, run_id: str, output: OutputSettings) -> None:
    """A folder that takes no results is better known before the work than after it.

    Raises:
        DestinationError: it cannot be written.
    """
    sink = LocalSink(
        file.parent, run_id=run_id, dir_mode=output.dir_mode, file_mode=output.file_mode
    )
    await sink.prepare()


class Reporter:
    """Tells the latest run of a ledger."""

    def __init__(self, sink: Sink, ledger: Ledger, thread: LedgerThread) -> None:
        self._sink = sink
        self._ledger = ledger
        self._thread = thread

    async def findings(
        self,
        *,
        credential_of: Callable[[str, str], str] | None = None,
        enough_identical: Callable[[str, str], int] = lambda *_: ENOUGH_IDENTICAL,
    ) -> dict[tuple[str, str], Finding]:
        """Whether raw audio can be read, for each (account, project) of the run.

        Args:
            credential_of: name of a project's key; None: what was compared with any key counts.
            enough_identical: as the settings say of a project.
        """
        found = {}
        for project in await self._thread.run(self._ledger.projects):
            credential = credential_of(*project) if credential_of else None
            run, earlier = await self._thread.run(self._ledger.pair_counts, *project, credential)
            enough = enough_identical(*project)
            finding = judge(run, earlier, enough_identical=enough)
            if finding.state is PiiAccessState.UNKNOWN and credential is not None:
                counts = await self._thread.run(self._ledger.pair_counts, *project)
                of_any_key = sum(counts, PairCounts())
                finding = judge(run, earlier, enough_identical=enough, of_any_key=of_any_key)
            found[project] = finding
        return found

    async def summary(
        self,
        *,
        elapsed_seconds: float,
        rate_limited: int,
        findings: Mapping[tuple[str, str], Finding],
        requests: int | None = None,
        retries: int | None = None,
        expiry: tuple[int, int] | None = None,
        metadata: MetadataCounts | None = None,
    ) -> Summary:
        """The run in numbers; requests and retries by its outcomes where nobody counted them.

        Args:
            elapsed_seconds: how long it took.
            rate_limited: how often an answer of 429 made it wait.
            findings: about each (account, project).
            requests: sent for recordings.
            retries: of these, all but the first of each.
            metadata: what became of the conversations' descriptions; None: none were asked for.
            expiry: how many recordings expire soon, and how many have; None: not known.
        """
        expiring, expired = expiry or (None, None)
        totals = await self._thread.run(self._ledger.totals)
        counts = {str(status): count for status, count in totals.by_status.items()}
        return Summary(
            conversations=totals.conversations,
            requested=sum(counts.values()),
            **counts,
            duplicates=totals.duplicates,
            carried_over=totals.carried_over,
            bytes=totals.size,
            audio_seconds=round(totals.audio_seconds, 3),
            elapsed_seconds=round(elapsed_seconds, 3),
            requests=totals.requests if requests is None else requests,
            retries=totals.retries if retries is None else retries,
            rate_limited=rate_limited,
            expiring=expiring,
            expired=expired,
            errors=totals.errors,
            pii_access=[
                PiiAccess(account_id=account, project_id=project, state=finding.state)
                for (account, project), finding in findings.items()
            ],
            metadata=metadata,
        )

    async def discovered(self) -> list[WindowInfo]:
        """What the run looked for in the list of conversations, and what became of it."""
        return [
            certificate(
                each.window,
                each.told,
                conversations=each.conversations,
                recordings=each.recordings,
                missing=each.shrinkage.missing if each.shrinkage else None,
                expired=each.shrinkage.expired if each.shrinkage else None,
            )
            for each in await self._thread.run(self._ledger.finds)
        ]

    async def write(self, run: RunInfo, summary: Summary) -> str:
        """Write the results into the archive; returns where they lie.

        Then the ledger says how the run ended, and not before: it would say it of a run that ends
        otherwise, because its results cannot be written.

        Raises:
            DestinationError: the archive or the ledger cannot be written.
            ArchiveBusyError: another run took this one for dead, and began.
        """
        path = results_path(run.id)
        await self._sink.replace(path, render(run, summary, self._results()))
        text = msgspec.json.encode(summary).decode()
        await self._thread.run(self._ledger.end_run, run.status, run.exit_code, ended_at(run), text)
        return f"{self._sink.url}/{path}"

    async def write_elsewhere(self, run: RunInfo, summary: Summary) -> str | None:
        """The same where the archive cannot be written; None where nothing can."""
        for folder in _elsewhere():
            try:
                return await self.write_beside(folder / f"{run.id}.results.json", run, summary)
            except DestinationError as error:
                _log.error("results.not_written", path=str(folder), reason=error.message)
        return None

    async def write_beside(
        self,
        file: Path,
        run: RunInfo,
        summary: Summary,
        *,
        dir_mode: int = 0o700,
        file_mode: int = 0o600,
    ) -> str:
        """Write the results to a file outside the archive; returns its name.

        Raises:
            DestinationError: it cannot be written.
        """
        sink = LocalSink(file.parent, run_id=run.id, dir_mode=dir_mode, file_mode=file_mode)
        await sink.replace(file.name, render(run, summary, self._results()))
        return str(file)

    async def _results(self) -> AsyncIterator[list[Result]]:
        last = 0
        while page := await self._thread.run(self._ledger.results, last, _PAGE):
            yield [to_result(recording, outcome) for _, recording, outcome in page]
            last = page[-1][0]


def _elsewhere() -> Iterator[Path]:
    """Where results may lie when the archive cannot be written: what lasts longer comes first.

    Each is looked for when it is its turn: with all disks full, to look for one may fail, too.
    """
    yield user_state_dir() / "results"
    with contextlib.suppress(OSError):  # no folder for temporary files can be written
        yield Path(tempfile.gettempdir())
