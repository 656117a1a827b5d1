"""Ending a run early, the same way for every reason: what is under way is finished first."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.errors import ErrorKind, ExporterError, FetchError

if TYPE_CHECKING:
    import signal
    from collections.abc import Coroutine, Iterator
    from datetime import timedelta

_LIMIT_REACHED = 8  # exit code


class Interrupted(KeyboardInterrupt):
    """A signal came while there was nothing to finish.

    Attributes:
        exit_code: of the process.
    """

    def __init__(self, number: signal.Signals, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code_of(number)


def exit_code_of(number: signal.Signals) -> int:
    """How shells report a process that was ended by a signal."""
    return 128 + number


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run ends early.

    Attributes:
        message: what happened, for people.
        hint: what to do about it, or an empty string.
        exit_code: of the process.
        by_signal: somebody asked for it, rather than something that went wrong.
        cuts_short: it only ends a run before its time. Where nothing is left to do when it comes,
            it changes nothing.
    """

    message: str
    hint: str
    exit_code: int
    by_signal: bool = False
    cuts_short: bool = False

    @classmethod
    def of_signal(cls, number: signal.Signals) -> StopReason:
        """Somebody asked for it."""
        return cls(
            f"interrupted by {number.name}",
            "Run again to go on: what is archived is skipped.",
            exit_code_of(number),
            by_signal=True,
            cuts_short=True,
        )

    @classmethod
    def of(cls, error: ExporterError) -> StopReason:
        """An error that ends the run."""
        return cls(error.message, error.hint, error.exit_code)


def deadline_passed(deadline: timedelta) -> StopReason:
    """`limits.deadline`."""
    return StopReason(
        f"the deadline of {deadline} has passed",
        "Run again to go on: what is archived is skipped.",
        _LIMIT_REACHED,
        cuts_short=True,
    )


def too_many_failures(count: int) -> StopReason:
    """`limits.max_failures`."""
    return StopReason(
        f"{count} {'recording' if count == 1 else 'recordings'} failed, and limits.max_failures"
        " allows no more",
        "See `errors` in the results for why; what is archived is skipped by the next run.",
        _LIMIT_REACHED,
        cuts_short=True,
    )


class Stop:
    """Asked for once, seen by everybody.

    Attributes:
        event: set when the run is to end.
        hurry: set when not even what is under way is to be finished.
        reason: the first reason given; None while the run may go on.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reason: StopReason | None = None
        self._trouble: StopReason | None = None

    def request(self, reason: StopReason) -> None:
        """End the run; later reasons change nothing, unless the first turns out to be void."""
        if not reason.cuts_short:
            self._trouble = self._trouble or reason
        if self.reason is None:
            self.reason = reason
            self.event.set()

    def verdict(self, *, everything_done: bool) -> StopReason | None:
        """Why the run ended as it did; None when it went to its end.

        Args:
            everything_done: nothing was left to do, so that nothing can have been cut short.
        """
        if everything_done and self.reason is not None and self.reason.cuts_short:
            return self._trouble
        return self.reason

    @contextlib.contextmanager
    def in_time(self, *, deadline: timedelta | None, grace: float) -> Iterator[None]:
        """Watch the clock meanwhile.

        Args:
            deadline: the run is to end after so long; None: never.
            grace: seconds that what is under way gets to finish once the run is to end.
        """
        timer = None
        if deadline is not None:
            timer = asyncio.get_running_loop().call_later(
                deadline.total_seconds(), self.request, deadline_passed(deadline)
            )
        hurrying = asyncio.create_task(self._hurry_after(grace))
        try:
            yield
        finally:
            hurrying.cancel()
            if timer is not None:
                timer.cancel()

    async def _hurry_after(self, grace: float) -> None:
        await self.event.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hurry.wait(), grace)
        self.hurry.set()

    @property
    def requested(self) -> bool:
        """Whether the run is to end."""
        return self.event.is_set()

    async def unless_hurried(self, work: Coroutine[None, None, None]) -> None:
        """Do it; once not even what is under way is to be finished, it is cancelled."""
        task = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self.hurry.wait())
        try:
            await asyncio.wait({task, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def sleep(self, seconds: float) -> None:
        """Wait so long; a run that ends does not wait.

        Raises:
            FetchError: `cancelled`, the run stopped meanwhile.
        """
        if not self.requested:
            try:
                await asyncio.wait_for(self.event.wait(), seconds)
            except TimeoutError:
                return
        raise FetchError(ErrorKind.CANCELLED, "the run stopped before the next attempt")
