"""Work on files in the event loop itself, a little in each of its turns.

Bodies arrive together. Were all of them written in one turn, that there is room for other requests
would be known after it only: asking and writing would wait for each other. Measured with two
couriers, 64 KiB and 16 requests at a time: both processors were 88 % busy, and 95 % like this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter.sinks.threads import its_end

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_IN_A_TURN: Final = 2  # of the event loop: a turn costs a tenth of a small file


class Turns:
    """Calls what it is given, in order; of one event loop."""

    def __init__(self) -> None:
        self._steps: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    async def ended(
        self, step: Callable[[], T]
    ) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
        """What came of it, and whether we were cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._steps.append((future, step))
        if len(self._steps) == 1:
            loop.call_soon(self._take)
        return await its_end(future)

    def _take(self) -> None:
        for _ in range(min(_IN_A_TURN, len(self._steps))):
            future, step = self._steps[0]
            try:
                future.set_result(step())
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
                future.set_exception(error)
            self._steps.popleft()
        if self._steps:
            asyncio.get_running_loop().call_soon(self._take)
