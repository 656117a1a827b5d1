"""Time, behind one seam: whatever waits or looks at a clock in the sandbox does it here."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the sandbox needs to know of time."""

    def time(self) -> float:
        """Seconds since 1970, for the `Date` header and the log of requests."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for rate limits."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    """Real time, or real time off by a constant, to rehearse a machine whose clock is wrong.

    Attributes:
        skew: seconds that the wall clock is fast.
    """

    def __init__(self, *, skew: float = 0.0) -> None:
        self.skew = skew

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time() + self.skew

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)
