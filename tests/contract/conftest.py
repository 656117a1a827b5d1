"""Fixtures that several files of tests share."""

from tests.clients import no_proxies
from tests.lines import certificate, clock, nothing_is_forgotten
from tests.stored import open_sink, sink, smaller, through

__all__ = [
    "certificate",
    "clock",
    "no_proxies",
    "nothing_is_forgotten",
    "open_sink",
    "sink",
    "smaller",
    "through",
]
