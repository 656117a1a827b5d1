"""Ending a run early, the same way for every reason: what is under way is finished first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from exporter.errors import ErrorKind, FetchError


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run ends early.

    Attributes:
        message: what happened, for people.
        hint: what to do about it, or an empty string.
        exit_code: of the process.
        by_signal: somebody asked for it, rather than something that went wrong.
    """

    message: str
    hint: str
    exit_code: int
    by_signal: bool = False


class Stop:
    """Asked for once, seen by everybody.

    Attributes:
        event: set when the run is to end.
        reason: the first reason given; None while the run may go on.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason: StopReason | None = None

    def request(self, reason: StopReason) -> None:
        """End the run; later reasons change nothing."""
        if self.reason is None:
            self.reason = reason
            self.event.set()

    async def sleep(self, seconds: float) -> None:
        """Wait so long; a run that ends does not wait.

        Raises:
            FetchError: `cancelled`, the run stopped meanwhile.
        """
        try:
            await asyncio.wait_for(self.event.wait(), seconds)
        except TimeoutError:
            return
        raise FetchError(ErrorKind.CANCELLED, "the run stopped before the next attempt")
