"""What a run does first: tidy up after the one before it, should that have been killed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import structlog

from exporter.layout import RESERVED, Layout, LayoutStyle
from exporter.reporting import Reporter, results_path
from exporter.results import RunInfo, RunStatus, timestamp

if TYPE_CHECKING:
    from exporter.ledger import Ledger, LedgerThread, LeftRun
    from exporter.sinks.base import Holder, Sink

KILLED = 137  # what a shell says of a process that was killed: no process lived to say anything

_AHEAD = 4096  # recordings that workers and queues can be ahead of the last one that was recorded

_log = structlog.get_logger()


async def recover(
    sink: Sink, ledger: Ledger, thread: LedgerThread, *, taken_over_from: Holder | None
) -> None:
    """Remove what dead runs left half written, and tell the run that had no time to tell itself.

    Args:
        sink: the archive, which this run holds.
        ledger: the archive's ledger; no run has begun in it.
        thread: of the ledger.
        taken_over_from: the dead run that still seemed to hold the archive.

    Raises:
        DestinationError: the archive or the ledger cannot be written.
    """
    left = await thread.run(ledger.left_run)
    await _sweep(sink, ledger, thread, left, taken_over_from)
    if left is None:
        return
    run = _told(left)
    reporter = Reporter(sink, ledger, thread)
    if left.status is None:
        await thread.run(ledger.end_run, run.status, run.exit_code, left.seen_at)
        _log.warning("run.was_killed", run=left.run_id, last_seen=run.finished_at)
    elapsed = ((left.finished_at or left.seen_at) - left.started_at).total_seconds()
    # How often a killed run was rate limited, nobody knows any more.
    summary = await reporter.summary(elapsed_seconds=elapsed, rate_limited=0)
    written = await reporter.write(run, summary)
    _log.info("results.written_later", run=left.run_id, results=written)


def _told(left: LeftRun) -> RunInfo:
    """What the results of such a run say of it."""
    begun = msgspec.json.decode(left.info, type=RunInfo)
    return msgspec.structs.replace(
        begun,
        finished_at=timestamp(left.finished_at or left.seen_at),
        status=RunStatus(left.status) if left.status else RunStatus.INTERRUPTED,
        exit_code=KILLED if left.exit_code is None else left.exit_code,
    )


async def _sweep(
    sink: Sink,
    ledger: Ledger,
    thread: LedgerThread,
    left: LeftRun | None,
    taken_over_from: Holder | None,
) -> None:
    removed = await sink.sweep(None, [""])  # the archive's own folder is small
    if left is not None and left.status is None:
        folders = await _touched_by(left, ledger, thread)
        removed += await sink.sweep({left.run_id}, folders)
    if await _is_a_strangers(taken_over_from, sink, ledger, thread):
        # Another machine's run, or the ledger was lost: only the archive itself can tell.
        removed += await sink.sweep(None, None)
    if removed:
        _log.info("archive.swept", temporary_files=removed)


async def _touched_by(left: LeftRun, ledger: Ledger, thread: LedgerThread) -> list[str]:
    """Folders in which a killed run may have left temporary files."""
    output = msgspec.json.decode(left.info, type=RunInfo).config["output"]
    layout = Layout(LayoutStyle(output["layout"]), ZoneInfo(output["timezone"]))
    recordings = await thread.run(ledger.perhaps_under_way, _AHEAD)
    partitions = await thread.run(ledger.changed_partitions)
    folders = {
        RESERVED,
        results_path(left.run_id).rpartition("/")[0],
        *(layout.path(recording).rpartition("/")[0] for recording in recordings),
        *(layout.partition(recording) for recording in recordings),
        *(partition.folder for partition in partitions),
    }
    return sorted(folders)


async def _is_a_strangers(
    dead: Holder | None, sink: Sink, ledger: Ledger, thread: LedgerThread
) -> bool:
    if dead is not None:
        return not await thread.run(ledger.knows_run, dead.run_id)
    is_new = not await thread.run(ledger.knows_any_run)
    return is_new and any(folder != RESERVED for folder in await sink.folders(""))
