"""Verifying an archive in which a run is at work: nothing it is just doing is a difference."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.findings import Findings
from exporter.hold import this_process
from exporter.ledger import Ledger, LedgerThread
from exporter.model import Archived, AudioFormat, Direction, Outcome, Recording, Redaction, Status
from exporter.partitions import Partitions
from exporter.plan import Decision
from exporter.sinks.local import LocalSink
from exporter.verify import NullWatcher, Scope, Verified, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from exporter.sinks.base import Entry

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
RUN = "20260521T000000Z-0001"
FOLDER = "acme/shop/2026-05-21"
PATH = f"{FOLDER}/CA1/user.raw.wav"
AUDIO = AudioFormat("pcm_u8", 8000, 1, 8, 0.5)
SOUND = bytes(range(250)) * 16
WAV = (
    b"RIFF" + (36 + len(SOUND)).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\1\0\1\0"
    b"\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data" + len(SOUND).to_bytes(4, "little") + SOUND
)


class BusySink(LocalSink):
    """Somebody works in the archive right before and right after its files are listed."""

    before: Callable[[], Awaitable[object]] | None = None
    after: Callable[[], Awaitable[object]] | None = None

    async def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        if self.before:
            await self.before()
        async for batch in super().entries(path):
            yield batch
        if self.after:
            await self.after()


class Archive:
    """An archive, and a run in it."""

    def __init__(self, root: Path, thread: LedgerThread) -> None:
        self.sink = BusySink(root, run_id=RUN, dir_mode=0o700, file_mode=0o600)
        self.thread = thread
        self.path = root / "_exporter" / "ledger.sqlite"
        self.path.parent.mkdir()
        self.ledger = Ledger(self.path)
        self.begin(RUN)

    def begin(self, run: str, decision: str = Decision.NEW) -> None:
        self.ledger.begin_run(run, NOW)
        recording = Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW, NOW)
        self.ledger.plan([(self.ledger.look_up([recording])[0], decision, None)])

    async def commit(self) -> None:
        await self.sink.put(PATH, WAV)

    async def record(self) -> None:
        (planned,) = await self.thread.run(self.ledger.planned, 0, 1)
        digest = hashlib.sha256(WAV).hexdigest()
        held = Archived(PATH, len(WAV), digest, AUDIO, NOW, None)
        outcome = Outcome(Status.EXPORTED, held, attempts=1)
        await self.thread.run(self.ledger.record, [(planned.seq, outcome)], NOW)

    async def verified(self) -> tuple[Verified, list[tuple[str, str]], list[str], int]:
        """With which holder, the differences, the kinds of warnings, and how many are sound."""
        findings = Findings()
        found = await verify(
            self.sink,
            lambda: Ledger(self.path, read_only=True),
            self.thread,
            findings,
            scope=Scope(),
            concurrency=2,
            watcher=NullWatcher(),
        )
        differences = [(path, status) for path, status, _ in findings.differences()]
        kinds = [kind for _, kind, _ in findings.warnings()]
        sound = findings.tally().ok
        findings.close()
        return found, differences, kinds, sound


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with LedgerThread() as thread:
        opened = Archive(tmp_path, thread)
        yield opened
        await thread.run(opened.ledger.close)


async def test_what_is_recorded_while_files_are_listed_is_sound(archive: Archive) -> None:
    """Committed after the records were read, recorded after the listing: looked at again, ok."""
    archive.sink.before, archive.sink.after = archive.commit, archive.record
    _, differences, warnings, sound = await archive.verified()
    assert (differences, sound) == ([], 1)
    assert warnings == ["stale_manifest"]


async def test_what_a_manifest_tells_before_its_file_was_listed_is_sound(archive: Archive) -> None:
    """A partition's folder was listed, then a file came and the manifest told it: it is there."""
    away = archive.sink.root / "_exporter" / "away"

    async def come() -> None:
        away.rename(archive.sink.root / PATH)

    await archive.commit()
    await archive.record()
    await Partitions(archive.sink, archive.ledger, archive.thread).write()
    (archive.sink.root / PATH).rename(away)
    archive.sink.after = come
    _, differences, _, sound = await archive.verified()
    assert (differences, sound) == ([], 1)


async def test_what_a_run_has_yet_to_record_is_under_way(archive: Archive) -> None:
    """Beside a living run a file that nobody recorded is a warning; without one a difference."""
    await archive.commit()
    holder = this_process(RUN)
    hold = await archive.sink.hold(holder)
    os.utime(archive.sink.root / PATH)
    found, differences, warnings, _ = await archive.verified()
    assert (found.holder, differences, warnings) == (holder, [], ["under_way"])
    await hold.release()
    found, differences, warnings, _ = await archive.verified()
    assert (found.holder, differences, warnings) == (None, [(PATH, "unrecorded")], [])


@pytest.mark.parametrize("with_ledger", [True, False])
async def test_what_a_run_set_aside_and_fetches_again_is_under_way(
    archive: Archive, *, with_ledger: bool
) -> None:
    """Told by its ledger, or, where it keeps one elsewhere, by the name of the damaged file."""
    await archive.commit()
    await archive.record()
    run = "20260521T000000Z-0002"
    archive.begin(run, Decision.CHANGED)
    if not with_ledger:
        archive.ledger.end_run("complete", 0, NOW)
    aside = archive.sink.root / f"{PATH}.damaged-{run}"
    (archive.sink.root / PATH).rename(aside)
    hold = await archive.sink.hold(this_process(run))
    _, differences, warnings, _ = await archive.verified()
    assert (differences, sorted(warnings)) == ([], ["set_aside", "under_way"])
    await hold.release()
    _, differences, warnings, _ = await archive.verified()
    assert (differences, warnings) == ([(PATH, "missing")], ["set_aside"])


async def test_what_a_killed_run_was_fetching_is_not_forgiven_for_another(
    archive: Archive,
) -> None:
    """The plan of a dead run excuses nothing, though another run holds the archive."""
    await archive.commit()
    await archive.record()
    archive.begin("20260521T000000Z-dead", Decision.VANISHED)
    (archive.sink.root / PATH).unlink()
    hold = await archive.sink.hold(this_process("20260521T000000Z-0003"))
    found, differences, _, _ = await archive.verified()
    assert found.holder
    assert differences == [(PATH, "missing")]
    await hold.release()
