"""The operating system's calls that change a local archive: the seam at which tests make it fail.

Everything that an archive's promises rest on goes through here, so a test can count the steps,
stop the world between any two of them, and forget what was not synced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.errors import DestinationError
from exporter.sinks import whole_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Piece
    from exporter.sinks.digests import Digest, Parts

    StrPath = str | Path

NO_HARD_LINKS: Final = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
}
_ADVICE: Final = {
    errno.ENOSPC: "The disk is full: free some space and run again; what is archived stays.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again.",
    errno.EROFS: "The file system is read-only: mount it writable, or choose another archive.",
    errno.EACCES: "Check who owns the archive and its permissions.",
    errno.EPERM: "Check who owns the archive and its permissions.",
    errno.ENOENT: "The folder vanished: check that the file system is still mounted.",
    errno.ESTALE: "The folder vanished: check that the file system is still mounted.",
    errno.ENODEV: "The folder vanished: check that the file system is still mounted.",
    errno.ENOTDIR: "A file stands where a folder is needed: choose another archive.",
    errno.EFBIG: "The file size limit of this process or file system is too low.",
    errno.EIO: "The disk reports errors: check its health before the next run.",
    errno.EMFILE: "Too many open files: lower the concurrency or raise `ulimit -n`.",
}
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
_PERMISSIONS: Final = 0o777
_MOST_PARTS: Final = 256  # written by one system call; Linux and macOS take 1,024
_SECTOR: Final = 4096  # bytes; of what is written around the cache, a multiple of it
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


class FileSystem:
    """The calls themselves."""

    def __init__(self) -> None:
        self._uncut: set[int] = set()  # modes that the umask leaves as they are
        self._around: set[int] = set()  # descriptors of files that are written around the cache

    def create(self, path: StrPath, mode: int) -> int:
        """A new file, open for writing; fails where there is one."""
        descriptor = os.open(path, _CREATE, mode)
        self._around.discard(descriptor)  # which another file had
        if mode not in self._uncut:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) == mode:
                self._uncut.add(mode)
            else:
                os.fchmod(descriptor, mode)
        return descriptor

    def go_around_cache(self, descriptor: int) -> None:
        """What is written to a new file from now on need not be copied into the system's cache.

        Only where that is known to be good; and each part only for as long as its length and its
        place in memory allow it.
        """
        if whole_sync.is_disk(descriptor):
            with contextlib.suppress(OSError):  # this file system cannot do it
                _set_direct(descriptor, direct=True)
                self._around.add(descriptor)

    def write(self, descriptor: int, *parts: Piece) -> None:
        """All of the parts, where the system call alone may write less."""
        if descriptor in self._around:
            parts = self._write_around(descriptor, parts)
        if not parts:
            return
        if len(parts) > _MOST_PARTS:
            parts = (b"".join(parts),)
        written = os.writev(descriptor, parts)
        for part in parts:
            if written >= len(part):
                written -= len(part)
                continue
            rest, written = memoryview(part)[written:], 0
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def _write_around(self, descriptor: int, parts: tuple[Piece, ...]) -> tuple[Piece, ...]:
        """Write what can be written so; returns the rest, with which it is over."""
        if not parts:
            return parts
        last = memoryview(parts[-1])
        whole = len(last) - len(last) % _SECTOR
        written = 0
        if not any(len(part) % _SECTOR for part in parts[:-1]):
            try:
                written = os.writev(descriptor, (*parts[:-1], last[:whole]))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        rest = []
        for part in parts:
            if written < len(part):
                rest.append(memoryview(part)[written:])
            written = max(0, written - len(part))
        if rest:
            self._around.discard(descriptor)
            _set_direct(descriptor, direct=False)
        return tuple(rest)

    def sync(self, descriptor: int) -> None:
        """Return when the file's content is on the medium itself."""
        if sys.platform == "darwin" and _FULL_SYNC is not None:
            with contextlib.suppress(OSError):  # file systems that cannot do it
                fcntl.fcntl(descriptor, _FULL_SYNC)
                return
        os.fsync(descriptor)

    def syncs_whole(self, descriptor: int) -> bool:
        """Whether `sync_whole` can be relied on where this descriptor's file is."""
        return whole_sync.is_reliable(descriptor)

    def sync_whole(self, descriptor: int) -> None:
        """Return when all that was written to this descriptor's file system is on the medium."""
        whole_sync.syncfs(descriptor)

    def sync_folder(self, folder: StrPath) -> None:
        """Return when the names in a folder are on the medium itself."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems sync no folders
                raise
        finally:
            os.close(descriptor)

    def make_folder(self, folder: StrPath, mode: int) -> None:
        """A new folder; fails where there is one."""
        os.mkdir(folder, mode)  # noqa: PTH102 (plain text is several times faster than paths)
        if mode not in self._uncut:
            # Bits that only folders inherit do not count.
            if os.stat(folder).st_mode & _PERMISSIONS == mode:  # noqa: PTH116
                self._uncut.add(mode)
            else:
                os.chmod(folder, mode)  # noqa: PTH101

    def link(self, source: StrPath, target: StrPath) -> None:
        """A second name for a file; fails where that name is taken."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Another name for a file, in place of what had that name."""
        source.rename(target)

    def name_finally(self, temporary: str, final: str) -> None:
        """Another name for a file; fails where that name is taken."""
        try:
            self.link(temporary, final)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            # Some network and FAT file systems have no hard links. The run's hold on the archive
            # keeps other exporters away between the look and the rename.
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final) from None
            self.rename(Path(temporary), Path(final))
        else:
            self.unlink(temporary)

    def unlink(self, path: StrPath) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108


