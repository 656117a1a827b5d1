"""When a request may leave: waits for what `lane` decides, and keeps the promise of `--rate`.

Rate limits belong to a credential and not to a connection, so one throttle serves the whole
process, with a lane for each credential. Clock, sleep and chance are injected: every rule here is
tested without waiting.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from exporter.errors import ErrorKind, FetchError
from exporter.lane import Lane, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["HardCap", "Throttle", "Turn"]

_WINDOW = 1.01  # seconds; a hundredth more than promised, for requests bunch up on their way
_CATCH_UP = 0.25  # seconds; timers wake up late, and what was late may follow sooner
_MOST_JITTER = 1.0  # seconds
_TICK = 1e-6  # seconds; a wait that rounding has made shorter would never end


class HardCap:
    """At most so many requests in any one second, whatever else happens.

    They leave evenly; and none leaves before a second has passed since the one that many places
    before it, however late that one was. Fewer than one a second means one in so many seconds.
    """

    def __init__(self, requests_per_second: float) -> None:
        most = max(1, math.floor(requests_per_second))
        self._window = max(_WINDOW, _WINDOW / requests_per_second)
        self._interval = self._window / most
        self._departures: deque[float] = deque(maxlen=most)
        self._slot = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until the next request may leave; 0: now."""
        earliest = self._slot
        if len(self._departures) == self._departures.maxlen:
            earliest = max(earliest, self._departures[0] + self._window)
        return max(0.0, earliest - now)

    def depart(self, now: float) -> None:
        """A request leaves."""
        self._departures.append(now)
        self._slot = max(self._slot, now - _CATCH_UP) + self._interval


