"""A folder on this machine, or on a file system mounted there.

A file is written under a temporary name in its target folder, synced, and linked to its final
name, which fails where that name is taken. Small files are synced in groups (`staging`), and folder
entries in batches (`make_durable`), before the ledger says "archived".
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiofiles.threadpool import wrap

from exporter.errors import DestinationError
from exporter.sinks.base import (
    HOLDER_PATH,
    ChangedMeanwhileError,
    Entry,
    Holder,
    Known,
)
from exporter.sinks.files import Files
from exporter.sinks.filesystem import (
    FileSystem,
    HashingFile,
    can_be_made,
    printable,
    translated,
)
from exporter.sinks.folder_hold import FolderHold, read_holder
from exporter.sinks.folders import Folders
from exporter.sinks.signs_of_life import SignsOfLife
from exporter.sinks.staging import Staging
from exporter.sinks.threads import ended, in_thread, to_its_end
from exporter.sinks.upload import LocalUpload
from exporter.sinks.walking import stat_all, walk
from exporter.sinks.whole_sync import WholeSync

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Sequence,
    )

    from exporter.model import Piece
    from exporter.sinks.staging import StagedFile
    from exporter.sinks.turns import Turns

_READ_SIZE: Final = 1024 * 1024
_ENTRIES: Final = 1000  # files listed in one thread hop
_STAGED: Final = 128
_TEMPORARY: Final = re.compile(r"\..*?(\d{8}T\d{6}Z-[0-9a-f]{4})\.(?:part|probe)")


class LocalSink:
    """An archive in a folder.

    Attributes:
        root: the archive's folder.
        dir_mode: permissions of new folders.
        file_mode: of new files.
        identity: device and inode of the archive's folder, by which it is known again; None until
            it was prepared, by this process or by another one of the same run.

    Args:
        turns: of an event loop that has nothing else to do; see `Staging`.
    """

    def __init__(
        self,
        root: Path,
        *,
        run_id: str,
        dir_mode: int,
        file_mode: int,
        identity: tuple[int, int] | None = None,
        system: FileSystem | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.root = root
        self._place = str(root)
        self._run_id = run_id
        self.dir_mode = dir_mode
        self.file_mode = file_mode
        self._system = system or FileSystem()
        self.identity = identity
        self._signs = SignsOfLife()  # of who holds the archive, if that is somebody else
        whole = WholeSync(self._place, self._system)
        self._folders = Folders(self._place, mode=dir_mode, system=self._system, whole=whole)
        self._files = Files(
            run_id,
            mode=file_mode,
            system=self._system,
            folders=self._folders,
            check_root=self._check_still_there,
        )
        self._turns = turns
        self._staging = Staging(self._files, self._system, whole, turns)

    @property
    def url(self) -> str:
        """The folder as given."""
        return str(self.root)

    async def prepare(self) -> None:
        """Create the folder where needed and write a file into it."""
        await in_thread(self._prepare)

    def share(self) -> None:
        """Other processes of the same run write here, too: their new folders are synced as well."""
        self._folders.are_shared = True

    async def free_bytes(self) -> int:
        """Of the file system, as far as this user may use them."""
        return await in_thread(self._free_bytes)

    async def hold(self, holder: Holder) -> FolderHold:
        """A lock of the operating system where there is one, and a sign of life for the others."""
        path = self.root / HOLDER_PATH
        await in_thread(self._folders.make, str(path.parent))
        hold = FolderHold(path.parent, holder, mode=self.file_mode, signs=self._signs)
        await in_thread(hold.take)
        return hold

    async def holder(self) -> Holder | None:
        """What the holder's file says."""
        return await in_thread(lambda: read_holder(self.root / HOLDER_PATH, self._signs))

    @property
    def commits_at_once(self) -> int:
        """Enough for groups that are worth their sync."""
        return _STAGED

    def stage(self, path: str, *parts: Piece) -> Coroutine[None, None, StagedFile]:
        """Hashed and written in one step."""
        return self._staging.stage(f"{self._place}/{path}", *parts)

    async def put(self, path: str, data: bytes) -> str:
        """Staged and committed."""
        staged = await self.stage(path, data)
        is_committed = False
        try:
            await staged.commit()
            is_committed = True
        finally:
            if not is_committed:
                await staged.abort()
        return staged.sha256

    async def begin(self, path: str) -> LocalUpload:
        """Open the temporary file."""
        final = self.root / path
        file = await self._created(final, is_long=True)
        return LocalUpload(
            file, final, publish=self._publish, discard=self._discard, turns=self._turns
        )

    async def set_aside(self, path: str) -> str:
        """`x.wav` becomes `x.wav.damaged-<run id>`."""
        aside = f"{path}.damaged-{self._run_id}"
        with translated(self.root / path, missing_is_fine=True):
            await in_thread(self._system.rename, self.root / path, self.root / aside)
        return aside

    async def make_durable(self, paths: Iterable[str]) -> None:
        """Sync each folder that got a new entry, once."""
        names = {path.rpartition("/")[0] for path in paths}
        folders = [f"{self._place}/{name}" if name else self._place for name in names]
        await in_thread(self._folders.sync, folders)

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """One thread hop for all."""
        return await in_thread(self._sizes, paths)

    async def replace(
        self, path: str, pieces: AsyncIterator[bytes], *, known: Known | None = None
    ) -> str:
        """Write beside it, sync, rename over it, sync the folder.

        Between the look at what is there and the rename only the run's hold on the archive keeps
        others away.
        """
        final = self.root / path
        file = await self._created(final)
        temporary = Path(file.name)
        try:
            stream = wrap(file)
            async for piece in pieces:
                with translated(final):
                    await to_its_end(stream.write(piece))
            with translated(final):
                await in_thread(self._system.sync, file.fileno())
                await to_its_end(stream.close())
            if known is not None and await self.tag(path) != known.tag:
                raise ChangedMeanwhileError(path)
            with translated(final):
                await in_thread(self._system.rename, temporary, final)
        finally:
            await in_thread(self._discard, file)
        await in_thread(self._folders.sync, [str(final.parent)])
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

        return await in_thread(tag)

    async def document(self, path: str) -> tuple[str, AsyncIterator[bytes]]:
        """The tag first: a change in between is found when the tag is compared next."""
        tag = await self.tag(path)
        if tag is None:
            raise FileNotFoundError(path)
        return tag, self.read(path)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Pieces of 1 MiB."""
        full = self.root / path
        with translated(full, verb="read", missing_is_fine=True):
            stream = wrap(await in_thread(io.FileIO, full))
        try:
            while True:
                with translated(full, verb="read"):
                    piece = await to_its_end(stream.read(_READ_SIZE))
                if not piece:
                    return
                yield piece
        finally:
            await to_its_end(stream.close())

    async def feed(self, path: str, into: Callable[[bytes], None]) -> None:
        """One thread hop for the whole file."""
        full = self.root / path

        def feed() -> None:
            with translated(full, verb="read", missing_is_fine=True), io.FileIO(full) as file:
                while piece := file.read(_READ_SIZE):
                    into(piece)

        await in_thread(feed)

    async def checksum(self, path: str) -> None:
        """None: file systems keep no SHA-256."""

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

        return await in_thread(folders)

    async def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        """Walks the folder, depth first."""
        walk = stat_all(str(self.root / path), f"{path}/" if path else "")
        while batch := await in_thread(lambda: list(islice(walk, _ENTRIES))):
            yield batch

    async def sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        """Looks at names only: a temporary name says which run it belongs to."""
        return await in_thread(self._sweep, runs, folders)

    def _prepare(self) -> None:
        probe = self.root / f".{self._run_id}.probe"
        self._folders.make(self._place)
        with translated(self.root):
            with can_be_made(probe):
                descriptor = self._system.create(probe, self.file_mode)
            try:
                self._system.write(descriptor, b"probe")
            finally:
                os.close(descriptor)
                # The run that holds the archive may have swept it away meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    self._system.unlink(probe)
            status = self.root.stat()
        self.identity = status.st_dev, status.st_ino

    def _free_bytes(self) -> int:
        self._check_still_there()
        with translated(self.root, verb="read"):
            status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def _check_still_there(self) -> None:
        """A file system that was unmounted leaves an empty folder, or none: not our archive."""
        if self.identity is None:
            return
        with translated(self.root, verb="find"):
            status = self.root.stat()
        if (status.st_dev, status.st_ino) != self.identity:
            raise DestinationError(
                f"{printable(self.root)} is not the folder any more that the run began with",
                hint="Check that the file system is still mounted, then run again.",
            )

    async def _created(self, final: Path, *, is_long: bool = False) -> HashingFile:
        """A temporary file, which is removed again if nobody is there any more to take it."""
        future, cancelled = await ended(self._create, final, is_long=is_long)
        if cancelled is None:
            return future.result()
        if future.exception() is None:
            await in_thread(self._discard, future.result())
        raise cancelled

    def _create(self, final: Path, *, is_long: bool) -> HashingFile:
        descriptor, temporary = self._files.open(str(final))
        if is_long:
            self._system.go_around_cache(descriptor)
        return HashingFile(self._system, temporary, descriptor)

    def _publish(self, file: HashingFile, final: Path) -> None:
        with translated(final):
            self._system.sync(file.fileno())
            file.close()
        self._files.name(str(file.name), str(final))

    def _discard(self, file: HashingFile) -> None:
        with contextlib.suppress(OSError):
            file.close()
        self._files.remove(str(file.name))

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

    def _sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        if folders is None:
            found = walk(self._place, "")
        else:
            places = [
                (f"{self._place}/{folder}", f"{folder}/") if folder else (self._place, "")
                for folder in folders
            ]
            found = (each for one in places for each in walk(*one, deep=False))
        removed = 0
        for path, entry in found:
            if self._is_left_by(entry.name, runs):
                with translated(self.root / path):
                    self._system.unlink(self.root / path)
                removed += 1
        return removed

    def _is_left_by(self, name: str, runs: Collection[str] | None) -> bool:
        match = _TEMPORARY.fullmatch(name)
        if match is None:
            return False
        return match[1] != self._run_id if runs is None else match[1] in runs
