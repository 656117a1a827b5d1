"""`exporter verify`: reads an archive back and compares it with what is recorded.

What is recorded comes from the ledger and from the manifests of the partitions, either of which
may be missing. It goes into a temporary database, outside the archive and outside the memory; then
every file of the archive is looked up in it, read back and compared. The archive is never written.

A run may change archive and records while they are read, one after the other. So whatever differs
is looked at again, records first and then the files: a run gives a file its name before it records
it. What still differs then, and a run that goes on is known to work on, is told as a warning.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from exporter.audio import WavInspector
from exporter.differences import Check, Status, Warned
from exporter.errors import DestinationAwayError, DestinationError, FetchError
from exporter.layout import METADATA, PARTITION_MANIFEST, RESERVED
from exporter.partition import NewerPartitionError, UnreadablePartitionError
from exporter.partitions import read_manifest
from exporter.pool import run_pool
from exporter.sinks.base import is_temporary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from exporter.findings import Findings
    from exporter.ledger import Ledger, LedgerThread
    from exporter.sinks.base import Entry, Holder, Sink


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read back; files and records are compared in any case.

    Attributes:
        count: so many recordings, drawn at random; None for all.
        percent: of 100, drawn at random; None for all.
        since: only what was archived since.
        quick: what the storage itself keeps a checksum of is not read back.
    """

    count: int | None = None
    percent: float | None = None
    since: datetime | None = None
    quick: bool = False


class Watcher(Protocol):
    """Is told how it goes on; the progress bar."""

    def chosen(self, files: int, size: int) -> None:
        """So much is to be read."""

    def read(self, size: int) -> None:
        """One more file was read."""


