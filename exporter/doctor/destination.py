"""Whether the archives can be written, are private, have room, and are free. Leaves no trace."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from typing import TYPE_CHECKING, Final

from exporter.doctor.findings import Check, State
from exporter.errors import ArchiveBusyError, DestinationError, ExporterError
from exporter.job import new_run_id
from exporter.raw_archive import find_archives
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.settings import Settings
    from exporter.sinks.base import Sink

_MIB: Final = 1024 * 1024
_OTHERS: Final = 0o077
_MEND: Final = "Check the path, who owns it, and its permissions."


async def destinations(settings: Settings) -> list[Check]:
    """The archive, that of its raw recordings, and the folder of the ledger."""
    try:
        archives = await find_archives(settings, new_run_id())
    except ExporterError as error:
        return [
            Check.failed("destination", error, about=settings.output.url, mend=_MEND),
            *(
                Check.skipped(name, "the archive cannot be opened", about=settings.output.url)
                for name in ("privacy", "space", "hold")
            ),
        ]
    output = archives.settings.output
    checks = []
    for position, sink in enumerate(parts_of(archives.sink)):
        modes = (output.dir_mode, output.file_mode)
        if position:
            modes = (output.raw_dir_mode or modes[0], output.raw_file_mode or modes[1])
        checks += await _archive(sink, modes, settings.limits.min_free_bytes)
    if output.state_dir is not None:
        checks.append(await asyncio.to_thread(_state_dir, output.state_dir.expanduser()))
    return checks


async def _archive(sink: Sink, modes: tuple[int, int], needed: int) -> list[Check]:
    about = sink.url
    root = sink.root if isinstance(sink, LocalSink) else None
    try:
        if root is None or await asyncio.to_thread(root.exists):
            await sink.prepare()
            written = Check("destination", State.OK, "can be written", about=about)
        else:
            written = await asyncio.to_thread(_new, root, about)
    except DestinationError as error:
        written = Check.failed("destination", error, about=about, mend=_MEND)
    checks = [written, await asyncio.to_thread(_privacy, root, modes, about)]
    if written.state is State.FAILED:
        why = "the archive cannot be written"
        return [*checks, *(Check.skipped(name, why, about=about) for name in ("space", "hold"))]
    return [*checks, await _space(sink, root, needed), await _hold(sink)]


def _new(root: Path, about: str) -> Check:
    """A folder that is not there yet: a run makes it, and a look does not."""
    parent = _existing(root)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        message = f"is not there yet; a run can create it in {parent}"
        return Check("destination", State.OK, message, about=about)
    error = DestinationError(f"cannot create it: {parent} is no folder that can be written")
    return Check.failed("destination", error, about=about, mend=_MEND)


def _existing(path: Path) -> Path:
    """The path itself, or what there is above it."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _privacy(root: Path | None, modes: tuple[int, int], about: str) -> Check:
    wide = [
        f"{name} are created with mode {mode:04o}"
        for name, mode in zip(("folders", "files"), modes, strict=True)
        if mode & _OTHERS
    ]
    if root is not None and root.exists():
        mode = stat.S_IMODE(root.stat().st_mode)
        if mode & _OTHERS:
            wide.insert(0, f"its folder has mode {mode:04o}")
    if not wide:
        return Check("privacy", State.OK, "nobody else on this machine may look", about=about)
    return Check(
        "privacy",
        State.WARNING,
        f"others on this machine may look: {', '.join(wide)}",
        "If that is not meant: chmod 0700 the folder, and leave dir_mode at 0700 and file_mode at"
        " 0600.",
        about,
    )


async def _space(sink: Sink, root: Path | None, needed: int) -> Check:
    if root is None:
        free = await sink.free_bytes()
    else:
        place = await asyncio.to_thread(_existing, root)
        free = (await asyncio.to_thread(shutil.disk_usage, place)).free
    if free is None:
        return Check("space", State.OK, "the store has no limit", about=sink.url)
    found = f"{free / _MIB:,.0f} MiB are free, {needed / _MIB:,.0f} MiB are to stay free"
    if free >= needed:
        return Check("space", State.OK, found, about=sink.url)
    error = DestinationError(
        found, hint="Free some space, or lower limits.min_free_bytes: a run would not start."
    )
    return Check.failed("space", error, about=sink.url)


async def _hold(sink: Sink) -> Check:
    try:
        holder = await sink.holder()
    except DestinationError as error:
        return Check.failed("hold", error, about=sink.url, mend=_MEND)
    if holder is None:
        return Check("hold", State.OK, "no run holds it", about=sink.url)
    error_ = ArchiveBusyError(
        f"run {holder.run_id} holds it (process {holder.pid} on {holder.host}, since"
        f" {holder.since:%Y-%m-%d %H:%M:%S} UTC)",
        hint="Wait until it has ended, or let a run wait: --wait 30m.",
    )
    return Check.failed("hold", error_, about=sink.url)


def _state_dir(folder: Path) -> Check:
    parent = _existing(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return Check("destination", State.OK, "the ledger can be written", about=str(folder))
    error = DestinationError(f"the ledger cannot be written: {parent} is not writable")
    return Check.failed("destination", error, about=str(folder), mend=_MEND)
