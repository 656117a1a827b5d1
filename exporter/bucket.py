"""A model of the server's token bucket, and how to find its two numbers from what was let through.

The API does not say what its limit is. Nearly every limiter behaves like a token bucket: tokens
trickle in at a `rate`, at most `size` of them are kept, each request takes one, and a request that
finds none is refused. So at every refusal we know one thing for certain: the bucket was empty.

A `Stretch` is what was accepted between two refusals. Replayed into a bucket of the right rate and
size, it leaves that bucket just empty at its end. Two stretches of different shape (a short fast
one, a long slow one) tell both numbers; more of them tell them better.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_POINTS = 64  # kept of a stretch, however long it is
_FIRST_GAP = 0.05  # seconds between two points at first; doubled whenever there are too many
_RATES, _SIZES, _REFINEMENTS = 14, 10, 6  # of the search: a coarse grid, then six times finer
_STEADY_SIZE = 0.5  # how firmly a fit holds on to the size known before …
_STEADY_RATE = 0.05  # … and to the rate; both only matter where the stretches leave it open


class Stretch:
    """What was accepted from one refusal to the next.

    Attributes:
        accepted: requests so far.
        seconds: from the first refusal to the second; known when ended.
    """

    def __init__(self, start: float, *, full: bool) -> None:
        """Begin.

        Args:
            start: when the bucket was as `full` says.
            full: the bucket was full, as before the first request; else a refusal shows it empty.
        """
        self._full = full
        self._points = [(start, 0)]
        self._gap = _FIRST_GAP
        self._steps: list[tuple[float, int]] = []
        self.accepted = 0
        self.seconds = 0.0

    def accept(self, now: float) -> None:
        """One more request was let through."""
        self.accepted += 1
        points = self._points
        if now - points[-1][0] >= self._gap:
            points.append((now, self.accepted))
            if len(points) > _POINTS:
                del points[1:-1:2]
                self._gap *= 2

    def end(self, now: float) -> None:
        """A refusal: the bucket is empty."""
        points = [*self._points, (now, self.accepted)]
        self._points = points
        self._steps = [
            (later - earlier, after - before)
            for (earlier, before), (later, after) in itertools.pairwise(points)
        ]
        self.seconds = max(now - points[0][0], 1e-3)

    def latest_rate(self) -> float:
        """Requests accepted a second in the later half of the time."""
        middle = (self._points[0][0] + self._points[-1][0]) / 2
        since, before = max(point for point in self._points if point[0] <= middle)
        return (self.accepted - before) / max(self._points[-1][0] - since, 1e-3)

    def left(self, rate: float, size: float) -> float:
        """Tokens that such a bucket would have left at the end.

        0 where the bucket is the right one. More: it would not have refused. Negative: it would
        have refused so many requests before.
        """
        level = size if self._full else 0.0
        lowest = 0.0
        for seconds, taken in self._steps:
            level += rate * seconds - taken
            if level > size:
                level = size
            elif level < lowest:
                lowest = level
        return lowest if lowest < -1 else level


def rate_of(stretch: Stretch, size: float, between: tuple[float, float]) -> float:
    """The rate at which a bucket of this size would just have lasted."""
    return _smallest(lambda rate: stretch.left(rate, size) >= 0, *between)


def fit(
    stretches: Sequence[Stretch], *, rates: tuple[float, float], size: float
) -> tuple[float, float, float]:
    """The bucket that explains all stretches best.

    Args:
        stretches: at least two.
        rates: smallest and largest to consider.
        size: as believed until now.

    Returns:
        Rate, size, and how badly they explain the stretches: about 1 a stretch is good.
    """
    slowest, fastest = (math.log(rate) for rate in rates)
    largest = math.log(max(4 * size, 20.0))

    def badness(log_rate: float, log_size: float) -> float:
        rate, bucket = math.exp(log_rate), math.exp(log_size)
        # Answers overtake each other and points are coarse: some tokens' difference is no error.
        misses = (
            stretch.left(rate, bucket) / (2 + rate * (0.006 * stretch.seconds + 0.01))
            for stretch in stretches
        )
        return (
            sum(miss * miss for miss in misses)
            + _STEADY_SIZE * (log_size - math.log(size)) ** 2
            + _STEADY_RATE * (log_rate - fastest) ** 2
        )

    rate_step, size_step = (fastest - slowest) / _RATES, largest / _SIZES
    best = min(
        (badness(at_rate, at_size), at_rate, at_size)
        for at_rate in (slowest + rate_step * i for i in range(_RATES + 1))
        for at_size in (size_step * i for i in range(_SIZES + 1))
    )
    for _ in range(_REFINEMENTS):
        rate_step, size_step = rate_step / 2, size_step / 2
        _, rate, bucket = best
        around = [
            (min(max(rate + i * rate_step, slowest), fastest), max(bucket + j * size_step, 0.0))
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        ]
        best = min(best, *((badness(*place), *place) for place in around))
    return math.exp(best[1]), math.exp(best[2]), best[0]


def _smallest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest number between two for which something holds that holds for all larger ones."""
    for _ in range(24):
        middle = math.sqrt(low * high)
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
