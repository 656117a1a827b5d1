"""Whether a holder still shows signs of life, by nobody's clock but our own.

The time at which a file was last touched is told by another machine's clock, or by a file
server's, and either may be wrong or be set while we look. That it was touched *since we looked
last* is proof of life by any clock; that it was not, for long, is as good as can be had.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exporter.sinks.base import STALE_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable


class SignsOfLife:
    """Compares a holder's signs of life, looked at again and again.

    Args:
        clock: seconds that never jump; tests put in their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sign: object = None
        self._since = 0.0
        self._moved = False

    def see(self, sign: object) -> None:
        """What the holder's file looks like now; None if there is none."""
        if sign == self._sign:
            return
        self._moved = None not in (sign, self._sign)
        self._sign = sign
        self._since = self._clock()

    @property
    def are_still(self) -> bool:
        """The sign has been the same for so long that its holder counts as dead."""
        return self._sign is not None and self._clock() - self._since >= STALE_AFTER

    @property
    def have_moved(self) -> bool:
        """The sign changed under our eyes: whoever gave it lives."""
        return self._moved and not self.are_still


def is_fresh(modified: float, now: float) -> bool:
    """Whether a sign of life is believed without watching; both times by any one clock.

    One from far in the future is as doubtful as one from long ago.
    """
    return abs(now - modified) <= STALE_AFTER
