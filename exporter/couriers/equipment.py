"""What a courier in a process of its own needs: where the API is, and where the archives are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.connections import Timeouts
from exporter.errors import ConfigError
from exporter.model import Surface
from exporter.sinks.digests import fastest
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedSink
from exporter.sinks.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.settings import Settings
    from exporter.sinks.base import Sink

_MAIN = ""  # the mount of the main archive


class Folder(Struct, frozen=True):
    """An archive in a folder.

    Attributes:
        root: of any bytes, as names of files may be.
        dir_mode, file_mode: permissions of what is made there.
        identity: see `LocalSink`.
    """

    root: bytes
    dir_mode: int
    file_mode: int
    identity: tuple[int, int] | None


class Equipment(Struct, frozen=True, kw_only=True):
    """Plain values, to be sent to another process.

    Attributes:
        origin, surface, timeouts, ca_file: see `Client`.
        max_bytes: see `Writer`.
        run_id: marks temporary files.
        folders: the main archive and those mounted in it, by their mounts.
    """

    origin: str
    surface: Surface
    timeouts: Timeouts
    ca_file: bytes | None
    max_bytes: int
    run_id: str
    folders: dict[str, Folder]

    @property
    def ca_path(self) -> Path | None:
        """The file of authorities."""
        return Path(os.fsdecode(self.ca_file)) if self.ca_file else None

    def open_sink(self) -> Sink:
        """The archives as the run has prepared them, for a process that does nothing else."""
        sinks: dict[str, Sink] = {
            mount: LocalSink(
                Path(os.fsdecode(folder.root)),
                run_id=self.run_id,
                dir_mode=folder.dir_mode,
                file_mode=folder.file_mode,
                identity=folder.identity,
                turns=Turns(fastest()),
            )
            for mount, folder in self.folders.items()
        }
        main = sinks.pop(_MAIN)
        return MountedSink(main, sinks) if sinks else main


def equipment_of(settings: Settings, sink: Sink, run_id: str) -> Equipment:
    """What the couriers of a run need, whose archive has been prepared.

    Raises:
        ConfigError: the archive is not in folders.
    """
    api = settings.api
    return Equipment(
        origin=api.origin,
        surface=api.surface,
        timeouts=Timeouts(**api.timeout.model_dump()),
        ca_file=os.fsencode(api.ca_file) if api.ca_file else None,
        max_bytes=settings.limits.max_recording_bytes,
        run_id=run_id,
        folders=shared_folders(sink),
    )


def shared_folders(sink: Sink) -> dict[str, Folder]:
    """The folders of an archive that has been prepared; it expects others to write there, too.

    Raises:
        ConfigError: it is not in folders.
    """
    parts: Mapping[str, Sink] = sink.mounts if isinstance(sink, MountedSink) else {_MAIN: sink}
    folders: dict[str, Folder] = {}
    for mount, part in parts.items():
        if not isinstance(part, LocalSink):
            raise ConfigError(
                f"limits.processes: several processes write archives in folders only, and"
                f" {part.url} is none",
                hint="Leave limits.processes out: a store's answers take longer than this"
                " machine's work.",
            )
        part.share()
        root = os.fsencode(part.root)
        folders[mount] = Folder(root, part.dir_mode, part.file_mode, part.identity)
    return folders
