"""A folder on this machine, or on a file system mounted there.

A file is written under a temporary name in its target folder, synced, and linked to its final
name, which fails where that name is taken. Folder entries are synced in batches
(`make_durable`), before the ledger says "archived".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import io
import os
import re
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from aiofiles.threadpool import wrap

from exporter.errors import DestinationError
from exporter.sinks.base import HOLDER_PATH, AlreadyExistsError, Entry, Holder
from exporter.sinks.filesystem import NO_HARD_LINKS, FileSystem, HashingFile, translated
from exporter.sinks.folder_hold import FolderHold, read_holder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

_READ_SIZE: Final = 1024 * 1024
_ENTRIES: Final = 1000  # files listed in one thread hop
_TEMPORARY: Final = re.compile(r"\..*?(\d{8}T\d{6}Z-[0-9a-f]{4})\.(?:part|probe)")


class LocalSink:
    """An archive in a folder.

    Attributes:
        root: the archive's folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        run_id: str,
        dir_mode: int,
        file_mode: int,
        system: FileSystem | None = None,
    ) -> None:
        self.root = root
        self._run_id = run_id
        self._dir_mode = dir_mode
        self._file_mode = file_mode
        self._system = system or FileSystem()
        self._identity: tuple[int, int] | None = None  # of the root's folder, once prepared
        self._unsynced_folders: set[Path] = set()
        self._synced_ancestors: set[Path] = set()

    @property
    def url(self) -> str:
        """The folder as given."""
        return str(self.root)

    async def prepare(self) -> None:
        """Create the folder where needed and write a file into it."""
        await _in_thread(self._prepare)

    async def free_bytes(self) -> int:
        """Of the file system, as far as this user may use them."""
        return await _in_thread(self._free_bytes)

    async def hold(self, holder: Holder) -> FolderHold:
        """A lock of the operating system where there is one, and a sign of life for the others."""
        path = self.root / HOLDER_PATH
        await _in_thread(self._make_folders, path.parent)
        hold = FolderHold(path.parent, holder, mode=self._file_mode)
        await _in_thread(hold.take)
        return hold

    async def holder(self) -> Holder | None:
        """What the holder's file says."""
        return await _in_thread(lambda: read_holder(self.root / HOLDER_PATH))

    async def put(self, path: str, data: bytes) -> None:
        """A small file's whole life in one thread hop."""
        await _publishing(self._put, path, data)

    async def begin(self, path: str) -> LocalUpload:
        """Open the temporary file."""
        final = self.root / path
        file = await self._created(final)
        return LocalUpload(self, file, final)

    async def set_aside(self, path: str) -> str:
        """`x.wav` becomes `x.wav.damaged-<run id>`."""
        aside = f"{path}.damaged-{self._run_id}"
        with translated(self.root / path):
            await _in_thread(self._system.rename, self.root / path, self.root / aside)
        return aside

    async def make_durable(self, paths: Iterable[str]) -> None:
        """Sync each folder that got a new entry, once."""
        folders = {(self.root / path).parent for path in paths}
        await _in_thread(self._sync_folders, folders)

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """One thread hop for all."""
        return await _in_thread(self._sizes, paths)

    async def replace(self, path: str, pieces: AsyncIterator[bytes]) -> str:
        """Write beside it, sync, rename over it, sync the folder."""
        final = self.root / path
        file = await self._created(final)
        temporary = Path(file.name)
        try:
            stream = wrap(file)
            async for piece in pieces:
                with translated(final):
                    await stream.write(piece)
            with translated(final):
                await _in_thread(self._system.sync, file.fileno())
                await stream.close()
                await _in_thread(self._system.rename, temporary, final)
        finally:
            await _in_thread(self._discard, file)
        await _in_thread(self._sync_folders, {final.parent})
        return await self.tag(path) or ""

    async def tag(self, path: str) -> str | None:
        """Size and time of the last change."""

        def tag() -> str | None:
            with translated(self.root / path, verb="read"):
                try:
                    status = (self.root / path).stat()
                except FileNotFoundError:
                    return None
            return f"{status.st_size:x}-{status.st_mtime_ns:x}"

        return await _in_thread(tag)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Pieces of 1 MiB."""
        full = self.root / path
        with translated(full, verb="read", missing_is_fine=True):
            stream = wrap(await _in_thread(io.FileIO, full))
        try:
            while True:
                with translated(full, verb="read"):
                    piece = await stream.read(_READ_SIZE)
                if not piece:
                    return
                yield piece
        finally:
            await stream.close()

    async def feed(self, path: str, into: Callable[[bytes], None]) -> None:
        """One thread hop for the whole file."""
        full = self.root / path

        def feed() -> None:
            with translated(full, verb="read", missing_is_fine=True), io.FileIO(full) as file:
                while piece := file.read(_READ_SIZE):
                    into(piece)

        await _in_thread(feed)

    async def folders(self, path: str) -> list[str]:
        """One listing."""

        def folders() -> list[str]:
            full = self.root / path
            with translated(full, verb="read"):
                try:
                    with os.scandir(full) as found:
                        names = sorted(entry.name for entry in found if entry.is_dir())
                except FileNotFoundError:
                    return []
            return [f"{path}/{name}" if path else name for name in names]

        return await _in_thread(folders)

    async def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        """Walks the folder, depth first."""
        walk = self._stat_all(self.root / path, f"{path}/" if path else "")
        while batch := await _in_thread(lambda: list(islice(walk, _ENTRIES))):
            yield batch

    async def sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        """Looks at names only: a temporary name says which run it belongs to."""
        return await _in_thread(self._sweep, runs, folders)

    def _prepare(self) -> None:
        probe = self.root / f".{self._run_id}.probe"
        self._make_folders(self.root)
        with translated(self.root):
            descriptor = self._system.create(probe, self._file_mode)
            try:
                self._system.write(descriptor, memoryview(b"probe"))
            finally:
                os.close(descriptor)
                # The run that holds the archive may have swept it away meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    self._system.unlink(probe)
            status = self.root.stat()
        self._identity = status.st_dev, status.st_ino

    def _free_bytes(self) -> int:
        self._check_still_there()
        with translated(self.root, verb="read"):
            status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def _check_still_there(self) -> None:
        """A file system that was unmounted leaves an empty folder, or none: not our archive."""
        if self._identity is None:
            return
        with translated(self.root, verb="find"):
            status = self.root.stat()
        if (status.st_dev, status.st_ino) != self._identity:
            raise DestinationError(
                f"{self.root} is not the folder any more that the run began with",
                hint="Check that the file system is still mounted, then run again.",
            )

    def _put(self, path: str, data: bytes) -> None:
        final = self.root / path
        file = self._create(final)
        try:
            with translated(final):
                file.write(data)
            self._publish(file, final)
        finally:
            self._discard(file)

    async def _created(self, final: Path) -> HashingFile:
        """A temporary file, which is removed again if nobody is there any more to take it."""
        future, cancelled = await _ended(self._create, final)
        if cancelled is None:
            return future.result()
        if future.exception() is None:
            await _in_thread(self._discard, future.result())
        raise cancelled

    def _create(self, final: Path) -> HashingFile:
        temporary = final.parent / f".{final.name}.{self._run_id}.part"
        try:
            with translated(final, missing_is_fine=True):
                return HashingFile(self._system, temporary, self._file_mode)
        except FileNotFoundError:
            self._check_still_there()
            self._make_folders(final.parent)
        with translated(final):
            return HashingFile(self._system, temporary, self._file_mode)

    def _publish(self, file: HashingFile, final: Path) -> None:
        temporary = Path(file.name)
        with translated(final):
            self._system.sync(file.fileno())
            file.close()
        try:
            with translated(final, existing_is_fine=True):
                self._link_or_rename(temporary, final)
        except FileExistsError:
            raise AlreadyExistsError(str(final), _digest(final)) from None

    def _link_or_rename(self, temporary: Path, final: Path) -> None:
        """Give the file its name without ever replacing another file."""
        try:
            self._system.link(temporary, final)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            # Some network and FAT file systems have no hard links. The run's hold on the archive
            # keeps other exporters away between the look and the rename.
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
            self._system.rename(temporary, final)
        else:
            self._system.unlink(temporary)

    def _discard(self, file: HashingFile) -> None:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            self._system.unlink(Path(file.name))

    def _make_folders(self, folder: Path) -> None:
        missing = []
        candidate = folder
        while not os.path.exists(candidate):  # noqa: PTH110 (never raises; mkdir says what is wrong)
            missing.append(candidate)
            candidate = candidate.parent
        for new in reversed(missing):
            with translated(new), contextlib.suppress(FileExistsError):
                self._system.make_folder(new, self._dir_mode)
            self._unsynced_folders.add(new.parent)

    def _sync_folders(self, folders: set[Path]) -> None:
        new, self._unsynced_folders = self._unsynced_folders, set()
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
            if parent == self.root:
                return

    def _sizes(self, paths: Sequence[str]) -> list[int | None]:
        # Once for every archived recording of a run: plain text is four times faster than paths.
        root = f"{self.root}/"
        sizes: list[int | None] = []
        with translated(self.root, verb="read"):
            for path in paths:
                try:
                    sizes.append(os.stat(root + path).st_size)  # noqa: PTH116
                except (FileNotFoundError, NotADirectoryError):
                    sizes.append(None)
        return sizes

    def _stat_all(self, folder: Path, prefix: str) -> Iterator[Entry]:
        for path, entry in self._walk(folder, prefix):
            with translated(self.root / path, verb="read"):
                try:
                    status = entry.stat()
                except FileNotFoundError:  # gone meanwhile, or a link that leads nowhere
                    continue
            yield Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _walk(
        self, folder: Path, prefix: str, *, deep: bool = True
    ) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Files, one listing open on each level: a folder's names are never all in memory."""
        with translated(folder, verb="read"):
            try:
                listing = os.scandir(folder)
            except (FileNotFoundError, NotADirectoryError):
                return
            with listing:
                for entry in listing:
                    path = f"{prefix}{entry.name}"
                    if not entry.is_dir():
                        yield path, entry
                    elif deep:
                        yield from self._walk(folder / entry.name, f"{path}/")

    def _sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        if folders is None:
            found = self._walk(self.root, "")
        else:
            prefixes = [(self.root / folder, f"{folder}/" if folder else "") for folder in folders]
            found = (each for one in prefixes for each in self._walk(*one, deep=False))
        removed = 0
        for path, entry in found:
            if self._is_left_by(entry.name, runs):
                with translated(self.root / path):
                    self._system.unlink(self.root / path)
                removed += 1
        return removed

    def _is_left_by(self, name: str, runs: Collection[str] | None) -> bool:
        match = _TEMPORARY.fullmatch(name)
        if match is None or match[1] == self._run_id:
            return False
        return runs is None or match[1] in runs


