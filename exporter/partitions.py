"""The partitions' manifests: the ledger learns from them, and tells them what it knows.

So the archive explains itself without the ledger, a lost ledger is made anew, and two machines can
take turns with one archive.
"""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING

import structlog

from exporter.errors import DestinationError
from exporter.ledger import Ledger, LedgerThread, Partition
from exporter.model import split_mount
from exporter.partition import (
    NewerPartitionError,
    PartitionReader,
    UnreadablePartitionError,
    manifest_path,
    render,
)
from exporter.sinks.base import ChangedMeanwhileError, Known
from exporter.sinks.mounted import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from exporter.model import Archived, KeptMetadata, Recording
    from exporter.sinks.base import Sink

_IN_MEMORY = 4 * 1024 * 1024
_TRIES = 10  # for a manifest that others write at the same time

_log = structlog.get_logger()


class Partitions:
    """The manifests of an archive's partitions, each looked at once.

    Args:
        sink: the archive.
        ledger: learns, and is asked what to write.
        thread: of the ledgers.
        archive: another ledger, whose knowledge need not be learnt again; for previews.
    """

    def __init__(
        self, sink: Sink, ledger: Ledger, thread: LedgerThread, *, archive: Ledger | None = None
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._thread = thread
        self._archive = archive or ledger
        self._looked_at: set[str] = set()

    async def learn(self, folders: Iterable[str]) -> None:
        """Make sure that the ledger knows what these partitions hold.

        Raises:
            DestinationError: a manifest was written by a newer version, or cannot be read.
        """
        # What raw recordings show together with redacted ones is told by the latter's manifests,
        # and understood once the raw ones are known: so their archives come first.
        new = sorted(
            set(folders) - self._looked_at, key=lambda each: (not split_mount(each)[0], each)
        )
        if not new:
            return
        known = await self._thread.run(self._archive.partition_tags, new)
        for folder in new:
            if folder not in known:
                await self._learn(folder)
            elif (tag := await self._sink.tag(manifest_path(folder))) is None:
                # The manifest is gone: it is to be written anew.
                await self._thread.run(self._ledger.partition_lost_manifest, folder)
            elif tag != known[folder]:
                await self._learn(folder)
            self._looked_at.add(folder)

    async def learn_project(self, folder: str) -> None:
        """The same for every partition of a project, where a recording's date is not known."""
        if folder not in self._looked_at:
            await self.learn(await self._sink.folders(folder))
            self._looked_at.add(folder)

    async def write(self) -> int:
        """Bring the manifests up to date; returns how many were written.

        Raises:
            DestinationError: the archive cannot be written.
        """
        changed = await self._thread.run(self._ledger.changed_partitions)
        for partition in changed:
            for _ in range(_TRIES):
                with contextlib.suppress(ChangedMeanwhileError):
                    await self._write(partition)
                    break
            else:
                raise DestinationError(
                    f"{manifest_path(partition.folder)} was changed again and again by somebody"
                    " else while it was to be written",
                    hint="Let one run at a time write to this archive.",
                )
        return len(changed)

    async def _write(self, partition: Partition) -> None:
        """Take over what somebody else wrote meanwhile, then write both."""
        path = manifest_path(partition.folder)
        tag = await self._sink.tag(path)
        known = await self._thread.run(self._ledger.partition_tags, [partition.folder])
        # Another machine may have written it meanwhile, or it is damaged.
        if (
            tag is not None
            and tag != known[partition.folder]
            and not await self._merge(partition.folder)
        ):
            tag = None
        changes = await self._thread.run(self._ledger.partition_changes, partition.folder)
        written = await self._sink.replace(path, self._render(partition), known=Known(tag))
        await self._thread.run(self._ledger.partition_written, partition.folder, changes, written)

    async def _learn(self, folder: str) -> None:
        """Learn what its manifest tells, if there is one."""
        try:
            await self._read(folder)
        except FileNotFoundError:
            await self._thread.run(self._ledger.partition_lost_manifest, folder)
        except UnreadablePartitionError as error:
            # What the ledger knows is written in its place; the damaged one is set aside then.
            await self._thread.run(self._ledger.partition_lost_manifest, folder)
            _log.error(
                "partition.unreadable",
                path=shown(self._sink, manifest_path(folder)),
                reason=str(error),
                consequence="what it tells is not known; recordings that the ledger does not know"
                " either are fetched again and compared with the files that are there",
            )

    async def _merge(self, folder: str) -> bool:
        """Take over what the manifest tells; False if there is none any more."""
        try:
            await self._read(folder)
        except FileNotFoundError:  # since it was looked at: nothing to keep
            return False
        except UnreadablePartitionError as error:
            with contextlib.suppress(FileNotFoundError):
                aside = await self._sink.set_aside(manifest_path(folder))
                _log.error("partition.set_aside", path=shown(self._sink, aside), reason=str(error))
            return False
        return True

    async def _read(self, folder: str) -> None:
        async with read_manifest(self._sink, folder) as (tag, open_reader):

            def learn() -> list[tuple[Recording, Archived]]:
                reader = open_reader()
                partition = Partition(reader.account_id, reader.project_id, reader.date, folder)
                self._ledger.learn_metadata(partition, reader.metadata())
                return self._ledger.learn(partition, tag, open_reader())

            try:
                contradictions = await self._thread.run(learn)
            except NewerPartitionError as error:
                raise DestinationError(
                    f"{shown(self._sink, manifest_path(folder))} was written by a newer exporter"
                    f" ({error})",
                    hint="Upgrade exporter, or use another archive.",
                ) from None
        for recording, archived in contradictions:
            _log.error(
                "partition.contradicts_ledger",
                recording=str(recording),
                path=shown(self._sink, archived.path),
                sha256_in_manifest=archived.sha256,
                consequence="the ledger is believed",
            )

    async def _render(self, partition: Partition) -> AsyncIterator[bytes]:
        pages = await self._thread.run(self._ledger.partition_rows, partition.folder)

        async def paged() -> AsyncIterator[list[tuple[Recording, Archived]]]:
            while page := await self._thread.run(next, pages, None):
                yield page

        documents = await self._thread.run(self._ledger.partition_metadata, partition.folder)

        async def described() -> AsyncIterator[list[tuple[str, KeptMetadata]]]:
            while page := await self._thread.run(next, documents, None):
                yield page

        async for piece in render(
            partition.account_id, partition.project_id, partition.date, paged(), described()
        ):
            yield piece


@contextlib.asynccontextmanager
async def read_manifest(
    sink: Sink, folder: str
) -> AsyncIterator[tuple[str, Callable[[], PartitionReader]]]:
    """A partition's manifest, read once and kept outside the memory if it is large.

    Yields:
        Its tag, and a way to read it from its beginning: to be called in any thread; it may raise
        `UnreadablePartitionError` and `NewerPartitionError`, then and while it is iterated.

    Raises:
        FileNotFoundError: there is none.
        DestinationError: the archive cannot be read.
    """
    tag, pieces = await sink.document(manifest_path(folder))
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as document:
        async for piece in pieces:
            document.write(piece)

        def open_reader() -> PartitionReader:
            document.seek(0)
            return PartitionReader(document, folder)

        yield tag, open_reader
