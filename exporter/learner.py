"""Learns how many requests a second a server takes, from its refusals alone.

::

    nothing refused yet ──► no limit at all, no cost
          │ first 429
          ▼
        probe ──429──► the model says where the limit is ──► hold just below it
          ▲                                                        │
          └───────── after a while, in case it has risen ◄─────────┘

*Hold*: requests leave evenly, `margin` below the limit, so that none is refused.
*Spend*: what gathered in the bucket during a pause is used up first, a quarter faster than the
limit; so a pause costs little.
*Probe*: the rate rises until the server refuses. This is the only way to notice that a limit has
risen, and it costs a pause; so it is done as rarely as it takes to stay within a budget: 2 % of
the time and half a percent of the requests.

At each refusal the stretch since the one before is replayed into the model (`bucket`). Where a
probe ended as the model foretold, the model is right, and the next probe may wait twice as long.
Where not, the model is fitted to the last few stretches; those that contradict the newest one are
of another limit, and are forgotten.

Why it converges: a refusal at a held rate always lowers the limit, so a belief that is too high
lasts for one stretch. Stretches that start above the limit get longer as the belief comes closer,
and the longer a stretch, the less it matters how large the bucket is: `accepted / seconds` is a
lower bound, `accepted / active seconds` an upper one, and they meet. A belief that is too low is
found out by the next probe, which ends later than foretold; and what a wrong bucket size hides from
that, the half percent that every confirmed probe adds finds out.
"""

from __future__ import annotations

import math

from exporter.bucket import Stretch, fit, rate_of

_MARGIN, _MOST_MARGIN = 0.02, 0.06
_FIRST_SHARE = 0.5  # of the rate at which the first refusal came
_SLOWEST = 1.0  # requests a second to start from, when even the first request was refused
_CREEP = 1.005
_SPENDING = 1.25  # times the limit
_SPENT_SHARE = 0.8  # of the tokens believed to be in the bucket after a pause
_PAUSE_BUDGET = 0.02  # share of the time that probes may cost
_FALLEN = 0.75  # of the best limit so far
_REFUSAL_BUDGET = 0.005  # share of the requests that may be refused
_FIRST_PROBE = 5.0  # seconds
_FIRST_PROBE_REQUESTS = 40
_SHORTEST_PROBING = 5.0  # seconds between two probes
_REMEMBERED = 5  # stretches
_GOOD_FIT = 3.0  # badness a stretch


