"""The memory that a piece of work takes, as the interpreter counts it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def peak_of(work: Callable[[], object]) -> int:
    """Bytes at the peak of the work.

    The interpreter counts for all threads, and servers of other tests may run beside: they can
    only add, and not each time, so the least of three is the work's own.
    """
    return min(_peak_of(work) for _ in range(3))


def _peak_of(work: Callable[[], object]) -> int:
    gc.collect()  # what others left behind is not thrown away, with words about it, meanwhile
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
