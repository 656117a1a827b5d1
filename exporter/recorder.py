"""Commits outcomes in batches: file names first, then the ledger. Never the other way round.

A crash between the two costs one download; the other order would leave a record without its file.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.model import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from exporter.ledger import Ledger, LedgerThread
    from exporter.sinks.base import Sink

_BATCH = 256  # outcomes committed in one transaction, at most
_ROOM = 2 * _BATCH  # outcomes that may wait


class Recorder:
    """Takes outcomes from the workers; `run` commits what has gathered while it committed last.

    Args:
        sink: made durable before the ledger is told.
        ended: called with each outcome once it is on disk.
        committed: called after each batch, with the numbers of what was archived in it.
        now: what time it is.
    """

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        thread: LedgerThread,
        ended: Callable[[Outcome], None],
        committed: Callable[[Sequence[int]], Awaitable[None]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._thread = thread
        self._ended = ended
        self._committed = committed
        self._now = now
        self._queue: asyncio.Queue[tuple[int, Outcome] | None] = asyncio.Queue()
        self._has_room = asyncio.Event()

    async def put(self, seq: int, outcome: Outcome) -> None:
        """Hand over the outcome of the recording that the ledger numbered `seq`.

        It is handed over at once, so that cancelling the caller cannot lose it. Then the caller
        waits for a slow disk, instead of filling the memory.
        """
        self._queue.put_nowait((seq, outcome))
        if self._queue.qsize() >= _ROOM:
            self._has_room.clear()
            await self._has_room.wait()

    def close(self) -> None:
        """Nothing more comes: `run` ends when all is committed."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Commit until closed.

        Raises:
            DestinationError: the archive or the ledger cannot be written.
        """
        open_ended = True
        while open_ended:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if self._queue.qsize() < _ROOM:
                self._has_room.set()
            open_ended = batch[-1] is not None
            await self._commit([entry for entry in batch if entry is not None])

    async def _commit(self, batch: Sequence[tuple[int, Outcome]]) -> None:
        if not batch:
            return
        paths = {
            seq: outcome.archived.path
            for seq, outcome in batch
            if outcome.status is Status.EXPORTED and outcome.archived
        }
        await self._sink.make_durable(paths.values())
        await self._thread.run(self._ledger.record, batch, self._now())
        for _, outcome in batch:
            self._ended(outcome)
        await self._committed(list(paths))
