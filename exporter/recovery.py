"""What a run does first: tidy up after the one before it, should that have been killed."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import structlog

from exporter import __version__
from exporter.layout import RESERVED, Layout, LayoutStyle
from exporter.model import mounted
from exporter.reporting import Reporter, results_path
from exporter.results import ManifestInfo, RunInfo, RunStatus, timestamp
from exporter.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.job import Job
    from exporter.ledger import Ledger, LedgerThread, LeftRun
    from exporter.sinks.base import Holder, Sink

_KILLED = 137  # what a shell says of a process that was killed: no process lived to say anything

_AHEAD = 4096  # recordings that workers and queues can be ahead of the last one that was recorded

_log = structlog.get_logger()


async def recover(
    sink: Sink,
    ledger: Ledger,
    thread: LedgerThread,
    *,
    taken_over_from: Holder | None,
    mounts: Sequence[str] = (),
) -> None:
    """Remove what dead runs left half written, and tell the run that had no time to tell itself.

    Args:
        sink: the archive, which this run holds.
        ledger: the archive's ledger; no run has begun in it.
        thread: of the ledger.
        taken_over_from: the dead run that still seemed to hold the archive.
        mounts: of the archives for raw recordings.

    Raises:
        DestinationError: the archive or the ledger cannot be written.
    """
    left = await thread.run(ledger.left_run)
    await _sweep(sink, ledger, thread, left, taken_over_from=taken_over_from, mounts=mounts)
    if left is None:
        return
    begun = _begun(left)
    if left.status is None:
        await thread.run(ledger.end_run, RunStatus.INTERRUPTED, _KILLED, left.seen_at)
        _log.warning("run.was_killed", run=left.run_id, last_seen=timestamp(left.seen_at))
    if begun is None:
        _log.warning(
            "results.not_written",
            run=left.run_id,
            reason="another version began the run, and what it noted of it cannot be read",
        )
        return
    run = _told(left, begun)
    settings = _settings(begun)
    reporter = Reporter(sink, ledger, thread)
    elapsed = ((left.finished_at or left.seen_at) - left.started_at).total_seconds()
    # How often a killed run was rate limited, nobody knows any more.
    findings = await reporter.findings(
        enough_identical=lambda *project: settings.policy_of(*project).enough_identical
    )
    summary = await reporter.summary(elapsed_seconds=elapsed, rate_limited=0, findings=findings)
    run = msgspec.structs.replace(run, discovered=await reporter.discovered())
    written = await reporter.write(run, summary)
    _log.info("results.written_later", run=left.run_id, results=written)


def if_killed(job: Job, run_id: str, started_at: datetime, archive: str) -> RunInfo:
    """What the results would say of a run, were it killed as it begins.

    Args:
        job: what it is to do.
        run_id: its id.
        started_at: when it began.
        archive: where.
    """
    return RunInfo(
        id=run_id,
        started_at=timestamp(started_at),
        finished_at=timestamp(started_at),
        exporter_version=__version__,
        host=os.uname().nodename,
        user=_user(),
        status=RunStatus.INTERRUPTED,
        exit_code=_KILLED,
        manifest=ManifestInfo(path=job.manifest_path, sha256=job.manifest_sha256),
        archive=archive,
        surface=job.settings.api.surface,
        config=job.settings.model_dump(mode="json"),
    )


def _user() -> str:
    """The account that this process runs as: its name, or its number where it has none."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # usual in containers
        return str(number)


def _begun(left: LeftRun) -> RunInfo | None:
    """What a run noted of itself when it began; None if another version did, in its own way."""
    try:
        return msgspec.json.decode(left.info, type=RunInfo)
    except msgspec.MsgspecError:
        return None


def _settings(begun: RunInfo) -> Settings:
    """How the run was to be done; the defaults where another version noted it in its own way."""
    try:
        return Settings.model_validate(begun.config)
    except ValueError:
        return Settings()


def _told(left: LeftRun, begun: RunInfo) -> RunInfo:
    """What the results of such a run say of it."""
    return msgspec.structs.replace(
        begun,
        finished_at=timestamp(left.finished_at or left.seen_at),
        status=RunStatus(left.status) if left.status else RunStatus.INTERRUPTED,
        exit_code=_KILLED if left.exit_code is None else left.exit_code,
    )


async def _sweep(
    sink: Sink,
    ledger: Ledger,
    thread: LedgerThread,
    left: LeftRun | None,
    *,
    taken_over_from: Holder | None,
    mounts: Sequence[str],
) -> None:
    removed = await sink.sweep(None, [""])  # the archive's own folder is small
    if left is not None and left.status is None:
        folders = await _touched_by(left, ledger, thread, mounts)
        removed += await sink.sweep({left.run_id}, folders)
    if await _is_a_strangers(taken_over_from, sink, ledger, thread):
        # Another machine's run, or the ledger was lost: only the archive itself can tell.
        removed += await sink.sweep(None, None)
    if removed:
        _log.info("archive.swept", temporary_files=removed)


def _layout(left: LeftRun) -> Layout | None:
    begun = _begun(left)
    if begun is None:
        return None
    try:
        output = begun.config["output"]
        return Layout(LayoutStyle(output["layout"]), ZoneInfo(output["timezone"]))
    except (LookupError, TypeError, ValueError):  # a time zone that is not known is a LookupError
        return None


async def _touched_by(
    left: LeftRun, ledger: Ledger, thread: LedgerThread, mounts: Sequence[str]
) -> list[str] | None:
    """Folders in which a killed run may have left temporary files; None: any."""
    layout = _layout(left)
    if layout is None:
        return None
    recordings = await thread.run(ledger.perhaps_under_way, _AHEAD)
    partitions = await thread.run(ledger.changed_partitions)
    within = {
        folder
        for recording in recordings
        for folder in (layout.partition(recording), layout.path(recording).rpartition("/")[0])
    }
    described = await thread.run(ledger.perhaps_being_described, _AHEAD)
    folders = {
        RESERVED,
        results_path(left.run_id).rpartition("/")[0],
        *(mounted(mount, folder) for mount in ("", *mounts) for folder in within),
        *(partition.folder for partition in partitions),
        *described,
    }
    return sorted(folders)


async def _is_a_strangers(
    dead: Holder | None, sink: Sink, ledger: Ledger, thread: LedgerThread
) -> bool:
    if dead is not None:
        return not await thread.run(ledger.knows_run, dead.run_id)
    is_new = not await thread.run(ledger.knows_any_run)
    return is_new and any(folder != RESERVED for folder in await sink.folders(""))
