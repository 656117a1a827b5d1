"""`exporter verify`: reads an archive back and compares it with what is recorded.

What is recorded comes from the ledger and from the manifests of the partitions, either of which
may be missing. It goes into a temporary database, outside the archive and outside the memory; then
every file of the archive is looked up in it, read back and compared. The archive is never written.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from exporter.audio import WavInspector
from exporter.errors import DestinationError, FetchError
from exporter.findings import Check, Findings, Status, Warned
from exporter.layout import METADATA, PARTITION_MANIFEST, RESERVED
from exporter.partition import NewerPartitionError, UnreadablePartitionError
from exporter.partitions import read_manifest
from exporter.pool import run_pool
from exporter.sinks.base import is_temporary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from exporter.ledger import Ledger, LedgerThread
    from exporter.sinks.base import Entry, Holder, Sink


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read back; files and records are compared in any case.

    Attributes:
        count: so many recordings, drawn at random; None for all.
        percent: of 100, drawn at random; None for all.
        since: only what was archived since.
    """

    count: int | None = None
    percent: float | None = None
    since: datetime | None = None


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


async def verify(
    sink: Sink,
    ledger: Ledger | None,
    thread: LedgerThread,
    findings: Findings,
    *,
    scope: Scope,
    concurrency: int,
    watcher: Watcher,
) -> None:
    """Read the archive back; what is found is in `findings`.

    Args:
        sink: the archive.
        ledger: its ledger, None where there is none.
        thread: of the ledger and of the findings.
        findings: empty.
        scope: what is read back.
        concurrency: files read at a time.
        watcher: is told how it goes on.

    Raises:
        DestinationError: the archive cannot be read.
    """
    run = _Verification(sink, thread, findings)
    holder = await sink.holder()
    if ledger is not None:
        await run.take_records(ledger)
    await run.look_at_files()
    files, size = await thread.run(findings.choose, scope.count, scope.percent, scope.since)
    watcher.chosen(files, size)
    await run.read_back(concurrency, watcher)
    await thread.run(findings.conclude, with_ledger=ledger is not None)
    holder = holder or await sink.holder()
    if holder is not None:
        await run.forgive_what_is_under_way(holder)


class _Verification:
    def __init__(self, sink: Sink, thread: LedgerThread, findings: Findings) -> None:
        self._sink = sink
        self._thread = thread
        self._findings = findings

    async def take_records(self, ledger: Ledger) -> None:
        pages = await self._thread.run(ledger.everything)
        while page := await self._thread.run(next, pages, None):
            await self._thread.run(self._findings.expect, page)
        described = await self._thread.run(ledger.every_metadata)
        while documents := await self._thread.run(next, described, None):
            await self._thread.run(self._findings.expect_metadata, documents)

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

    async def _take_manifest(self, folder: str) -> None:
        try:
            async with read_manifest(self._sink, folder) as open_reader:
                await self._thread.run(lambda: self._findings.expect_also(open_reader()))
                reader = await self._thread.run(open_reader)
                await self._thread.run(
                    self._findings.expect_metadata_also,
                    reader.account_id,
                    reader.project_id,
                    reader.metadata(),
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

    async def read_back(self, concurrency: int, watcher: Watcher) -> None:
        async def check(one: Check) -> None:
            status, reason = await self._compare(one)
            if status is not Status.OK:
                await self._thread.run(self._findings.add, status, one.path, reason)
            watcher.read(one.size)

        async with contextlib.aclosing(self._chosen()) as chosen:
            await run_pool(chosen, check, concurrency=concurrency)

    async def _chosen(self) -> AsyncGenerator[Check]:
        after = ""
        while page := await self._thread.run(self._findings.chosen_after, after):
            for one in page:
                yield one
            after = page[-1].path

    async def _compare(self, one: Check) -> tuple[Status, str]:
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

        try:
            await self._sink.feed(one.path, take)
        except FileNotFoundError:
            return Status.MISSING, "it vanished while the archive was read"
        except DestinationError as error:
            return Status.CORRUPT, error.message
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
        try:
            await self._sink.feed(one.path, content.extend)
        except FileNotFoundError:
            return Status.MISSING, "it vanished while the archive was read"
        except DestinationError as error:
            return Status.CORRUPT, error.message
        found = hashlib.sha256(content).hexdigest()
        if found != one.sha256:
            return Status.CORRUPT, f"its SHA-256 is {found}, recorded is {one.sha256}"
        try:
            msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Status.CORRUPT, f"it is no JSON: {error}"
        return Status.OK, ""

    async def forgive_what_is_under_way(self, holder: Holder) -> None:
        """A run that goes on finishes files before it records them."""
        after = ""
        while page := await self._thread.run(self._findings.unrecorded_after, after, holder.since):
            for path in page:
                await self._thread.run(self._findings.forgive, path)
            after = page[-1]


def _classified(entry: Entry, name: str) -> tuple[str, int, str, str]:
    kind = "other"
    if is_temporary(name):
        kind = Warned.TEMPORARY
    elif ".damaged-" in name:
        kind = Warned.SET_ASIDE
    return entry.path, entry.size, entry.modified.isoformat(), kind