class NullWatcher:
    """Is told and says nothing."""

    def chosen(self, files: int, size: int) -> None:
        """Nothing."""

    def read(self, size: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What an archive was compared with, and who was at work in it.

    Attributes:
        with_ledger: with its ledger, and not with the manifests of the partitions alone.
        holder: the run that held it meanwhile; None if there was none.
    """

    with_ledger: bool
    holder: Holder | None


async def verify(
    sink: Sink,
    open_ledger: Callable[[], Ledger | None],
    thread: LedgerThread,
    findings: Findings,
    *,
    scope: Scope,
    concurrency: int,
    watcher: Watcher,
) -> Verified:
    """Read the archive back; what is found is in `findings`.

    Args:
        sink: the archive.
        open_ledger: opens its ledger, to be read as it is then; None where there is none.
        thread: of the ledger and of the findings.
        findings: empty.
        scope: what is read back.
        concurrency: files read at a time.
        watcher: is told how it goes on.

    Raises:
        DestinationError: the archive cannot be read.
    """
    run = _Verification(sink, thread, findings, quick=scope.quick)
    holders = [await sink.holder()]
    with_ledger = await run.take_records(open_ledger)
    await run.look_at_files()
    files, size = await thread.run(findings.choose, scope.count, scope.percent, scope.since)
    watcher.chosen(files, size)
    await run.read_back(1, concurrency, watcher)
    holders.append(await sink.holder())
    if await thread.run(findings.doubt):
        begun = await run.look_again(open_ledger, {one.run_id for one in holders if one})
        await run.read_back(2, concurrency, NullWatcher())
        holders.append(await sink.holder())
        await run.forgive_what_is_under_way(holders, begun)
    await thread.run(findings.conclude, with_ledger=with_ledger)
    return Verified(with_ledger, next(filter(None, reversed(holders)), None))


class _Verification:
    def __init__(
        self, sink: Sink, thread: LedgerThread, findings: Findings, *, quick: bool
    ) -> None:
        self._sink = sink
        self._thread = thread
        self._findings = findings
        self._quick = quick

    async def take_records(self, open_ledger: Callable[[], Ledger | None]) -> bool:
        """What the ledger records; returns whether there is one."""
        ledger = await self._thread.run(open_ledger)
        if ledger is None:
            return False
        try:
            pages = await self._thread.run(ledger.everything)
            while page := await self._thread.run(next, pages, None):
                await self._thread.run(self._findings.expect, page)
            described = await self._thread.run(ledger.every_metadata)
            while documents := await self._thread.run(next, described, None):
                await self._thread.run(self._findings.expect_metadata, documents)
        finally:
            await self._thread.run(ledger.close)
        return True

    async def look_at_files(self) -> None:
        """List the archive: each file is one that is recorded, or something else."""
        async for batch in self._sink.entries():
            files = []
            for entry in batch:
                if entry.path.startswith(f"{RESERVED}/"):
                    continue
                folder, _, name = entry.path.rpartition("/")
                # One at the top is no partition's: many keep their job's manifest there.
                if folder and name == PARTITION_MANIFEST:
                    await self._take_manifest(folder)
                else:
                    files.append(_classified(entry, name))
            await self._thread.run(self._findings.found, files)

    async def _take_manifest(self, folder: str, *, doubted_only: bool = False) -> None:
        findings = self._findings
        try:
            async with read_manifest(self._sink, folder) as (_, open_reader):
                if doubted_only:
                    await self._thread.run(
                        lambda: findings.expect_also(findings.doubted_only(open_reader()))
                    )
                else:
                    await self._thread.run(lambda: findings.expect_also(open_reader()))
                reader = await self._thread.run(open_reader)
                await self._thread.run(
                    partial(
                        findings.expect_metadata_also,
                        reader.account_id,
                        reader.project_id,
                        reader.metadata(),
                        doubted_only=doubted_only,
                    )
                )
        except FileNotFoundError:
            return  # a run that is under way set it aside
        except (UnreadablePartitionError, NewerPartitionError) as error:
            await self._thread.run(
                self._findings.add,
                Status.CORRUPT,
                f"{folder}/{PARTITION_MANIFEST}",
                f"the partition's manifest cannot be read: {error}",
            )

    async def read_back(self, look: int, concurrency: int, watcher: Watcher) -> None:
        async def check(one: Check) -> None:
            status, reason = await self._compare(one)
            if status is not Status.OK:
                await self._thread.run(self._findings.add, status, one.path, reason)
            watcher.read(one.size)

        async with contextlib.aclosing(self._chosen(look)) as chosen:
            await run_pool(chosen, check, concurrency=concurrency)

    async def _chosen(self, look: int) -> AsyncGenerator[Check]:
        after = ""
        while page := await self._thread.run(self._findings.chosen_after, after, look):
            for one in page:
                yield one
            after = page[-1].path

    async def _compare(self, one: Check) -> tuple[Status, str]:
        try:
            kept = await self._sink.checksum(one.path) if self._quick else None
            if kept is None:
                return await self._compare_content(one)
        except FileNotFoundError:
            return Status.MISSING, "it vanished while the archive was read"
        except DestinationAwayError:
            raise
        except DestinationError as error:
            return Status.CORRUPT, error.message
        await self._thread.run(self._findings.compared_by_checksum, one.path)
        if kept != one.sha256:
            return (
                Status.CORRUPT,
                f"the storage says its SHA-256 is {kept}, recorded is {one.sha256}",
            )
        return Status.OK, ""

    async def _compare_content(self, one: Check) -> tuple[Status, str]:
        if one.path.endswith(f"/{METADATA}"):
            return await self._compare_metadata(one)
        digest = hashlib.sha256()
        inspector = WavInspector()
        broken: list[FetchError] = []

        def take(piece: bytes) -> None:
            digest.update(piece)
            if not broken:
                try:
                    inspector.feed(piece)
                except FetchError as error:
                    broken.append(error)

        await self._sink.feed(one.path, take)
        if digest.hexdigest() != one.sha256:
            return Status.CORRUPT, f"its SHA-256 is {digest.hexdigest()}, recorded is {one.sha256}"
        try:
            if broken:
                raise broken[0]
            inspector.finish()
        except FetchError as error:
            return Status.CORRUPT, f"it is no whole WAV file: {error.message}"
        return Status.OK, ""

    async def _compare_metadata(self, one: Check) -> tuple[Status, str]:
        content = bytearray()
        await self._sink.feed(one.path, content.extend)
        found = hashlib.sha256(content).hexdigest()
        if found != one.sha256:
            return Status.CORRUPT, f"its SHA-256 is {found}, recorded is {one.sha256}"
        try:
            msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Status.CORRUPT, f"it is no JSON: {error}"
        return Status.OK, ""

    async def look_again(
        self, open_ledger: Callable[[], Ledger | None], holders: Collection[str]
    ) -> str | None:
        """Learn anew what differs; returns the run of the ledger that has begun and not ended."""
        begun = None
        findings, run = self._findings, self._thread.run
        if (ledger := await run(open_ledger)) is not None:
            try:
                begun = await run(ledger.run_under_way)
                if begun in holders:  # and was not killed
                    pages = await run(ledger.to_be_fetched_again)
                    while paths := await run(next, pages, None):
                        await run(findings.refetched, paths)
                records = await run(ledger.everything)
                while page := await run(next, records, None):
                    await run(findings.expect_doubted, page)
                described = await run(ledger.every_metadata)
                while documents := await run(next, described, None):
                    await run(partial(findings.expect_metadata, documents, doubted_only=True))
            finally:
                await run(ledger.close)
        async for paths in self._doubted():
            for folder in sorted({path.rsplit("/", 2)[0] for path in paths}):
                await self._take_manifest(folder, doubted_only=True)
        async for paths in self._doubted():
            sizes = zip(paths, await self._sink.sizes(paths), strict=True)
            await run(findings.found_again, list(sizes), datetime.now(UTC))
        await run(findings.choose_again)
        return begun

    async def _doubted(self) -> AsyncGenerator[list[str]]:
        after = ""
        while page := await self._thread.run(self._findings.doubted_after, after):
            yield page
            after = page[-1]

    async def forgive_what_is_under_way(
        self, holders: Sequence[Holder | None], begun: str | None
    ) -> None:
        """A run that goes on finishes files before it records them."""
        for holder in {one.run_id: one for one in holders if one}.values():
            if holder.run_id != begun:
                await self._note_set_aside(holder.run_id)
            after = ""
            while page := await self._thread.run(
                self._findings.under_way_after, after, holder.since
            ):
                for path in page:
                    await self._thread.run(self._findings.forgive, path)
                after = page[-1]

    async def _note_set_aside(self, run_id: str) -> None:
        """What a run replaces that keeps a ledger elsewhere: the damaged file bears its name."""
        async for paths in self._doubted():
            sizes = await self._sink.sizes([f"{path}.damaged-{run_id}" for path in paths])
            there = [path for path, size in zip(paths, sizes, strict=True) if size is not None]
            await self._thread.run(self._findings.refetched, there)


def _classified(entry: Entry, name: str) -> tuple[str, int, str, str]:
    kind = "other"
    if is_temporary(name):
        kind = Warned.TEMPORARY
    elif ".damaged-" in name:
        kind = Warned.SET_ASIDE
    return entry.path, entry.size, entry.modified.isoformat(), kind
