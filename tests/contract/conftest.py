"""Fixtures that several files of tests share."""

from tests.clients import no_proxies
from tests.stored import open_sink, sink, smaller, through

__all__ = ["no_proxies", "open_sink", "sink", "smaller", "through"]