class RateLearner:
    """The rate for one credential.

    Attributes:
        rate: requests a second to send at now; None while no limit was met.
        limit: what the server is believed to take; None while no limit was met.
        size: how many requests the server is believed to take at once.
    """

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self.limit: float | None = None
        self.size = 1.0
        self._margin = _MARGIN
        self._stretch = Stretch(now, full=True)
        self._recent: list[Stretch] = []
        self._refused_at = now
        self._resumed_at = now
        self._confirmed = 0  # probes in a row that ended as foretold
        self._fitted = False
        self._to_spend = 0.0
        self._too_fast = math.inf  # a rate that was refused while it was held
        self._best = 0.0
        self._probing_since: float | None = None
        self._probe_at = math.inf

    def accepted(self, now: float) -> None:
        """The server answered with anything but a refusal."""
        self._stretch.accept(now)

    def departed(self, now: float) -> None:
        """A request left, and had been waiting for its turn.

        While requests do not wait, nobody would notice a higher rate, so it is left as it is.
        """
        if self.rate is None or self.limit is None:
            return
        if self._probing_since is not None:
            # A slow start suits a limit that has not moved; one that has moved far is soon reached.
            steepness = min(0.1, 0.01 + 0.004 * self.limit) + 0.05 * (now - self._probing_since)
            self.rate *= 1 + steepness * min(1 / self.rate, 0.2)
        elif self._to_spend > 0:
            self._to_spend -= 1 - self.limit / self.rate
            if self._to_spend <= 0:
                self.rate = (1 - self._margin) * self.limit
        elif now >= self._probe_at:
            self._probing_since = now
            self.rate = 1.03 * self.limit

    def refused(self, sent: float, now: float, resume_at: float) -> bool:
        """A request was refused.

        Args:
            sent: when it left.
            now: when the refusal came.
            resume_at: before then nothing will be sent.

        Returns:
            Whether it tells something new: the first one of those that were under way together.
        """
        if sent < self._resumed_at and self.rate is not None:
            self._resumed_at = max(self._resumed_at, resume_at)
            return False
        stretch = self._stretch
        stretch.end(now)
        if self.rate is None or self.limit is None:
            # Whoever says "in a tenth of a second" means at least ten requests a second.
            least = max(_SLOWEST, 1 / max(resume_at - now, 1e-3))
            self.limit = max(_FIRST_SHARE * stretch.latest_rate(), least)
            self.size = max(1.0, stretch.accepted)
            self._recent = [stretch]
            self._probe_at = resume_at
        else:
            self._judge(stretch, self.rate, self.limit)
        self._plan(self.limit, now, resume_at)
        self._probing_since = None
        self._refused_at = now
        self._resumed_at = resume_at
        self._stretch = Stretch(now, full=False)
        return True

    def _judge(self, stretch: Stretch, rate: float, limit: float) -> None:
        """Believe something new about the bucket, or the same more firmly."""
        missed = stretch.left(limit, self.size) if self._fitted else math.inf
        noise = 3 + 0.1 * self.size + limit * (0.01 * stretch.seconds + 0.02)
        self._recent = [*self._recent[1 - _REMEMBERED :], stretch]
        probed = self._probing_since is not None
        if probed and abs(missed) <= (2 if self._confirmed else 1) * noise:
            self._confirm(stretch, limit)
            return
        sure, self._confirmed = self._confirmed > 0, max(0, self._confirmed - 2)
        if sure and self._fitted and abs(missed) > 3 * noise:
            # The limit itself has changed: what was seen before says nothing any more.
            self._recent = []
            self._too_fast = math.inf
            risen = missed < 0
            found = rate_of(stretch, self.size, (limit, rate)) if risen else 0.6 * rate
        else:
            found = self._find(stretch, rate)
        self.limit = found if probed else self._lowered(stretch, found, limit)
        self._fitted = True

    def _confirm(self, stretch: Stretch, limit: float) -> None:
        self._confirmed += 1
        self._margin = max(_MARGIN, self._margin - 0.003)
        young = self._confirmed <= 2  # noqa: PLR2004 (after two the belief is firm)
        width, weight = (0.3, 0.8) if young else (0.05, 0.5)
        between = (1 - width) * limit, (1 + width) * limit
        found = limit + weight * (rate_of(stretch, self.size, between) - limit)
        # A bucket believed too large hides a limit believed too low: half a percent more each time
        # is found out by a refusal where it is too much, and never where it is not.
        self.limit = min(_CREEP * found, self._too_fast)

    def _find(self, stretch: Stretch, rate: float) -> float:
        rates = 0.4 * 1.02 * rate, 1.02 * rate
        while len(self._recent) > 1:
            found, size, badness = fit(self._recent, rates=rates, size=self.size)
            if badness < _GOOD_FIT * len(self._recent):
                self.size = size
                return found
            del self._recent[: (len(self._recent) + 1) // 2]
        return rate_of(stretch, self.size, rates)

    def _lowered(self, stretch: Stretch, found: float, limit: float) -> float:
        """What to believe when a rate was refused that should have been safe.

        Never less than what was accepted on average; never less than half at once.
        """
        idle = self._resumed_at - self._refused_at
        active = max(stretch.seconds - idle, 1e-3)
        if active > 2 * idle:
            self._too_fast = min(self._too_fast, (1 - self._margin) * limit)
        if active > 5 * idle:
            self._margin = min(_MOST_MARGIN, self._margin + 0.01)
        step = 0.25 if active < idle else 0.06 * min(1.0, 3 * idle / active)
        return max(min(found, (1 - step) * limit), stretch.accepted / stretch.seconds, 0.5 * limit)

    def _plan(self, limit: float, now: float, resume_at: float) -> None:
        """How to go on after the pause, and when to probe."""
        pause = resume_at - now
        gathered = _SPENT_SHARE * min(self.size, limit * pause) if self._confirmed else 0.0
        self._to_spend = gathered
        self.rate = _SPENDING * limit if gathered >= 1 else (1 - self._margin) * limit
        cost = max(0.0, pause - gathered / limit)
        if self._confirmed:
            self._best = max(self._best, limit)
        # A limit that has fallen may come back, and then there is much to win.
        budget = _PAUSE_BUDGET if limit > _FALLEN * self._best else 2 * _PAUSE_BUDGET
        affordable = max(_SHORTEST_PROBING, 1 / (_REFUSAL_BUDGET * limit), cost / budget)
        wanted = max(_FIRST_PROBE, 4 * cost, _FIRST_PROBE_REQUESTS / limit) * 2**self._confirmed
        if self._fitted:
            self._probe_at = resume_at + min(affordable, wanted)
