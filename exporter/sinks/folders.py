"""The folders of a local archive: made where needed, and synced before anybody relies on them.

Many threads make folders while others sync. A folder is made and noted in one step, so that no
sync passes between the two; and one sync waits for the other, because it may rely on what that
one is about to make durable.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.sinks.filesystem import as_ours, can_be_made, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.sinks.filesystem import FileSystem
    from exporter.sinks.whole_sync import WholeSync

_SEEN: Final = 1000  # folders that need not be made again
_FEW: Final = 24  # folders that are synced one by one


class Folders:
    """Makes folders, and knows which of them have yet to be synced.

    Paths are plain text here: `pathlib` takes longer than the system calls do.

    Args:
        root: the archive's folder.
        mode: permissions of new folders.
        system: makes and syncs them.
        whole: syncs many of them at once.

    Attributes:
        are_shared: other processes make folders here, too.
    """

    def __init__(self, root: str, *, mode: int, system: FileSystem, whole: WholeSync) -> None:
        self._root = root
        self._mode = mode
        self._system = system
        self._whole = whole
        self._noting = threading.Lock()
        self._syncing = threading.Lock()
        self._unsynced: set[str] = set()
        self._synced_ancestors: set[str] = set()
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
        self._make(folder)
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(folder)

    def make(self, folder: str) -> None:
        """Make a folder and those above it, where they are missing.

        Raises:
            DestinationError: the archive cannot be written.
        """
        try:
            self._make(folder)
        except FileNotFoundError:
            self._make_all(Path(folder))

    def _make_all(self, folder: Path) -> None:
        missing = []
        candidate = folder
        while not os.path.exists(candidate):  # noqa: PTH110 (never raises; mkdir says what is wrong)
            missing.append(candidate)
            candidate = candidate.parent
        for new in reversed(missing):
            with translated(new), can_be_made(new):
                self._make(str(new))

    def _make(self, new: str) -> None:
        with self._noting:
            try:
                self._system.make_folder(new, self._mode)
            except FileExistsError:
                pass
            except FileNotFoundError:
                raise
            except OSError as error:
                raise as_ours(error, new) from None
            self._unsynced.add(_above(new))

    def sync(self, folders: Iterable[str]) -> None:
        """Return when the names in these folders, and of all new folders, are on the medium.

        What could not be synced is tried again by the next one who syncs.

        Raises:
            DestinationError: the archive cannot be written.
        """
        relied_on = set(folders)
        with self._syncing:
            with self._noting:
                new, self._unsynced = self._unsynced, set()
            # A run that was killed may have left folders of its own unsynced: each folder on the
            # way down is synced once by every process that relies on it.
            above = {
                above
                for folder in relied_on
                # If its parent is, all above it are as well, and get no folder that is not noted.
                if self.are_shared or _above(folder) not in self._synced_ancestors
                for above in self._way_down(folder)
            }
            if not self.are_shared:
                above -= self._synced_ancestors
            try:
                if self._are_covered(relied_on, new | above):
                    with translated(self._root):
                        self._whole.run()
                    new.clear()
                else:
                    for folder in relied_on | new | above:
                        self._sync(folder, may_be_gone=folder not in relied_on)
                        new.discard(folder)
            finally:
                with self._noting:
                    self._unsynced |= new
            self._synced_ancestors |= above

    def _are_covered(self, relied_on: set[str], others: set[str]) -> bool:
        """Whether one sync for the whole file system will do for them, and is worth while."""
        if len(relied_on | others) <= _FEW:
            return False
        devices = set()
        for folder in relied_on:
            with translated(folder):
                devices.add(os.stat(folder).st_dev)  # noqa: PTH116 (plain text)
        for folder in others - relied_on:
            with contextlib.suppress(OSError):  # removed meanwhile; see `_sync`
                devices.add(os.stat(folder).st_dev)  # noqa: PTH116
        return all(map(self._whole.covers, devices))

    def _sync(self, folder: str, *, may_be_gone: bool) -> None:
        try:
            with translated(folder, missing_is_fine=may_be_gone):
                self._system.sync_folder(folder)
        except FileNotFoundError:
            # Somebody removed a new folder with all that was in it. Who relies on one of its files
            # names it, and is told.
            return

    def _way_down(self, folder: str) -> Iterator[str]:
        """The folders above it, up to the archive's own."""
        while len(folder) > len(self._root) and folder != (above := _above(folder)):
            yield above
            folder = above


def _above(folder: str) -> str:
    return os.path.dirname(folder) or "."  # noqa: PTH120 (plain text)
