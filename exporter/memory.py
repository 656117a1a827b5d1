"""How often the interpreter looks for garbage."""

from __future__ import annotations

import gc
from typing import Final

# Objects made before the collector looks for cycles: nearly none of what a run makes is part of
# one, and looking through all that was imported took a twentieth of a run's time.
_YOUNG: Final = 20_000
_OLDER: Final = 20
_OLDEST: Final = 20


def relax_collector() -> None:
    """Once for a process, when it starts."""
    gc.set_threshold(_YOUNG, _OLDER, _OLDEST)
