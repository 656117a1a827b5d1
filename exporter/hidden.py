"""What libraries do when they are imported, and this program has no use for."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@contextlib.contextmanager
def hidden(package: str) -> Iterator[None]:
    """What is imported meanwhile finds no such package, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules[package] = None  # the interpreter's own way to say that there is none
    try:
        yield
    finally:
        del modules[package]


@contextlib.contextmanager
def no_authorities() -> Iterator[None]:
    """What is imported meanwhile finds no certificates of authorities where OpenSSL looks for them.

    aiohttp reads them all, twice, to be prepared for sessions that bring no TLS context of their
    own; ours do. That is half of the time that it takes to import. Should anybody use aiohttp's
    contexts after all, no certificate would be trusted.
    """
    places = "SSL_CERT_FILE", "SSL_CERT_DIR"
    before = {place: os.environ.get(place) for place in places}
    os.environ.update(dict.fromkeys(places, os.devnull))
    try:
        yield
    finally:
        for place, value in before.items():
            if value is None:
                del os.environ[place]
            else:
                os.environ[place] = value
