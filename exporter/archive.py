"""The parts that an archive is made of, as the settings describe them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from exporter.errors import DestinationError, UsageError
from exporter.layout import RESERVED, Layout
from exporter.ledger import Ledger
from exporter.sinks.filesystem import translated
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import parts_of

if TYPE_CHECKING:
    from exporter.settings import Settings
    from exporter.sinks.base import Sink

_LEDGER = "ledger.sqlite"
_MIB = 1024 * 1024


def folder_of(url: str) -> Path:
    """The archive's folder."""
    return Path(url.removeprefix("file://")).expanduser()


def layout_of(settings: Settings) -> Layout:
    """How the archive is laid out."""
    return Layout(settings.output.layout, ZoneInfo(settings.output.timezone))


def canonical(url: str) -> str:
    """The same text for the same archive, however its folder was named."""
    is_folder = "://" not in url or url.startswith("file://")
    return str(folder_of(url).resolve()) if is_folder else url.rstrip("/")


def open_sink(settings: Settings, run_id: str) -> Sink:
    """The archive's storage; `run_id` marks the temporary files."""
    output = settings.output
    return sink_at(output.url, run_id=run_id, dir_mode=output.dir_mode, file_mode=output.file_mode)


def sink_at(url: str, *, run_id: str, dir_mode: int, file_mode: int) -> Sink:
    """The storage of any archive."""
    return LocalSink(folder_of(url), run_id=run_id, dir_mode=dir_mode, file_mode=file_mode)


def existing_sink(url: str) -> Sink:
    """An archive for reading only.

    Raises:
        UsageError: there is none.
    """
    folder = folder_of(url)
    if not os.path.isdir(folder):  # noqa: PTH112 (never raises)
        raise UsageError(f"there is no archive {url}", hint="Name the folder of an archive.")
    return LocalSink(folder, run_id="reader", dir_mode=0o700, file_mode=0o600)


def ledger_path(url: str, state_dir: Path | None) -> Path:
    """Where an archive's ledger lies: in the archive, or in a folder of its own elsewhere."""
    folder = folder_of(url)
    if state_dir is None:
        return folder / RESERVED / _LEDGER
    whole = str(folder.resolve())
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return state_dir.expanduser() / f"{folder.resolve().name or 'root'}-{digest}" / _LEDGER


def open_ledger(settings: Settings) -> Ledger:
    """The archive's ledger, created where needed, as private as the archive's files.

    Raises:
        DestinationError: it cannot be opened.
    """
    output = settings.output
    path = ledger_path(output.url, output.state_dir)
    try:
        _make_private(path.parent, output.dir_mode)
        if not path.exists():
            # SQLite gives its own files beside it the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, output.file_mode))
            path.chmod(output.file_mode)
    except OSError as error:
        raise DestinationError(f"cannot write {path}: {error.strerror}") from None
    ledger = Ledger(path)
    if output.state_dir is not None and ledger.holds_anything():
        _refuse_empty(folder_of(output.url), path)
    return ledger


def _make_private(folder: Path, mode: int) -> None:
    if not folder.exists():
        _make_private(folder.parent, mode)
        folder.mkdir()
        folder.chmod(mode)


def _refuse_empty(folder: Path, ledger: Path) -> None:
    """A file system that is not mounted looks like an archive from which everything vanished."""
    with translated(folder, verb="read"):
        empty = not any(entry.is_dir() and entry.name != RESERVED for entry in folder.iterdir())
    if empty:
        raise DestinationError(
            f"{folder} is empty, but the ledger {ledger} knows recordings in it",
            hint="Check that the file system is mounted. If the archive was given up on purpose,"
            " move the ledger away.",
        )


def read_ledger(url: str, state_dir: Path | None) -> Ledger | None:
    """The archive's ledger for looking up only; None where there is none.

    Raises:
        DestinationError: it cannot be read.
    """
    path = ledger_path(url, state_dir)
    return Ledger(path, read_only=True) if path.exists() else None


async def check_free(sink: Sink, settings: Settings) -> None:
    """Make sure that enough is free for the archive, that of its raw recordings, and its ledger.

    Raises:
        DestinationError: it is not, or the archive is not there any more.
    """
    needed = settings.limits.min_free_bytes
    free = {each.url: await each.free_bytes() for each in parts_of(sink)}
    if settings.output.state_dir is not None:
        place = ledger_path(settings.output.url, settings.output.state_dir).parent
        with translated(place):
            free[str(place)] = (await asyncio.to_thread(shutil.disk_usage, place)).free
    for name, count in free.items():
        if count is not None and count < needed:
            raise DestinationError(
                f"only {count / _MIB:,.0f} MiB are free at {name},"
                f" and {needed / _MIB:,.0f} MiB are to stay free",
                hint="Free some space and run again: what is archived is skipped."
                " limits.min_free_bytes sets how much is to stay free.",
            )
