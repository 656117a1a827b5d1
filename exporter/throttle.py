"""How fast requests may go: the request rate, and the pause that a server asks for.

One throttle serves the whole process, for rate limits belong to an account and not to a
connection. Clock and sleep are injected, so that every rule here is tested without waiting.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Throttle:
    """Lets requests pass one by one, `1 / requests_per_second` apart.

    Spacing them, instead of handing out bursts, keeps the promise for *every* one-second window.

    Attributes:
        requests: how many were let through.
        rate_limited: how many were answered with 429.
    """

    def __init__(
        self,
        requests_per_second: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next_slot = float("-inf")
        self._resume_at: dict[str, float] = {}
        self.requests = 0
        self.rate_limited = 0

    async def wait(self, credential: str) -> None:
        """Return when the next request with this credential may leave."""
        while (resume_at := self._resume_at.get(credential, 0.0)) > self._clock():
            await self._sleep(resume_at - self._clock())
        if self._interval:
            slot = max(self._next_slot, self._clock())
            self._next_slot = slot + self._interval
            if (delay := slot - self._clock()) > 0:
                await self._sleep(delay)
        self.requests += 1

    def pause(self, credential: str, seconds: float) -> None:
        """A 429: nobody sends with this credential for so long."""
        self.rate_limited += 1
        resume_at = self._clock() + seconds
        self._resume_at[credential] = max(resume_at, self._resume_at.get(credential, resume_at))
