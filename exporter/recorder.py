"""Commits outcomes in batches: file names first, then the ledger. Never the other way round.

A crash between the two costs one download; the other order would leave a record without its file.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.model import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from exporter.ledger import Ledger, LedgerThread
    from exporter.sinks.base import Sink

_BATCH = 256  # outcomes committed in one transaction, at most
_ROOM = 2 * _BATCH  # outcomes that may wait
_PATIENCE = 0.2  # seconds; to commit a batch costs as much as ten outcomes in it


class Recorder:
    """Takes outcomes from the workers; `run` commits what gathers while it commits, or a moment.

    Args:
        sink: made durable before the ledger is told.
        ended: called with each outcome once it is on disk.
        committed: called after each batch, with the numbers of what was archived in it.
        now: what time it is.
        patience: seconds that a batch may gather.
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
        patience: float = _PATIENCE,
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._thread = thread
        self._ended = ended
        self._committed = committed
        self._now = now
        self._patience = patience
        self._gathered: list[tuple[int, Outcome]] = []
        self._is_closed = False
        self._has_some = asyncio.Event()
        self._has_enough = asyncio.Event()  # for a batch, or for good
        self._has_room = asyncio.Event()

    async def put(self, seq: int, outcome: Outcome) -> None:
        """Hand over the outcome of the recording that the ledger numbered `seq`.

        It is handed over at once, so that cancelling the caller cannot lose it. Then the caller
        waits for a slow disk, instead of filling the memory.
        """
        self._gathered.append((seq, outcome))
        count = len(self._gathered)
        if count == 1:
            self._has_some.set()
        if count == _BATCH:
            self._has_enough.set()
        if count >= _ROOM:
            self._has_room.clear()
            await self._has_room.wait()

    def close(self) -> None:
        """Nothing more comes: `run` ends when all is committed."""
        self._is_closed = True
        self._has_some.set()
        self._has_enough.set()

    async def run(self) -> None:
        """Commit until closed.

        Raises:
            DestinationError: the archive or the ledger cannot be written.
        """
        while self._gathered or not self._is_closed:
            await self._has_some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._has_enough.wait()
            await self._commit(self._take())

    def _take(self) -> Sequence[tuple[int, Outcome]]:
        batch, self._gathered = self._gathered[:_BATCH], self._gathered[_BATCH:]
        if not self._is_closed:
            if not self._gathered:
                self._has_some.clear()
            if len(self._gathered) < _BATCH:
                self._has_enough.clear()
        if len(self._gathered) < _ROOM:
            self._has_room.set()
        return batch

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
