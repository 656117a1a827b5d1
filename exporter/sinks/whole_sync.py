"""One sync for all that was written to a file system: Linux's `syncfs`, where it can be relied on.

To sync each small file by itself costs several times what writing it does: each sync waits for the
file system's journal, and empties the disk's own cache. A hundred files share one of each.

Source: syncfs(2). Before Linux 5.8 it said nothing of data that could not be written; and on file
systems that are reached over a network or through other programs it need not reach the medium. What
others have written is synced along with ours: where that takes long, files are synced one by one.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable

    from exporter.sinks.filesystem import FileSystem

_DISKS: Final = {
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # XFS
}
_RELIABLE: Final = {
    *_DISKS,
    0x9123683E,  # Btrfs
    0x01021994,  # in memory
}
_RELIABLE_SINCE: Final = (5, 8)
_STATUS_BYTES: Final = 512  # more than any machine's `struct statfs`, which begins with the type
_LONG: Final = 2.0  # seconds; by then each file would have been synced by itself
_PAUSE: Final = 300.0  # seconds for which others seem to write much


class WholeSync:
    """Syncs the file system of an archive's folder, with everything on it.

    Args:
        root: the folder, which may not be there yet.
        system: does it.
        clock: seconds that never run backwards.
    """

    def __init__(
        self, root: str, system: FileSystem, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._system = system
        self._clock = clock
        self._opening = threading.Lock()
        self._is_opened = False
        # Kept open: errors are told to who had it open before they happened.
        self._descriptor = -1
        self._device: int | None = None
        self._paused_until = float("-inf")

    def covers(self, device: int) -> bool:
        """Whether `run` syncs what lies on this device, and is a good way to do so now.

        The archive's folder must be there.
        """
        if not self._is_opened:
            with self._opening:
                if not self._is_opened:
                    self._open()
        return device == self._device and self._clock() >= self._paused_until

    def run(self) -> None:
        """Return when everything written until now is on the medium itself.

        Raises:
            OSError: something, of us or of others, could not be written.
        """
        began = self._clock()
        self._system.sync_whole(self._descriptor)
        ended = self._clock()
        if ended - began > _LONG:
            self._paused_until = ended + _PAUSE

    def _open(self) -> None:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        if self._system.syncs_whole(descriptor):
            self._descriptor = descriptor
            self._device = os.fstat(descriptor).st_dev
        self._is_opened = True


def is_reliable(descriptor: int) -> bool:
    """Whether `syncfs` does what it should on this descriptor's file system."""
    return sys.platform == "linux" and _is_new_enough() and _type_of(descriptor) in _RELIABLE


def is_disk(descriptor: int) -> bool:
    """Whether a descriptor's file lies on a disk of this machine, in blocks as they are written."""
    return sys.platform == "linux" and _type_of(descriptor) in _DISKS


def syncfs(descriptor: int) -> None:
    """Sync the whole file system of a descriptor.

    Raises:
        OSError: it cannot be, or something could not be written since this was last asked.
    """
    import ctypes  # noqa: PLC0415 (10 ms that most commands need not spend)

    if _c_library().syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _c_library() -> ctypes.CDLL:
    """Opened once: each time makes classes, which only the garbage collector removes."""
    import ctypes  # noqa: PLC0415 (as above)

    return ctypes.CDLL(None, use_errno=True)


def _is_new_enough() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= _RELIABLE_SINCE


def _type_of(descriptor: int) -> int | None:
    import ctypes  # noqa: PLC0415 (as above)

    status = ctypes.create_string_buffer(_STATUS_BYTES)
    if _c_library().fstatfs(descriptor, status) != 0:
        return None
    return int.from_bytes(status.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
