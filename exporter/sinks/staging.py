"""Small files on their way into a local archive: staged one by one, committed in groups.

A staged file is written under a temporary name. To commit it is to sync it and then to name it. As
databases do with their transactions, whatever was staged while the last group was committed, and
for a moment after that, is the next group: one sync serves all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.sinks.digests import few, hashed, is_small
from exporter.sinks.filesystem import as_ours
from exporter.sinks.threads import Enduring, ended, in_thread, published, publishing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.model import Piece
    from exporter.sinks.digests import Digest, Parts
    from exporter.sinks.files import Files
    from exporter.sinks.filesystem import FileSystem
    from exporter.sinks.turns import Turns
    from exporter.sinks.whole_sync import WholeSync

_CLOSED: Final = -1
_PAUSE: Final = 0.02  # seconds; where a sync takes no time, groups would be of one file each
_ENOUGH: Final = 32  # files that are worth a sync


class StagedFile:
    """A file that is written and has no name yet.

    Attributes:
        final: the path that it is to get.
        temporary: where it is.
        descriptor: of the open file.
        sha256: hexadecimal digest.
        is_covered: one sync for the whole file system will do, and is worth while.
    """

    __slots__ = ("_staging", "descriptor", "final", "is_covered", "sha256", "temporary")

    def __init__(
        self,
        staging: Staging,
        final: str,
        temporary: str,
        descriptor: int,
        sha256: str,
        *,
        is_covered: bool,
    ) -> None:
        self._staging = staging
        self.final = final
        self.temporary = temporary
        self.descriptor = descriptor
        self.sha256 = sha256
        self.is_covered = is_covered

    async def commit(self) -> None:
        """Sync and name it, with others."""
        await self._staging.commit(self)

    async def abort(self) -> None:
        """Close and remove it."""
        await in_thread(self._staging.discard, self)


class Staging:
    """Stages and commits; of one event loop.

    Args:
        files: opens and names them.
        system: writes and syncs them.
        whole: syncs many.
        turns: the event loop has nothing else to do, so it writes and names small files itself, in
            these. Threads would take the interpreter from it at every system call, which costs more
            than the calls do. None: in threads.
    """

    def __init__(
        self, files: Files, system: FileSystem, whole: WholeSync, turns: Turns | None
    ) -> None:
        self._files = files
        self._system = system
        self._whole = whole
        self._turns = turns
        self._waiting: list[tuple[StagedFile, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None

    async def stage(self, final: str, *parts: Piece) -> StagedFile:
        """Hash and write in one step.

        Raises:
            DestinationError: the archive cannot be written.
        """
        turns = self._turns
        if turns is not None and is_small(parts):
            future, cancelled = await turns.ended(parts, partial(self._stage, final, parts))
        elif turns is not None and turns.side_by_side:
            digest = await turns.hashed(parts)
            future, cancelled = await ended(self._stage, final, parts, digest)
        else:
            joined = few(parts)
            del parts  # which may be in memory twice by now
            future, cancelled = await ended(self._hash_and_stage, final, joined)
        if cancelled is None:
            return future.result()
        if future.exception() is None:
            await in_thread(self.discard, future.result())
        raise cancelled

    async def commit(self, staged: StagedFile) -> None:
        """See `Staged`."""
        if not staged.is_covered:
            await publishing(self._commit_alone, staged)
            return
        future: Enduring[None] = Enduring()
        self._waiting.append((staged, future))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_groups())
        await published(future)

    def discard(self, staged: StagedFile) -> None:
        """Close and remove what got no name; in any thread."""
        with contextlib.suppress(OSError):
            self._close(staged)
        self._files.remove(staged.temporary)

    async def _commit_groups(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            ends = await self._commit_group([staged for staged, _ in group])
            for (_, future), end in zip(group, ends, strict=True):
                if end is None:
                    future.set_result(None)
                else:
                    future.set_exception(end)
            if len(self._waiting) < _ENOUGH:
                await asyncio.sleep(_PAUSE)

    async def _commit_group(self, group: Sequence[StagedFile]) -> list[BaseException | None]:
        """What came of each."""

        def sync_and_name() -> list[BaseException | None]:
            self._sync(group)
            return self._name(group)

        try:
            if self._turns is None:
                return await in_thread(sync_and_name)
            await in_thread(self._sync, group)
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            return [error] * len(group)
        return self._name(group)

    def _commit_alone(self, staged: StagedFile) -> None:
        self._sync([staged])
        (end,) = self._name([staged])
        if end is not None:
            raise end

    def _sync(self, group: Sequence[StagedFile]) -> None:
        try:
            if len(group) == 1:
                self._system.sync(group[0].descriptor)
            else:
                self._whole.run()
        except OSError as error:
            raise as_ours(error, group[0].final) from None

    def _name(self, group: Sequence[StagedFile]) -> list[BaseException | None]:
        return [self._end_of(staged) for staged in group]

    def _end_of(self, staged: StagedFile) -> BaseException | None:
        try:
            self._close(staged)
            self._files.name(staged.temporary, staged.final)
        except OSError as error:
            return as_ours(error, staged.final)
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            return error
        return None

    def _hash_and_stage(self, final: str, parts: Parts) -> StagedFile:
        return self._stage(final, parts, hashed(parts))

    def _stage(self, final: str, parts: Parts, digest: Digest) -> StagedFile:
        descriptor, temporary = self._files.open(final)
        try:
            small = is_small(parts)
            if not small:
                self._system.go_around_cache(descriptor)
            self._system.write(descriptor, *parts)
            is_covered = small and self._whole.covers(os.fstat(descriptor).st_dev)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            self._files.remove(temporary)
            if isinstance(error, OSError):
                raise as_ours(error, final) from None
            raise
        return StagedFile(
            self, final, temporary, descriptor, digest.hexdigest(), is_covered=is_covered
        )

    @staticmethod
    def _close(staged: StagedFile) -> None:
        if staged.descriptor != _CLOSED:
            descriptor, staged.descriptor = staged.descriptor, _CLOSED
            os.close(descriptor)
