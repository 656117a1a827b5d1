"""How many requests may be under way at once: additive increase, multiplicative decrease.

It starts with two scouts and doubles with every round of good answers, up to the configured
maximum. Three things make it smaller: a refusal while it was the concurrency that held requests
back (while it is the rate, the rate is to blame: see `learner`), a window in which one answer in
ten failed, and a window in which answers took more than twice as long as in the best one.
Afterwards it grows by one for every round of answers, or by a twentieth if that is more.
"""

from __future__ import annotations

_SCOUTS = 2
_REFUSED, _FAILING, _SLOWER = 0.7, 0.7, 0.9  # what is left of it
_GROWTH = 0.05  # for each good answer, where one a round would be less
_BAD_SHARE = 0.1
_WINDOW = 20  # answers at least
_FORGETTING = 1.02  # a window: a server that has become slower for good is the new normal
_PATIENCE = 0.25  # seconds that do not count as slower: it may be this machine that is busy


class Concurrency:
    """The limit for one credential.

    Attributes:
        limit: requests under way at once.
        reason: why it became smaller last.
    """

    def __init__(self, most: int, *, adaptive: bool = True) -> None:
        self._most = most
        self._adaptive = adaptive
        self._threshold = float(most)
        self.limit = float(min(_SCOUTS, most))
        self.reason = ""
        self._trusted = False
        self._paced = False
        self._best_latency: float | None = None
        self._answers = self._bad = 0
        self._latency = 0.0
        self._needed = False

    def good(self, latency: float, *, needed: bool) -> bool:
        """An answer that shows nothing wrong.

        Args:
            latency: seconds until it began.
            needed: when its request left, it was this limit that held others back.

        Returns:
            Whether the limit became smaller.
        """
        self._trusted = True
        if self.limit < self._threshold:
            self.limit = self._threshold if self._paced else self.limit + 1
            self.limit = min(self.limit, self._threshold)
        elif needed and self.limit < self._most:
            self.limit = min(self.limit + max(1 / self.limit, _GROWTH), self._most)
        self._answers += 1
        self._latency += latency
        self._needed = self._needed or needed
        return self._judge_window()

    def doubt(self) -> None:
        """An answer that shows nothing good: the key was refused, or this is not the API.

        Until there was a good one, the second scout is not replaced when it returns: what one
        refusal makes likely, the other proves.
        """
        if not self._trusted:
            self.limit = 1.0

    def bad(self) -> bool:
        """An attempt that failed as they do when a server has too much to do."""
        self._answers += 1
        self._bad += 1
        return self._judge_window()

    def restart(self, *, to_blame: bool, paced: bool) -> bool:
        """After a pause: one scout, and then gradually more.

        Args:
            to_blame: too much was under way.
            paced: a learnt rate makes the others follow one by one, so that the scout's return
                need not be followed by rounds of two, four, eight.

        Returns:
            Whether the limit became smaller.
        """
        self._paced = paced
        smaller = to_blame and self._adaptive
        if smaller:
            self._shrink(_REFUSED, "refused")
        self.limit = 1.0
        self._open_window()
        return smaller

    @property
    def allowed(self) -> float:
        """What it grows back to after a pause."""
        return max(self.limit, self._threshold)

    def _judge_window(self) -> bool:
        if not self._adaptive or self._answers < max(_WINDOW, self.limit):
            return False
        good = self._answers - self._bad
        failing = self._bad > _BAD_SHARE * self._answers
        slower = False
        if good:
            latency = self._latency / good
            best = self._best_latency
            slower = best is not None and self._needed and latency > 2 * best + _PATIENCE
            forgotten = latency if best is None else best * _FORGETTING
            self._best_latency = min(latency, forgotten)
        if failing:
            self._shrink(_FAILING, "failures")
        elif slower:
            self._shrink(_SLOWER, "slow answers")
        self._open_window()
        return failing or slower

    def _shrink(self, share: float, reason: str) -> None:
        self.limit = self._threshold = max(1.0, share * self.limit)
        self.reason = reason

    def _open_window(self) -> None:
        self._answers = self._bad = 0
        self._latency = 0.0
        self._needed = False