class HashingFile(io.FileIO):
    """A new file that hashes what is written to it, so that both happen in one thread hop."""

    def __init__(self, system: FileSystem, path: str, descriptor: int) -> None:
        super().__init__(path, "wb", opener=lambda *_: descriptor)
        self._system = system
        self.digest: Digest = hashlib.sha256()

    def write(self, *parts: Piece) -> int:  # type: ignore[override]
        """All of the parts; returns how many bytes they are."""
        for part in parts:
            self.digest.update(part)
        self._system.write(self.fileno(), *parts)
        return sum(map(len, parts))

    def append(self, parts: Parts, digest: Digest) -> None:
        """Parts that somebody else has hashed."""
        self._system.write(self.fileno(), *parts)
        self.digest = digest


def _set_direct(descriptor: int, *, direct: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    flags = flags | _DIRECT if direct else flags & ~_DIRECT
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


@contextlib.contextmanager
def translated(
    path: StrPath,
    *,
    verb: str = "write",
    missing_is_fine: bool = False,
    existing_is_fine: bool = False,
) -> Iterator[None]:
    """Errors of the operating system become ours, with advice."""
    try:
        yield
    except OSError as error:
        if (missing_is_fine and isinstance(error, FileNotFoundError)) or (
            existing_is_fine and isinstance(error, FileExistsError)
        ):
            raise
        raise as_ours(error, path, verb) from None


@contextlib.contextmanager
def can_be_made(path: Path) -> Iterator[None]:
    """Some file systems, such as /proc, say of what cannot be made in them that it is not there.

    Raises:
        DestinationError: this one does.
        FileNotFoundError: the folder of the path is not there.
    """
    try:
        yield
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        raise DestinationError(
            f"cannot make {printable(path)}: its file system takes no new files or folders",
            hint="Choose another place.",
        ) from None


def as_ours(error: OSError, path: StrPath, verb: str = "write") -> DestinationError:
    """An error of the operating system in our words, with advice."""
    return DestinationError(
        f"cannot {verb} {printable(path)}: {error.strerror or error}",
        hint=_ADVICE.get(error.errno or 0, ""),
    )


def printable(path: StrPath) -> str:
    """A path in words for people: its bytes may be such that no ledger and no log can hold them."""
    return str(path).encode("utf-8", "backslashreplace").decode()
