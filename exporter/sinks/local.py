"""A folder on this machine, or on a file system mounted there.

A file is written under a temporary name in its target folder, synced, and linked to its final
name, which fails where that name is taken. Folder entries are synced in batches
(`make_durable`), before the ledger says "archived".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from aiofiles.threadpool import wrap

from exporter.errors import DestinationError
from exporter.sinks.base import AlreadyExistsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

_READ_SIZE = 1024 * 1024
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space and run again; what is archived stays.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again.",
    errno.EROFS: "The file system is read-only: mount it writable, or choose another archive.",
    errno.EACCES: "Check who owns the archive and its permissions.",
    errno.EPERM: "Check who owns the archive and its permissions.",
    errno.ENOENT: "The folder vanished: check that the file system is still mounted.",
    errno.ENOTDIR: "A file stands where a folder is needed: choose another archive.",
    errno.EFBIG: "The file size limit of this process or file system is too low.",
    errno.EIO: "The disk reports errors: check its health before the next run.",
    errno.EMFILE: "Too many open files: lower the concurrency or raise `ulimit -n`.",
}


class LocalSink:
    """An archive in a folder.

    Attributes:
        root: the archive's folder.
    """

    def __init__(self, root: Path, *, run_id: str, dir_mode: int, file_mode: int) -> None:
        self.root = root
        self._run_id = run_id
        self._dir_mode = dir_mode
        self._file_mode = file_mode
        self._known_folders: set[Path] = set()
        self._unsynced_folders: set[Path] = set()

    @property
    def url(self) -> str:
        """The folder as given."""
        return str(self.root)

    async def prepare(self) -> None:
        """Create the folder where needed and write a file into it."""
        await _in_thread(self._prepare)

    async def put(self, path: str, data: bytes) -> None:
        """A small file's whole life in one thread hop."""
        await _in_thread(self._put, path, data)

    async def begin(self, path: str) -> LocalUpload:
        """Open the temporary file."""
        final = self.root / path
        file = await _in_thread(self._create, final)
        return LocalUpload(self, file, final)

    async def set_aside(self, path: str) -> str:
        """`x.wav` becomes `x.wav.damaged-<run id>`."""
        aside = f"{path}.damaged-{self._run_id}"
        with _translated(self.root / path):
            await _in_thread(os.rename, self.root / path, self.root / aside)
        return aside

    async def make_durable(self, paths: Iterable[str]) -> None:
        """Sync each folder that got a new entry, once."""
        folders = {(self.root / path).parent for path in paths}
        await _in_thread(self._sync_folders, folders)

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """One thread hop for all."""
        return await _in_thread(lambda: [self._size(path) for path in paths])

    async def replace(self, path: str, pieces: AsyncIterator[bytes]) -> None:
        """Write beside it, sync, rename over it, sync the folder."""
        final = self.root / path
        file = await _in_thread(self._create, final)
        temporary = Path(file.name)
        try:
            stream = wrap(file)
            async for piece in pieces:
                with _translated(final):
                    await stream.write(piece)
            with _translated(final):
                await _in_thread(os.fsync, file.fileno())
                await stream.close()
                await _in_thread(os.rename, temporary, final)
        finally:
            await _in_thread(_discard, file)
        await _in_thread(self._sync_folders, {final.parent})

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Pieces of 1 MiB."""
        full = self.root / path
        with _translated(full, missing_is_fine=True):
            stream = wrap(await _in_thread(io.FileIO, full))
        try:
            while True:
                with _translated(full):
                    piece = await stream.read(_READ_SIZE)
                if not piece:
                    return
                yield piece
        finally:
            await stream.close()

    def _prepare(self) -> None:
        probe = self.root / f".{self._run_id}.probe"
        self._make_folder(self.root)
        with _translated(self.root):
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._file_mode)
            try:
                os.write(descriptor, b"probe")
            finally:
                os.close(descriptor)
                probe.unlink()

    def _put(self, path: str, data: bytes) -> None:
        final = self.root / path
        file = self._create(final)
        try:
            with _translated(final):
                file.write(data)
            self._publish(file, final)
        finally:
            _discard(file)

    def _create(self, final: Path) -> HashingFile:
        self._make_folder(final.parent)
        temporary = final.parent / f".{final.name}.{self._run_id}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with _translated(final):
            return HashingFile(temporary, flags, self._file_mode)

    def _publish(self, file: HashingFile, final: Path) -> None:
        temporary = Path(file.name)
        with _translated(final):
            os.fsync(file.fileno())
            file.close()
        try:
            with _translated(final, existing_is_fine=True):
                _link_or_rename(temporary, final)
        except FileExistsError:
            raise AlreadyExistsError(str(final), _digest(final)) from None

    def _make_folder(self, folder: Path) -> None:
        if folder in self._known_folders:
            return
        missing = []
        candidate = folder
        while candidate not in self._known_folders and not candidate.exists():
            missing.append(candidate)
            candidate = candidate.parent
        for new in reversed(missing):
            with _translated(new), contextlib.suppress(FileExistsError):
                new.mkdir()
                new.chmod(self._dir_mode)  # mkdir's mode is cut by the umask
                self._unsynced_folders.add(new.parent)
        self._known_folders.add(folder)

    def _sync_folders(self, folders: set[Path]) -> None:
        new, self._unsynced_folders = self._unsynced_folders, set()
        for folder in folders | new:
            with _translated(folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _size(self, path: str) -> int | None:
        try:
            return (self.root / path).stat().st_size
        except OSError:
            return None


class HashingFile(io.FileIO):
    """A new file that hashes what is written to it, so that both happen in one thread hop."""

    def __init__(self, path: Path, flags: int, mode: int) -> None:
        def opener(name: str, _: int) -> int:
            descriptor = os.open(name, flags, mode)
            os.fchmod(descriptor, mode)  # the mode given to open is cut by the umask
            return descriptor

        super().__init__(str(path), "wb", opener=opener)
        self.digest = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """All of `data`, where the system call alone may write less."""
        self.digest.update(data)
        view = memoryview(data)
        while view:
            view = view[super().write(view) or 0 :]
        return len(data)


class LocalUpload:
    """A file that arrives in pieces."""

    def __init__(self, sink: LocalSink, file: HashingFile, final: Path) -> None:
        self._sink = sink
        self._file = file
        self._stream = wrap(file)
        self._final = final

    async def write(self, data: bytes | bytearray) -> None:
        """Hash and write in one thread hop; pass pieces of a megabyte or so."""
        with _translated(self._final):
            await self._stream.write(data)

    async def commit(self) -> None:
        """Sync, then link to the final name."""
        await _in_thread(self._sink._publish, self._file, self._final)  # noqa: SLF001 (one module)

    async def abort(self) -> None:
        """Close and remove the temporary file."""
        await _in_thread(_discard, self._file)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._file.digest.hexdigest()


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread and, even when cancelled, wait for it: no file changes behind our back."""
    future = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


def _link_or_rename(temporary: Path, final: Path) -> None:
    """Give the file its name without ever replacing another file."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Some network and FAT file systems have no hard links. The run lock keeps other
        # exporters away between the look and the rename.
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        temporary.rename(final)
    else:
        temporary.unlink()


def _discard(file: HashingFile) -> None:
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        Path(file.name).unlink()


def _digest(path: Path) -> str:
    with _translated(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _translated(
    path: Path, *, missing_is_fine: bool = False, existing_is_fine: bool = False
) -> Iterator[None]:
    """Errors of the operating system become ours, with advice."""
    try:
        yield
    except OSError as error:
        if (missing_is_fine and isinstance(error, FileNotFoundError)) or (
            existing_is_fine and isinstance(error, FileExistsError)
        ):
            raise
        raise DestinationError(
            f"cannot write {path}: {error.strerror or error}",
            hint=_ADVICE.get(error.errno or 0, ""),
        ) from None