class LocalUpload:
    """A file that arrives in pieces."""

    def __init__(self, sink: LocalSink, file: HashingFile, final: Path) -> None:
        self._sink = sink
        self._file = file
        self._stream = wrap(file)
        self._final = final

    async def write(self, data: bytes | bytearray) -> None:
        """Hash and write in one thread hop; pass pieces of a megabyte or so."""
        with translated(self._final):
            await self._stream.write(data)

    async def commit(self) -> None:
        """Sync, then link to the final name."""
        await _publishing(self._sink._publish, self._file, self._final)  # noqa: SLF001 (one module)

    async def abort(self) -> None:
        """Close and remove the temporary file."""
        await _in_thread(self._sink._discard, self._file)  # noqa: SLF001 (one module)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._file.digest.hexdigest()


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread and, even when cancelled, wait for it: no file changes behind our back."""
    future, cancelled = await _ended(function, *args, **kwargs)
    if cancelled is not None:
        raise cancelled
    return future.result()


async def _publishing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for what gives a file its final name: who has that done is told so in any case.

    Whoever was cancelled meanwhile learns of it where it waits next, and can note before that
    what is now in the archive.
    """
    future, cancelled = await _ended(function, *args, **kwargs)
    if cancelled is not None:
        task = asyncio.current_task()
        if future.exception() is not None or task is None:
            raise cancelled
        task.cancel()
    return future.result()


async def _ended(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """What came of it in a thread, and whether we were cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, functools.partial(function, *args, **kwargs))
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # has been looked at
    return future, cancelled


def _digest(path: Path) -> str:
    with translated(path, verb="read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
