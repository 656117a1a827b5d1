"""What lies in a folder and all below it, as it is read: never all of it in memory."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.sinks.base import Entry
from exporter.sinks.filesystem import translated

if TYPE_CHECKING:
    from collections.abc import Iterator


def stat_all(folder: str, prefix: str) -> Iterator[Entry]:
    """Every file with its size and time; blocks.

    Args:
        folder: where to begin.
        prefix: of the paths.

    Raises:
        DestinationError: it cannot be read.
    """
    for path, entry in walk(folder, prefix):
        with translated(entry.path, verb="read"):
            try:
                status = entry.stat()
            except FileNotFoundError:  # gone meanwhile, or a link that leads nowhere
                continue
        yield Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def walk(folder: str, prefix: str, *, deep: bool = True) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files, depth first, one listing open on each level; blocks.

    Args:
        folder: where to begin; one that is not there has no files.
        prefix: of the paths.
        deep: the folders in it, too.

    Raises:
        DestinationError: it cannot be read.
    """
    with translated(folder, verb="read"):
        try:
            listing = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with listing:
            for entry in listing:
                path = f"{prefix}{entry.name}"
                if not entry.is_dir():
                    yield path, entry
                elif deep:
                    yield from walk(f"{folder}/{entry.name}", f"{path}/")
