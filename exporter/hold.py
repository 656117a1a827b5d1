"""One run at a time holds an archive: takes hold, waits for it, shows signs of life, lets go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from exporter.errors import ArchiveBusyError, DestinationError
from exporter.sinks.base import BEAT_EVERY, STALE_AFTER, HeldError, Holder, LostHoldError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import timedelta

    from exporter.errors import ExporterError
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
    on_lost: Callable[[ExporterError], None],
) -> AsyncIterator[Hold]:
    """Hold the archive.

    Args:
        sink: the archive.
        holder: who holds it.
        wait: how long to wait for another run. It takes longer, `STALE_AFTER` seconds, to be sure
            of one that seems dead and cannot be proven to be.
        stopped: ends the waiting.
        on_lost: called when another run took the archive over, which it does only when this
            process gave no sign of life for long: it was suspended, or the file system hung.
            Also called when none could be given for so long that another run may do so.

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
    now = asyncio.get_running_loop().time
    deadline, known_by = now() + wait.total_seconds(), now() + STALE_AFTER + _ASK_EVERY
    told: set[str] = set()
    while True:
        try:
            return await sink.hold(holder)
        except HeldError as error:
            left = deadline - now()
            # A process that keeps its lock and gives no sign of life is suspended, or hangs.
            is_watched = error.may_be_dead and now() < known_by
            if stopped.is_set() or (left <= 0 and not is_watched):
                raise _busy(sink, error) from None
            event = "archive.watching" if error.may_be_dead else "archive.waiting"
            if error.holder and event not in told:
                most = {"seconds": STALE_AFTER} if error.may_be_dead else {}
                _log.info(event, **_fields(error.holder), **most)
                told.add(event)
            pause = _ASK_EVERY if error.may_be_dead else min(left, _ASK_EVERY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), pause)


async def _beat(
    hold: Hold,
    on_lost: Callable[[ExporterError], None],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    shown_at = clock()
    while True:
        await sleep(BEAT_EVERY)
        now = clock()
        try:
            await hold.beat()
            shown_at = now
        except LostHoldError as error:
            on_lost(_lost(error))
            return
        except DestinationError as error:
            _log.warning("archive.no_sign_of_life", reason=error.message)
            failed_at = clock()  # perhaps long after it was begun
            took = failed_at - now
            # With the next beat it would be too late: others may take a silent run for dead.
            if failed_at + BEAT_EVERY + took - shown_at >= STALE_AFTER:
                on_lost(_silent(error))
                return


def _lost(error: LostHoldError) -> ArchiveBusyError:
    who = f"run {error.run_id}" if error.run_id else "another run"
    return ArchiveBusyError(
        f"{who} took this archive over while this run gave no sign of life",
        hint="Run again when the other one has ended: what is archived is skipped.",
    )


def _silent(error: DestinationError) -> DestinationError:
    return DestinationError(
        "this run could not show any more that it holds the archive, and another one may take it"
        f" over: {error.message}",
        hint=error.hint or "Check the file system, then run again: what is archived is skipped.",
    )


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
