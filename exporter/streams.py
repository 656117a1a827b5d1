"""Standard streams that were closed by whoever started the program."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # their numbers are 0, 1, 2


def open_closed_ones() -> None:
    """Let nothing come from them, and what goes there be lost.

    Python has no object for them then. Worse, the next file that is opened gets the number of the
    one that is missing: a ledger might, and get what libraries say on standard error.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (a number)
