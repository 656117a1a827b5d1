"""The parts that an archive is made of, as the settings describe them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from exporter.address import AddressError, is_store, store_address
from exporter.errors import ConfigError, DestinationError, UsageError
from exporter.layout import RESERVED, Layout
from exporter.ledger import Ledger
from exporter.places import user_state_dir
from exporter.sinks.filesystem import translated
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import parts_of
from exporter.sinks.store_options import StoreOptions, identity

if TYPE_CHECKING:
    from datetime import tzinfo

    from exporter.address import StoreAddress
    from exporter.settings import ObjectStoreSettings, Settings
    from exporter.sinks.base import Sink
    from exporter.sinks.object_store import ObjectStoreSink

_LEDGER = "ledger.sqlite"
_READER = "reader"  # in place of a run's id
_MIB = 1024 * 1024


def folder_of(url: str) -> Path:
    """The archive's folder."""
    return Path(url.removeprefix("file://")).expanduser()


def layout_of(settings: Settings) -> Layout:
    """How the archive is laid out."""
    return Layout(settings.output.layout, zone_of(settings.output.timezone))


def zone_of(name: str) -> tzinfo:
    """A time zone; the usual one as what the ledger's times have, so that a look tells it."""
    return UTC if name == "UTC" else ZoneInfo(name)


def canonical(url: str) -> str:
    """The same text for the same archive, however its folder was named."""
    is_folder = "://" not in url or url.startswith("file://")
    return str(folder_of(url).resolve()) if is_folder else url.rstrip("/")


def open_sink(settings: Settings, run_id: str) -> Sink:
    """The archive's storage; `run_id` marks the temporary files."""
    output = settings.output
    return sink_at(
        output.url,
        run_id=run_id,
        dir_mode=output.dir_mode,
        file_mode=output.file_mode,
        store=settings.object_store,
    )


def sink_at(
    url: str, *, run_id: str, dir_mode: int, file_mode: int, store: ObjectStoreSettings
) -> Sink:
    """The storage of any archive.

    Raises:
        ConfigError: the settings cannot be used for this archive, or what they need is missing.
    """
    address = store_address(url)
    if address is None:
        return LocalSink(folder_of(url), run_id=run_id, dir_mode=dir_mode, file_mode=file_mode)
    return _store_sink(address, store, run_id)


def existing_sink(url: str, store: ObjectStoreSettings) -> Sink:
    """An archive for reading only.

    Raises:
        UsageError: there is none.
        DestinationError: its store cannot be read.
    """
    try:
        address = store_address(url)
    except AddressError as error:
        raise UsageError(f"found {url!r}, expected {error}") from None
    if address is not None:
        sink = _store_sink(address, store, _READER)
        if not sink.exists():
            raise UsageError(f"there is nothing in {url}", hint="Check the bucket and the prefix.")
        return sink
    folder = folder_of(url)
    if not os.path.isdir(folder):  # noqa: PTH112 (never raises)
        raise UsageError(f"there is no archive {url}", hint="Name the folder of an archive.")
    return LocalSink(folder, run_id=_READER, dir_mode=0o700, file_mode=0o600)


def _store_sink(
    address: StoreAddress, settings: ObjectStoreSettings, run_id: str
) -> ObjectStoreSink:
    try:
        from exporter.sinks.object_store import ObjectStoreSink  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"archives in object stores need the package {error.name}, which is not installed",
            hint="python -m pip install 'exporter[object-store]'",
        ) from None
    return ObjectStoreSink(address, _options(settings), run_id=run_id)


def _options(settings: ObjectStoreSettings) -> StoreOptions:
    return StoreOptions(**{each: getattr(settings, each) for each in StoreOptions.__slots__})


def ledger_path(url: str, state_dir: Path | None, store: ObjectStoreSettings) -> Path:
    """Where an archive's ledger lies: in the archive, or in a folder of its own elsewhere."""
    address = store_address(url)
    if address is not None:
        whole = identity(address, _options(store), os.environ)
        name = address.prefix.rpartition("/")[2] or address.bucket
        place = state_dir or user_state_dir() / "archives"
    else:
        folder = folder_of(url)
        if state_dir is None:
            return folder / RESERVED / _LEDGER
        whole = str(folder.resolve())
        name = folder.resolve().name or "root"
        place = state_dir
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return place.expanduser() / f"{name}-{digest}" / _LEDGER


def open_ledger(settings: Settings) -> Ledger:
    """The archive's ledger, created where needed, as private as the archive's files.

    Raises:
        DestinationError: it cannot be opened.
    """
    output = settings.output
    path = ledger_path(output.url, output.state_dir, settings.object_store)
    try:
        _make_private(path.parent, output.dir_mode)
        if not path.exists():
            # SQLite gives its own files beside it the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, output.file_mode))
            path.chmod(output.file_mode)
    except OSError as error:
        raise DestinationError(f"cannot write {path}: {error.strerror}") from None
    ledger = Ledger(path)
    is_elsewhere = output.state_dir is not None and not is_store(output.url)
    try:
        if is_elsewhere and ledger.holds_anything():
            _refuse_empty(folder_of(output.url), path)
    except BaseException:
        ledger.close()
        raise
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


def read_ledger(url: str, state_dir: Path | None, store: ObjectStoreSettings) -> Ledger | None:
    """The archive's ledger for looking up only; None where there is none.

    Raises:
        DestinationError: it cannot be read.
    """
    path = ledger_path(url, state_dir, store)
    return Ledger(path, read_only=True) if path.exists() else None


async def check_free(sink: Sink, settings: Settings) -> None:
    """Make sure that enough is free for the archive, that of its raw recordings, and its ledger.

    Raises:
        DestinationError: it is not, or the archive is not there any more.
    """
    needed = settings.limits.min_free_bytes
    free = {each.url: await each.free_bytes() for each in parts_of(sink)}
    if settings.output.state_dir is not None:
        output = settings.output
        place = ledger_path(output.url, output.state_dir, settings.object_store).parent
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
