"""A server with a token bucket, workers and a network in virtual time: hours in a second.

It drives the same `Lane` that a run uses. Everything that is left to chance comes from one seed,
so that a failure can be looked at again.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from exporter.lane import Lane, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

_LEARNING_SECONDS = 10.0
_TIMER_SECONDS = 0.002  # by which timers wake up late


@dataclass(frozen=True)
class Server:
    """What the server does, unknown to the client.

    Attributes:
        rate: tokens a second at any time.
        burst: tokens kept at most.
        latency: seconds there and back; drawn from this range for each seed.
    """

    rate: Callable[[float], float]
    burst: float
    latency: tuple[float, float] = (0.02, 0.15)

    def capacity(self, start: float, end: float) -> float:
        """Tokens that come in between two times."""
        steps = 600
        step = (end - start) / steps
        return sum(self.rate(start + step * (i + 0.5)) for i in range(steps)) * step


class Figures(NamedTuple):
    """What came of it, after the first ten seconds.

    Attributes:
        goodput: accepted requests as a share of what the server would take.
        refused: refused requests as a share of all.
        broken: requests that left although the server had asked to wait.
    """

    goodput: float
    refused: float
    broken: int


def steady(rate: float) -> Callable[[float], float]:
    """A limit that does not change."""
    return lambda _now: rate


def halved(rate: float, start: float, end: float) -> Callable[[float], float]:
    """A limit that is half as high for a while."""
    return lambda now: rate / 2 if start <= now < end else rate


def simulate(server: Server, *, seconds: float, workers: int, seed: int) -> Figures:
    """Let workers ask as much as their lane allows."""
    return _Simulation(server, seconds, workers, seed).run()


class _Simulation:
    def __init__(self, server: Server, seconds: float, workers: int, seed: int) -> None:
        self.server = server
        self.seconds = seconds
        self.chance = random.Random(seed)
        self.trip = self.chance.uniform(*server.latency) / 2
        self.lane = Lane("key", concurrency=workers, adaptive=True, now=0.0)
        self.idle = workers
        self.now = 0.0
        self.tokens = server.burst
        self.filled_at = 0.0
        self.keep_away_until = 0.0
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.broken = 0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()

    def run(self) -> Figures:
        while True:
            departure = self._next_departure()
            arrival = self.events[0][0] if self.events else math.inf
            if min(departure, arrival) > self.seconds:
                return self._figures()
            if departure <= arrival:
                self.now = departure
                self._depart()
            else:
                self.now, _, happen = heapq.heappop(self.events)
                happen()

    def _next_departure(self) -> float:
        if not self.idle:
            return math.inf
        return self.now + self.lane.wait(self.now)

    def _depart(self) -> None:
        if self.lane.wait(self.now) > 0:
            self.now += 1e-9  # adding and subtracting again has rounded it down
        self.broken += self.now < self.keep_away_until - 1e-9
        self.idle -= 1
        turn = self.lane.depart(self.now)
        late = self.chance.uniform(0, _TIMER_SECONDS)
        self._travel(lambda: self._arrive(turn), late)

    def _arrive(self, turn: Turn) -> None:
        rate = self.server.rate(self.now)
        self.tokens += (self.now - self.filled_at) * rate
        self.tokens = min(self.tokens, self.server.burst)
        self.filled_at = self.now
        if self.tokens >= 1:
            self.tokens -= 1
            self.accepted.append(self.now)
            self._travel(lambda: self._accepted(turn))
        else:
            self.refused.append(self.now)
            retry_after = max(1, math.ceil((1 - self.tokens) / rate))
            self._travel(lambda: self._refused(turn, retry_after))

    def _accepted(self, turn: Turn) -> None:
        self.lane.accepted(turn, self.now)
        self._return()

    def _refused(self, turn: Turn, retry_after: float) -> None:
        self.keep_away_until = max(self.keep_away_until, self.now + retry_after)
        pause = retry_after + 0.05 * retry_after * self.chance.random()
        self.lane.refused(turn, self.now, pause, longest=60)
        self._return()

    def _return(self) -> None:
        self.lane.leave()
        self.idle += 1

    def _travel(self, happen: Callable[[], None], late: float = 0.0) -> None:
        # A tenth faster to a fifth slower each way: requests and answers overtake each other.
        at = self.now + late + self.trip * self.chance.uniform(0.9, 1.2)
        heapq.heappush(self.events, (at, next(self.numbers), happen))

    def _figures(self) -> Figures:
        accepted = sum(at >= _LEARNING_SECONDS for at in self.accepted)
        refused = sum(at >= _LEARNING_SECONDS for at in self.refused)
        capacity = self.server.capacity(_LEARNING_SECONDS, self.seconds)
        return Figures(accepted / capacity, refused / max(1, accepted + refused), self.broken)
