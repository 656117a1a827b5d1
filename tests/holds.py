"""Holds of two that want the same archive."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.sinks.base import Holder
from exporter.sinks.folder_hold import FolderHold
from exporter.sinks.folder_hold import read_holder as read_holder_file
from exporter.sinks.signs_of_life import SignsOfLife

if TYPE_CHECKING:
    from pathlib import Path


SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def held(folder: Path, run: str, **arguments: Any) -> FolderHold:
    hold = FolderHold(folder, Holder(run, "host", os.getpid(), SINCE), **arguments)
    hold.take()
    return hold


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def read_holder(folder: Path) -> Holder | None:
    """Who holds it, for somebody who looks once."""
    return read_holder_file(folder / "holder.json", SignsOfLife())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
