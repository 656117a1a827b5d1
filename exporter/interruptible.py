"""Before there is anything to finish, SIGTERM ends the program as tidily as SIGINT does."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from exporter.stopping import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, SIGTERM raises `Interrupted`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def on_signal(number: int, _frame: object) -> None:
        raise Interrupted(signal.Signals(number), "terminated: nothing was under way")

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
