"""What a run has only while it lasts: its hold on the archive, and whoever fetches for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from exporter.couriers.courier import Courier
from exporter.couriers.dispatcher import Dispatcher
from exporter.couriers.equipment import equipment_of
from exporter.errors import ArchiveBusyError
from exporter.hold import held, this_process
from exporter.job import StoppedWaitingError
from exporter.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from exporter.client import Client
    from exporter.couriers.courier import Brings
    from exporter.errors import ExporterError
    from exporter.job import Job
    from exporter.settings import Settings
    from exporter.sinks.base import Hold, Sink
    from exporter.stopping import Stop


@contextlib.asynccontextmanager
async def the_hold(
    job: Job, sink: Sink, run_id: str, stop: Stop, on_lost: Callable[[ExporterError], None]
) -> AsyncIterator[Hold]:
    """Keeps other runs out of the archive.

    Args:
        job: says how long to wait for another run.
        sink: the archive.
        run_id: of this run.
        stop: ends the waiting.
        on_lost: is told when another run took the archive over.

    Raises:
        ArchiveBusyError: another run holds it.
        StoppedWaitingError: this run was to stop meanwhile.
        DestinationError: the archive cannot be written.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            hold = await stack.enter_async_context(
                held(
                    sink,
                    this_process(run_id),
                    wait=job.settings.limits.wait,
                    stopped=stop.event,
                    on_lost=on_lost,
                )
            )
        except ArchiveBusyError:
            if stop.reason is None:
                raise
            raise StoppedWaitingError(stop.reason) from None
        yield hold


@contextlib.asynccontextmanager
async def the_courier(
    settings: Settings, sink: Sink, run_id: str, hold: Hold, client: Client
) -> AsyncIterator[Brings]:
    """Who fetches: this process, or others that end with the run.

    Args:
        settings: say how many processes.
        sink: the archive.
        run_id: of this run.
        hold: of this run; other processes share its locks.
        client: of this process.

    Raises:
        ConfigError: the archive cannot be written by several processes.
    """
    if settings.limits.processes == 1:
        yield Courier(client, Writer(sink, max_bytes=settings.limits.max_recording_bytes))
        return
    async with Dispatcher(
        settings.limits.processes,
        equipment_of(settings, sink, run_id),
        sink,
        locks=hold.locks,
        check=client.check,
    ) as dispatcher:
        yield dispatcher
