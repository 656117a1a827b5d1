"""Files in the event loop itself, a few in each of its turns, hashed together where that pays.

Bodies arrive together. Were all of them written in one turn, that there is room for other requests
would be known after it only: asking and writing would wait for each other. Measured with two
couriers, 64 KiB and 16 requests at a time: both processors were 88 % busy, and 95 % with two files
a turn.

Where contents are hashed side by side, each waits a moment for others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter.sinks.threads import Enduring, its_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sinks.digests import Digest, Digests, Parts

T = TypeVar("T")

_PATIENCE: Final = 0.02  # seconds that one may wait for others
_BYTES: Final = 8 * 1024 * 1024  # that are hashed at once, and are twice in memory meanwhile


class _Step:
    __slots__ = ("digest", "future", "parts", "size", "take")

    def __init__(
        self,
        future: asyncio.Future[Any],
        digest: Digest | None,
        parts: Parts,
        take: Callable[[Digest], Any],
    ) -> None:
        self.future = future
        self.digest = digest
        self.parts = parts
        self.size = sum(map(len, parts))
        self.take = take


class Turns:
    """Hashes what it is given and calls what waits for that, in order; of one event loop.

    Args:
        digests: hashes.
    """

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self._steps: deque[_Step] = deque()
        self._size = 0
        self._planned: asyncio.Handle | None = None
        self._alone = 0  # contents that come in pieces
        self._side_by_side = 0  # as well

    def begin(self) -> Digest:
        """Of a content that comes in pieces; say `end` when it has ended."""
        count = self._alone + self._side_by_side + 1
        digest = self._digests.begin(side_by_side=count >= self._digests.fewest)
        self._count(digest, 1)
        return digest

    def end(self, digest: Digest) -> None:
        """That content has ended."""
        self._count(digest, -1)

    async def ended(
        self, parts: Parts, take: Callable[[Digest], T], *, digest: Digest | None = None
    ) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
        """What came of it, and whether we were cancelled meanwhile.

        Args:
            parts: of the content.
            take: gets the digest, these parts included.
            digest: so far; None: the parts are the whole content.
        """
        loop = asyncio.get_running_loop()
        future: Enduring[T] = Enduring(loop=loop)
        step = _Step(future, digest, parts, take)
        if digest is not None and self._digests.goes_alone(digest):
            loop.call_soon(self._do, [step])
        else:
            self._plan(loop, step)
        return await its_end(future)

    @property
    def side_by_side(self) -> bool:
        """Whether several contents are hashed at once; if not, threads hash long ones."""
        return self._digests.side_by_side

    async def hashed(self, parts: Parts, *, digest: Digest | None = None) -> Digest:
        """The digest alone; whoever was cancelled meanwhile learns of it afterwards."""
        future, cancelled = await self.ended(parts, lambda advanced: advanced, digest=digest)
        if cancelled is not None:
            raise cancelled
        return future.result()

    def _count(self, digest: Digest, change: int) -> None:
        if self._digests.goes_alone(digest):
            self._alone += change
        else:
            self._side_by_side += change

    def _plan(self, loop: asyncio.AbstractEventLoop, step: _Step) -> None:
        self._steps.append(step)
        self._size += step.size
        if self._is_enough():
            self._hurry(loop)
        elif self._planned is None:
            self._planned = loop.call_later(_PATIENCE, self._take)

    def _is_enough(self) -> bool:
        count = len(self._steps)
        return (
            not self._digests.side_by_side
            or count >= self._digests.at_once
            or self._size >= _BYTES
            # Nobody is left who could bring more of a long one.
            or 0 < self._side_by_side <= count
        )

    def _hurry(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the next turn of the loop, and not later because more has come."""
        if isinstance(self._planned, asyncio.TimerHandle):
            self._planned.cancel()
            self._planned = None
        if self._planned is None:
            self._planned = loop.call_soon(self._take)

    def _take(self) -> None:
        self._planned = None
        batch = self._next()
        if self._steps:
            self._hurry(asyncio.get_running_loop())
        self._do(batch)

    def _do(self, batch: list[_Step]) -> None:
        try:
            digests = self._digests.advance([(step.digest, step.parts) for step in batch])
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            for step in batch:
                step.future.set_exception(error)
            return
        for step, digest in zip(batch, digests, strict=True):
            try:
                step.future.set_result(step.take(digest))
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
                step.future.set_exception(error)

    def _next(self) -> list[_Step]:
        batch: list[_Step] = []
        size = 0
        while self._steps and len(batch) < self._digests.at_once and size < _BYTES:
            batch.append(self._steps.popleft())
            size += batch[-1].size
        self._size -= size
        return batch
