"""How much of the recordings under way may be in memory: a bound in bytes, whatever their number.

Who began first is never kept waiting. So one of them always gets to its end and makes room for the
others, however large they are; no two can wait for each other.
"""

from __future__ import annotations

import asyncio


class Room:
    """Memory that is shared; of one event loop.

    Args:
        size: bytes in all. What was begun first may take more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: dict[object, int] = {}  # in the order in which they began
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def taken(self) -> int:
        """Bytes, by all together."""
        return sum(self._taken.values())

    async def take(self, owner: object, size: int) -> None:
        """So many bytes more; waits until there is room for them."""
        self._taken.setdefault(owner, 0)
        while self.taken + size > self._size and owner is not next(iter(self._taken)):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._taken[owner] += size

    def keep(self, owner: object, size: int) -> None:
        """So many bytes, in place of what it took until now."""
        self._taken[owner] = size
        self._wake()

    def leave(self, owner: object) -> None:
        """It needs nothing any more; harmless if it never did."""
        self._taken.pop(owner, None)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():  # as those are whose task was cancelled
                waiter.set_result(None)
        self._waiting.clear()
