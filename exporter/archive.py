"""The parts that an archive is made of, as the settings describe them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from exporter.errors import DestinationError
from exporter.layout import RESERVED, Layout
from exporter.ledger import Ledger
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from exporter.settings import Settings
    from exporter.sinks.base import Sink

LEDGER = f"{RESERVED}/ledger.sqlite"


def folder_of(settings: Settings) -> Path:
    """The archive's folder."""
    return Path(settings.output.url.removeprefix("file://"))


def layout_of(settings: Settings) -> Layout:
    """How the archive is laid out."""
    return Layout(settings.output.layout, ZoneInfo(settings.output.timezone))


def open_sink(settings: Settings, run_id: str) -> Sink:
    """The archive's storage; `run_id` marks the temporary files."""
    return LocalSink(
        folder_of(settings),
        run_id=run_id,
        dir_mode=settings.output.dir_mode,
        file_mode=settings.output.file_mode,
    )


def open_ledger(settings: Settings) -> Ledger:
    """The archive's ledger, created where needed, as private as the archive's files.

    Raises:
        DestinationError: it cannot be opened.
    """
    path = folder_of(settings) / LEDGER
    try:
        if not path.parent.exists():
            path.parent.mkdir()
            path.parent.chmod(settings.output.dir_mode)
        if not path.exists():
            # SQLite gives its own files beside it the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, settings.output.file_mode))
            path.chmod(settings.output.file_mode)
    except OSError as error:
        raise DestinationError(f"cannot write {path}: {error.strerror}") from None
    return Ledger(path)


def read_ledger(settings: Settings) -> Ledger | None:
    """The archive's ledger for looking up only; None where there is no archive yet.

    Raises:
        DestinationError: it cannot be read.
    """
    path = folder_of(settings) / LEDGER
    return Ledger(path, read_only=True) if path.exists() else None
