"""Memory for the parts of long bodies, used again and again.

Memory that is new to a process costs more than what is done with it: the system hands it out page
by page, and clears each. Blocks begin at a page, so that a file can be written from them without a
copy (`sinks.filesystem`).
"""

from __future__ import annotations

import mmap
import sys
from typing import Final

BLOCK_BYTES: Final = 1024 * 1024
_KEPT: Final = 48  # two for each of 16 requests, and some on their way into files


class Blocks:
    """Blocks of one event loop.

    A block is free when nobody refers to it but this: whoever got a part of it may keep that for as
    long as it likes, hand it on, or forget it.
    """

    def __init__(self) -> None:
        self._kept: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """The beginning of a block, with whatever was in it before.

        Args:
            size: bytes, at most `BLOCK_BYTES`.
        """
        kept = self._kept
        for number in range(len(kept)):
            if _references(kept, number) == _NOBODY_ELSE:
                return memoryview(kept[number])[:size]
        new = _new_block(BLOCK_BYTES)
        if len(kept) < _KEPT:
            kept.append(new)
        return memoryview(new)[:size]


def _new_block(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _references(blocks: list[mmap.mmap], number: int) -> int:
    return sys.getrefcount(blocks[number])


# Of a block that only a list refers to: versions of Python differ in whether the call counts, too.
_NOBODY_ELSE: Final = _references([_new_block(mmap.PAGESIZE)], 0)
