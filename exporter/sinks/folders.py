"""The folders of a local archive: made where needed, and synced before anybody relies on them.

Many threads make folders while others sync. A folder is made and noted in one step, so that no
sync passes between the two; and one sync waits for the other, because it may rely on what that
one is about to make durable.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.sinks.filesystem import as_ours, can_be_made, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.sinks.filesystem import FileSystem

_SEEN: Final = 1000  # folders that need not be made again


class Folders:
    """Makes folders, and knows which of them have yet to be synced.

    Args:
        root: the archive's folder.
        mode: permissions of new folders.
        system: makes and syncs them.

    Attributes:
        are_shared: other processes make folders here, too.
    """

    def __init__(self, root: Path, *, mode: int, system: FileSystem) -> None:
        self._root = root
        self._mode = mode
        self._system = system
        self._noting = threading.Lock()
        self._syncing = threading.Lock()
        self._unsynced: set[Path] = set()
        self._synced_ancestors: set[Path] = set()
        self._seen: set[str] = set()
        self.are_shared = False

    def expect(self, folder: str) -> None:
        """Make a folder that is new to this process, as most conversations' are, if it is missing.

        Trying to write there first would cost a small file two more steps.

        Raises:
            FileNotFoundError: the folder above is missing.
            DestinationError: the archive cannot be written.
        """
        if folder in self._seen:
            return
        self._make(Path(folder))
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(folder)

    def make(self, folder: Path) -> None:
        """Make a folder and those above it, where they are missing.

        Raises:
            DestinationError: the archive cannot be written.
        """
        try:
            self._make(folder)
        except FileNotFoundError:
            self._make_all(folder)

    def _make_all(self, folder: Path) -> None:
        missing = []
        candidate = folder
        while not os.path.exists(candidate):  # noqa: PTH110 (never raises; mkdir says what is wrong)
            missing.append(candidate)
            candidate = candidate.parent
        for new in reversed(missing):
            with translated(new), can_be_made(new):
                self._make(new)

    def _make(self, new: Path) -> None:
        with self._noting:
            try:
                self._system.make_folder(new, self._mode)
            except FileExistsError:
                pass
            except FileNotFoundError:
                raise
            except OSError as error:
                raise as_ours(error, new) from None
            self._unsynced.add(new.parent)

    def sync(self, folders: set[Path]) -> None:
        """Return when the names in these folders, and of all new folders, are on the medium.

        What could not be synced is tried again by the next one who syncs.

        Raises:
            DestinationError: the archive cannot be written.
        """
        with self._syncing:
            with self._noting:
                new, self._unsynced = self._unsynced, set()
            # A run that was killed may have left folders of its own unsynced: each folder on the
            # way down is synced once by every process that relies on it.
            above = {
                above
                for folder in folders
                # If its parent is, all above it are as well, and get no folder that is not noted.
                if self.are_shared or folder.parent not in self._synced_ancestors
                for above in self._way_down(folder)
            }
            if not self.are_shared:
                above -= self._synced_ancestors
            try:
                for folder in folders | new | above:
                    self._sync(folder, may_be_gone=folder not in folders)
                    new.discard(folder)
            finally:
                with self._noting:
                    self._unsynced |= new
            self._synced_ancestors |= above

    def _sync(self, folder: Path, *, may_be_gone: bool) -> None:
        try:
            with translated(folder, missing_is_fine=may_be_gone):
                self._system.sync_folder(folder)
        except FileNotFoundError:
            # Somebody removed a new folder with all that was in it. Who relies on one of its files
            # names it, and is told.
            return

    def _way_down(self, folder: Path) -> Iterator[Path]:
        if folder == self._root:
            return
        for parent in folder.parents:
            yield parent
            if parent == self._root:
                return
