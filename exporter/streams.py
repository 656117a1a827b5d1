"""Standard streams that whoever started the program has closed, or does not read any more."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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


def outlive_readers_of_errors() -> None:
    """Let what cannot be written to standard error be lost, instead of ending what is told of.

    Whoever reads a nightly run's log may be restarted, and a log's disk may be full: that is no
    reason to stop a run, whose results tell the same.
    """
    told = sys.stderr
    try:
        descriptor = told.fileno()
    except io.UnsupportedOperation:  # a program that calls this one put a stream of its own there
        return
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Losing(descriptor)),
        encoding=told.encoding,
        errors=told.errors,
        line_buffering=True,
        write_through=True,
    )


def forget_output() -> None:
    """Nobody reads standard output any more; Python would complain again while it exits."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


class _Losing(io.RawIOBase):
    """Writes to a descriptor that stays open, and loses what that does not take."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        piece = memoryview(data).cast("B")
        try:
            return os.write(self._descriptor, piece)
        except OSError:
            return len(piece)
