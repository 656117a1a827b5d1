"""How the interpreter uses memory; to be settled once for a process, when it starts."""

from __future__ import annotations

import gc
from typing import Final

# Objects made before the collector looks for cycles: nearly none of what a run makes is part of
# one, and looking through all that was imported took a twentieth of a run's time.
_YOUNG: Final = 20_000
_OLDER: Final = 20
_OLDEST: Final = 20

_LARGE: Final = 4 * 1024 * 1024  # bytes: more than a body that is gathered whole


def settle_memory() -> None:
    """Look for garbage less often, and keep the memory of bodies for the next ones."""
    gc.set_threshold(_YOUNG, _OLDER, _OLDEST)
    _let_large_blocks_be_kept()


def _let_large_blocks_be_kept() -> None:
    """Show the C library a large block that is given back, so that it keeps such in future.

    glibc asks the operating system for every block above 128 KiB anew, until one is given back: up
    to that size it then keeps them. The event loop reads into blocks of 256 KiB, which shrink to
    what came before they are given back, so of itself it learns late or never: three system calls
    and 18 page faults for a recording of 64 KiB.
    """
    bytearray(_LARGE)
