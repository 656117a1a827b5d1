"""One credential's way to the server: its pause, its pace, its concurrency, its retry budget.

Pure: it is told what happens and what time it is, and says how long to wait. The waiting is done
by `throttle`; a simulation can drive it through hours in a second.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.concurrency import Concurrency
from exporter.learner import RateLearner

if TYPE_CHECKING:
    from collections.abc import Callable

# Timers wake up late, on a busy machine by many requests; what was late may follow sooner, by so
# many seconds and so much of what the server is known to take at once.
_CATCH_UP, _LEAST_CATCH_UP = 0.25, 0.02
_CATCH_UP_SHARE = 0.3
_TOLD_CHANGE = 0.1  # a rate is told of again when it differs by so much
_RETRY_SHARE = 0.2  # of the requests that were answered …
_RETRIES_A_SECOND = 10.0  # … and so many besides
_RETRY_RESERVE = 100.0


class Turn(Struct, eq=False):
    """One request under way.

    Attributes:
        lane: whose.
        sent: when it left.
        needed: others had to wait because so many were under way.
        answered: the server's answer has begun.
        is_over: it was given back.
    """

    lane: Lane
    sent: float
    needed: bool
    answered: bool = False
    is_over: bool = False


class Lane:
    """Decides when the next request with one credential may leave.

    Attributes:
        name: of the credential.
        under_way: requests that left and have not returned.
        resume_at: nothing leaves before.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int,
        adaptive: bool,
        now: float,
        tell: Callable[..., None] = lambda *_args, **_fields: None,
    ) -> None:
        self.name = name
        self.under_way = 0
        self.resume_at = -math.inf
        self.learner = RateLearner(now) if adaptive else None
        self.concurrency = Concurrency(concurrency, adaptive=adaptive)
        self._tell = tell
        self._slot = now
        self._told_rate: float | None = None
        self._refused_in_a_row = 0
        self._retries = _RETRY_RESERVE
        self._retries_at = now

    def wait(self, now: float) -> float:
        """Seconds until the next request may leave; 0: now; infinite: when one has returned."""
        if now < self.resume_at:
            return self.resume_at - now
        if self.under_way >= int(self.concurrency.limit):
            return math.inf
        if self.learner is not None and self.learner.rate is not None and now < self._slot:
            return self._slot - now
        return 0.0

    def depart(self, now: float) -> Turn:
        """A request leaves."""
        learner = self.learner
        if learner is not None and learner.rate is not None:
            known = _CATCH_UP_SHARE * learner.size / learner.rate
            earliest = now - min(_CATCH_UP, max(known, _LEAST_CATCH_UP))
            if self._slot > earliest:
                learner.departed(now)
            self._slot = max(self._slot, earliest) + 1 / learner.rate
        self.under_way += 1
        return Turn(self, now, self.under_way >= int(self.concurrency.limit))

    def leave(self) -> None:
        """A request is over, however it ended."""
        self.under_way -= 1

    def accepted(self, turn: Turn, now: float, *, good: bool = True) -> None:
        """The server answered, and not with a refusal.

        Args:
            turn: the request.
            now: when the answer began.
            good: it says nothing against sending more; a rejected key does.
        """
        turn.answered = True
        self._refused_in_a_row = 0
        self._retries = min(self._retries + _RETRY_SHARE, _RETRY_RESERVE)
        if self.learner is not None:
            self.learner.accepted(now)
        if not good:
            self.concurrency.doubt()
        elif self.concurrency.good(now - turn.sent, needed=turn.needed):
            self._tell_concurrency()

    def failed(self, turn: Turn, now: float) -> None:
        """The attempt failed as they do when a server has too much to do, or is not there."""
        if turn.answered:
            return
        if self.learner is not None:
            self.learner.accepted(now)
        if self.concurrency.bad():
            self._tell_concurrency()

    def refused(self, turn: Turn, now: float, pause: float | None, *, longest: float) -> None:
        """Too many requests (429).

        Args:
            turn: the request.
            now: when the answer came.
            pause: seconds that the server asked for, if it did.
            longest: seconds to pause at most where the server did not say.
        """
        if pause is None:
            # Nothing said: a second, and twice as long each time it was too soon.
            pause = min(2.0 ** min(self._refused_in_a_row, 16), longest)
        is_news = turn.sent >= self.resume_at
        resume_at = max(self.resume_at, now + pause)
        paced = self.learner is not None and self.learner.rate is not None
        if self.learner is not None and self.learner.refused(turn.sent, now, resume_at):
            self._tell_rate(self.learner)
        if is_news:
            self._refused_in_a_row += 1
        self._pause(turn, now, resume_at, reason="rate_limited", to_blame=not paced)

    def pause(self, turn: Turn, now: float, seconds: float, *, reason: str, to_blame: bool) -> None:
        """Nothing leaves for so long: the server says when to come back, or is in trouble."""
        resume_at = max(self.resume_at, now + seconds)
        self._pause(turn, now, resume_at, reason=reason, to_blame=to_blame)

    def _pause(
        self, turn: Turn, now: float, resume_at: float, *, reason: str, to_blame: bool
    ) -> None:
        is_news = turn.sent >= self.resume_at
        self.resume_at = self._slot = resume_at
        if is_news:
            self._tell(
                "throttle.paused",
                credential=self.name,
                seconds=round(resume_at - now, 3),
                reason=reason,
            )
            paced = self.learner is not None and self.learner.rate is not None
            if self.concurrency.restart(to_blame=to_blame and turn.needed, paced=paced):
                self._tell_concurrency()

    def retry_wait(self, now: float) -> float:
        """Seconds until the budget allows one more retry; 0: it is taken from the budget.

        An exhausted budget makes retries wait. It never turns them down: a short outage must not
        become a thousand failed recordings.
        """
        gained = _RETRIES_A_SECOND * (now - self._retries_at)
        self._retries = min(self._retries + gained, _RETRY_RESERVE)
        self._retries_at = now
        if self._retries < 1:
            return (1 - self._retries) / _RETRIES_A_SECOND
        self._retries -= 1
        return 0.0

    def _tell_rate(self, learner: RateLearner) -> None:
        limit = learner.limit
        if limit is None:
            return
        told = self._told_rate
        if told is None or abs(limit - told) > _TOLD_CHANGE * told:
            self._told_rate = limit
            self._tell(
                "throttle.rate_changed",
                credential=self.name,
                requests_per_second=round(limit, 2),
                reason="first refusal" if told is None else "the server refused at another rate",
            )

    def _tell_concurrency(self) -> None:
        self._tell(
            "throttle.concurrency_changed",
            credential=self.name,
            concurrency=int(self.concurrency.allowed),
            reason=self.concurrency.reason,
        )
