"""How long to wait."""

from __future__ import annotations

from msgspec import Struct


class Timeouts(Struct, frozen=True):
    """Seconds; `read` is the longest time without a byte."""

    connect: float
    read: float
    total: float