class Throttle:
    """Lets requests pass.

    Attributes:
        requests: how many were let through.
        retries: of those, all but the first for each recording.
        rate_limited: how many were answered with 429.
    """

    def __init__(
        self,
        requests_per_second: float | None = None,
        *,
        concurrency: int = 1024,
        adaptive: bool = True,
        longest_pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        stopped: Callable[[], bool] = lambda: False,
        tell: Callable[..., None] = lambda *_args, **_fields: None,
    ) -> None:
        """Set up.

        Args:
            requests_per_second: a hard upper bound in every second; None: none.
            concurrency: requests under way at once, at most, with all credentials together.
            adaptive: learn the server's limits; else only pauses and the upper bound count.
            longest_pause: seconds, after a refusal that does not say how long to wait.
            clock: seconds that never run backwards.
            sleep: waits for so many seconds.
            chance: a number between 0 and 1.
            stopped: no further request is to leave.
            tell: is told of changes: the name of the event, and fields.
        """
        self._cap = HardCap(requests_per_second) if requests_per_second else None
        self._concurrency = concurrency
        self._adaptive = adaptive
        self._longest_pause = longest_pause
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._stopped = stopped
        self._tell = tell
        self._lanes: dict[str, Lane] = {}
        self._queues: dict[str, deque[_Waiting]] = {}
        self._under_way = 0
        self.requests = 0
        self.retries = 0
        self.rate_limited = 0

    async def turn(
        self,
        credential: str,
        *,
        retry: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> Turn:
        """Return when the next request with this credential may leave; it then is under way.

        Whoever gets a turn must give it back with `leave`.

        Args:
            credential: its name.
            retry: this recording was asked for before.
            check: called when the turn has come, by whoever made room for it: where it raises a
                `FetchError`, because there is no point any more, the next gets the turn.

        Raises:
            FetchError: `cancelled`, the run stopped meanwhile.
        """
        lane = self._lanes.get(credential) or self._open(credential)
        if retry:
            while (delay := lane.retry_wait(self._clock())) > 0:
                await self._sleep(max(delay, _TICK))
        now = self._clock()
        # Most of the time nobody waits for anything: then nothing is waited for here either.
        if self._queues[credential] or self._delay(lane, now) > 0 or self._stopped():
            return await self._wait(lane, _Waiting(check, retry=retry))
        check()
        return self._depart(lane, now, retry=retry)

    def leave(self, turn: Turn) -> None:
        """A request is over, however it ended; said twice, it is over once."""
        if turn.is_over:
            return
        turn.is_over = True
        turn.lane.leave()
        was_full = self._under_way >= self._concurrency
        self._under_way -= 1
        if was_full:
            for lane in self._lanes.values():
                self._advance(lane)
        else:
            self._advance(turn.lane)

    def accepted(self, turn: Turn, *, good: bool = True) -> None:
        """The server answered, and not with a refusal."""
        turn.lane.accepted(turn, self._clock(), good=good)
        self._advance(turn.lane)

    def failed(self, turn: Turn) -> None:
        """The attempt failed as they do when a server has too much to do, or is not there."""
        turn.lane.failed(turn, self._clock())

    def refused(self, turn: Turn, retry_after: float | None) -> None:
        """429: nobody sends with this credential for as long as the server asked."""
        self.rate_limited += 1
        pause = self._jittered(retry_after) if retry_after else None
        turn.lane.refused(turn, self._clock(), pause, longest=self._longest_pause)

    def pause(self, turn: Turn, retry_after: float) -> None:
        """503 with a time to come back: nobody sends with this credential until then."""
        pause = self._jittered(retry_after)
        turn.lane.pause(turn, self._clock(), pause, reason="unavailable", to_blame=True)

    def pause_all(self, turn: Turn, seconds: float) -> None:
        """The server is in trouble: nobody sends anything for so long."""
        now = self._clock()
        for lane in self._lanes.values():
            lane.pause(turn, now, seconds, reason="trouble", to_blame=False)

    def _open(self, credential: str) -> Lane:
        lane = Lane(
            credential,
            concurrency=self._concurrency,
            adaptive=self._adaptive,
            now=self._clock(),
            tell=self._tell,
        )
        self._lanes[credential] = lane
        self._queues[credential] = deque()
        return lane

    def _delay(self, lane: Lane, now: float) -> float:
        """Seconds until the next request may leave; infinite: when one has returned."""
        if self._under_way >= self._concurrency:
            return math.inf
        delay = lane.wait(now)
        return delay if self._cap is None else max(delay, self._cap.wait(now))

    def _depart(self, lane: Lane, now: float, *, retry: bool) -> Turn:
        if self._cap is not None:
            self._cap.depart(now)
        self.requests += 1
        self.retries += retry
        self._under_way += 1
        return lane.depart(now)

    async def _wait(self, lane: Lane, me: _Waiting) -> Turn:
        """Wait in the lane's queue; who is at its head waits for the time to come."""
        queue = self._queues[lane.name]
        queue.append(me)
        self._advance(lane)
        try:
            # For as long as it was when it was said: by now there may be no room at all, and nobody
            # who sleeps is told of room.
            while not isinstance(turn := await me.called, Turn):
                await self._sleep(max(turn, _TICK))
                me.called = asyncio.get_running_loop().create_future()
                self._advance(lane)
        except BaseException:
            if me in queue:
                queue.remove(me)
                self._advance(lane)
            elif me.called.exception() is None and isinstance(unused := me.called.result(), Turn):
                self.leave(unused)
            raise
        return turn

    def _advance(self, lane: Lane) -> None:
        """Let those go whose turn has come, all at once; to be called whenever it may have.

        That whoever goes wakes the next would take a turn of the event loop for each.
        """
        queue = self._queues[lane.name]
        while queue and not (first := queue[0]).called.done():
            now = self._clock()
            delay = self._delay(lane, now)
            is_over = self._stopped()
            if delay == math.inf and not is_over:
                return
            try:
                if is_over:
                    raise _stopped_before()
                first.check()
            except FetchError as error:
                queue.popleft().called.set_exception(error)
                continue
            if delay > 0:
                first.called.set_result(delay)
            else:
                queue.popleft().called.set_result(self._depart(lane, now, retry=first.retry))

    def _jittered(self, seconds: float) -> float:
        """A little more than asked for: others were told the same, and would come back together."""
        return seconds + min(0.05 * seconds, _MOST_JITTER) * self._chance()


class _Waiting:
    """Somebody in the queue of a lane.

    Attributes:
        check: as of `Throttle.turn`.
        retry: likewise.
        called: gets the turn; seconds where only time has to pass at the head of the queue.
    """

    __slots__ = ("called", "check", "retry")

    def __init__(self, check: Callable[[], None], *, retry: bool) -> None:
        self.check = check
        self.retry = retry
        self.called: asyncio.Future[Turn | float] = asyncio.get_running_loop().create_future()


def _stopped_before() -> FetchError:
    return FetchError(ErrorKind.CANCELLED, "the run stopped before this was asked for")
