"""The folders of a local archive: made where needed, and synced before anybody relies on them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from exporter.sinks.filesystem import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.sinks.filesystem import FileSystem


class Folders:
    """Makes folders, and knows which of them have yet to be synced.

    Args:
        root: the archive's folder.
        mode: permissions of new folders.
        system: makes and syncs them.
    """

    def __init__(self, root: Path, *, mode: int, system: FileSystem) -> None:
        self._root = root
        self._mode = mode
        self._system = system
        self._unsynced: set[Path] = set()
        self._synced_ancestors: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make a folder and those above it, where they are missing.

        Raises:
            DestinationError: the archive cannot be written.
        """
        missing = []
        candidate = folder
        while not os.path.exists(candidate):  # noqa: PTH110 (never raises; mkdir says what is wrong)
            missing.append(candidate)
            candidate = candidate.parent
        for new in reversed(missing):
            with translated(new), contextlib.suppress(FileExistsError):
                self._system.make_folder(new, self._mode)
            self._unsynced.add(new.parent)

    def sync(self, folders: set[Path]) -> None:
        """Return when the names in these folders, and of all new folders, are on the medium.

        Raises:
            DestinationError: the archive cannot be written.
        """
        new, self._unsynced = self._unsynced, set()
        # A run that was killed may have left folders of its own unsynced: each folder on the way
        # down is synced once by every process that relies on it.
        above = {above for folder in folders for above in self._way_down(folder)}
        above -= self._synced_ancestors
        for folder in folders | new | above:
            with translated(folder):
                self._system.sync_folder(folder)
        self._synced_ancestors |= above

    def _way_down(self, folder: Path) -> Iterator[Path]:
        for parent in folder.parents:
            yield parent
            if parent == self._root:
                return
