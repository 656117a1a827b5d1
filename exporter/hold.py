"""One run at a time holds an archive: takes hold, waits for it, shows signs of life, lets go."""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from exporter.errors import ArchiveBusyError, DestinationError
from exporter.sinks.base import BEAT_EVERY, HeldError, Holder, LostHoldError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    from exporter.sinks.base import Hold, Sink

_ASK_EVERY = 1.0  # seconds

_log = structlog.get_logger()


def this_process(run_id: str) -> Holder:
    """The holder that this process is, for a run."""
    return Holder(run_id, os.uname().nodename, os.getpid(), datetime.now(UTC))


@contextlib.asynccontextmanager
async def held(
    sink: Sink,
    holder: Holder,
    *,
    wait: timedelta,
    stopped: asyncio.Event,
    on_lost: Callable[[ArchiveBusyError], None],
) -> AsyncIterator[Hold]:
    """Hold the archive.

    Args:
        sink: the archive.
        holder: who holds it.
        wait: how long to wait for another run.
        stopped: ends the waiting.
        on_lost: called when another run took the archive over, which it does only when this
            process gave no sign of life for long: it was suspended, or the file system hung.

    Raises:
        ArchiveBusyError: another run holds it.
        DestinationError: the archive cannot be written.
    """
    hold = await _take(sink, holder, wait, stopped)
    if hold.taken_over_from:
        _log.warning("archive.taken_over", **_fields(hold.taken_over_from))
    beating = asyncio.create_task(_beat(hold, on_lost))
    try:
        yield hold
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await hold.release()


async def _take(sink: Sink, holder: Holder, wait: timedelta, stopped: asyncio.Event) -> Hold:
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    told = False
    while True:
        try:
            return await sink.hold(holder)
        except HeldError as error:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or stopped.is_set():
                raise _busy(sink, error) from None
            if not told and error.holder:
                _log.info("archive.waiting", **_fields(error.holder))
                told = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), min(left, _ASK_EVERY))


async def _beat(hold: Hold, on_lost: Callable[[ArchiveBusyError], None]) -> None:
    while True:
        await asyncio.sleep(BEAT_EVERY)
        try:
            await hold.beat()
        except LostHoldError as error:
            on_lost(
                ArchiveBusyError(
                    f"run {error} took this archive over while this run gave no sign of life",
                    hint="Run again when the other one has ended: what is archived is skipped.",
                )
            )
            return
        except DestinationError as error:
            # The recorder meets the same trouble and says more about it.
            _log.warning("archive.no_sign_of_life", reason=error.message)


def _busy(sink: Sink, error: HeldError) -> ArchiveBusyError:
    who = error.holder
    by, seen = "another run", ""
    if who is not None:
        since = f"{who.since:%Y-%m-%d %H:%M:%S} UTC"
        by = f"run {who.run_id} (process {who.pid} on {who.host}, since {since})"
    if error.idle_seconds is not None:
        seen = f"; its last sign of life was {error.idle_seconds:.0f} s ago"
    return ArchiveBusyError(
        f"{by} holds the archive {error.url or sink.url}{seen}",
        hint="Wait until it has ended, or let this run wait: --wait 30m.",
    )


def _fields(holder: Holder) -> dict[str, str | int]:
    return {
        "run": holder.run_id,
        "host": holder.host,
        "pid": holder.pid,
        "since": holder.since.isoformat(timespec="seconds"),
    }
