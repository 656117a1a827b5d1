"""A crash between any two steps of the file system: nothing lost, nothing half, nothing invented.

The ledger and the local sink work on real files. Between any two calls that change the file system
the world may end: by `kill -9`, after which everything done so far is there, or by a loss of power,
after which of everything that was not synced any part may be missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.findings import Findings
from exporter.ledger import Ledger, LedgerThread
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    Outcome,
    Recording,
    Redaction,
    Status,
)
from exporter.partitions import Partitions
from exporter.plan import Decision
from exporter.recorder import Recorder
from exporter.sinks.base import AlreadyExistsError
from exporter.sinks.digests import fastest
from exporter.sinks.filesystem import FileSystem
from exporter.sinks.local import LocalSink
from exporter.sinks.turns import Turns
from exporter.verify import NullWatcher, Scope, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.ledger import Planned
    from exporter.model import Piece

NOW = datetime(2026, 5, 21, tzinfo=UTC)
AUDIO = AudioFormat("pcm_u8", 8000, 1, 8, 0.5)
NAMES = [f"CA{number}" for number in range(6)]


class CrashError(BaseException):
    """The process is no more."""


@dataclass
class FragileFileSystem(FileSystem):
    """Counts the steps, ends the world before one of them, and knows what was synced."""

    syncs_all: bool = False
    steps_left: int | None = None
    crashed: bool = False
    unsynced_names: list[tuple[str, Path, Path | None]] = field(default_factory=list)
    unsynced_files: dict[int, list[Path]] = field(default_factory=dict)
    unsynced_closed: list[list[Path]] = field(default_factory=list)
    written: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def _step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            self.crashed = self.crashed or self.steps_left < 0
        if self.crashed:
            raise CrashError

    def create(self, path: Path | str, mode: int) -> int:
        path = Path(path)
        self._step()
        descriptor = super().create(path, mode)
        self.written.discard(descriptor)
        if descriptor in self.unsynced_files:  # closed, and its number is given again
            self.unsynced_closed.append(self.unsynced_files[descriptor])
        self.unsynced_files[descriptor] = [path]
        self.unsynced_names.append(("create", path, None))
        return descriptor

    def write(self, descriptor: int, *parts: Piece) -> None:
        self._step()
        super().write(descriptor, *parts)
        self.written.add(descriptor)

    def sync(self, descriptor: int) -> None:
        self._step()
        super().sync(descriptor)
        self.unsynced_files.pop(descriptor, None)

    def syncs_whole(self, descriptor: int) -> bool:  # noqa: ARG002
        return self.syncs_all

    def sync_whole(self, descriptor: int) -> None:  # noqa: ARG002 (there is one file system)
        self._step()
        for written in self.written & self.unsynced_files.keys():
            del self.unsynced_files[written]
        self.unsynced_closed.clear()
        self.unsynced_names.clear()

    def sync_folder(self, folder: Path | str) -> None:
        folder = Path(folder)
        self._step()
        super().sync_folder(folder)
        self.unsynced_names = [one for one in self.unsynced_names if one[1].parent != folder]

    def make_folder(self, folder: Path | str, mode: int) -> None:
        folder = Path(folder)
        self._step()
        super().make_folder(folder, mode)
        self.unsynced_names.append(("folder", folder, None))

    def link(self, source: Path | str, target: Path | str) -> None:
        source, target = Path(source), Path(target)
        self._step()
        super().link(source, target)
        self._also_named(source, target)
        self.unsynced_names.append(("create", target, None))

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        before = Path(tempfile.mkdtemp(dir=GRAVEYARD.name)) / "before"
        if target.exists():
            before.write_bytes(target.read_bytes())
        super().rename(source, target)
        self._also_named(source, target)
        self.unsynced_names.append(("rename", target, before))

    def unlink(self, path: Path | str) -> None:
        self._step()
        super().unlink(path)

    def _also_named(self, source: Path, target: Path) -> None:
        for names in [*self.unsynced_files.values(), *self.unsynced_closed]:
            if source in names:
                names.append(target)

    def lose_power(self, luck: random.Random) -> None:
        """Undo an arbitrary part of what was not synced."""
        unsynced = [*self.unsynced_files.values(), *self.unsynced_closed]
        for path in (name for names in unsynced for name in names):
            if path.exists():
                path.write_bytes(path.read_bytes()[: luck.randrange(path.stat().st_size + 1)])
        for what, path, before in reversed(self.unsynced_names):
            if luck.random() < 0.5:
                continue
            if what == "folder":
                shutil.rmtree(path, ignore_errors=True)
            elif what == "create":
                path.unlink(missing_ok=True)
            elif what == "rename" and before:
                if before.exists():
                    path.write_bytes(before.read_bytes())
                else:
                    path.unlink(missing_ok=True)


GRAVEYARD = tempfile.TemporaryDirectory()


def body(name: str) -> bytes:
    """A whole WAV file, another one for each name."""
    sound = hashlib.sha256(name.encode()).digest() * 125
    header = b"RIFF" + (36 + len(sound)).to_bytes(4, "little") + b"WAVEfmt " + bytes([16, 0, 0, 0])
    rate = (8000).to_bytes(4, "little")
    return (
        header + b"\1\0\1\0" + rate + rate + b"\1\0\x08\0data" + len(sound).to_bytes(4, "little")
    ) + sound


def recording(name: str) -> Recording:
    return Recording("acme", "shop", name, Direction.USER, Redaction.RAW, NOW)


class Run:
    """What the pipeline does with ledger and sink, without the network."""

    def __init__(self, root: Path, number: int, *, syncs_all: bool, blocking: bool) -> None:
        self.id = f"20260521T000000Z-{number:04x}"
        self.system = FragileFileSystem(syncs_all=syncs_all)
        self.root = root
        self.sink = LocalSink(
            root,
            run_id=self.id,
            dir_mode=0o700,
            file_mode=0o600,
            system=self.system,
            turns=Turns(fastest()) if blocking else None,
        )
        self.done: set[str] = set()

    async def export(self, names: list[str], steps: int | None, *, in_pieces: bool) -> None:
        await self.sink.prepare()
        (self.root / "_exporter").mkdir(exist_ok=True)
        async with LedgerThread() as thread:
            ledger = await thread.run(Ledger, self.root / "_exporter" / "ledger.sqlite")
            try:
                self.system.steps_left = steps
                left = await thread.run(ledger.left_run)
                if left:
                    await thread.run(ledger.end_run, "interrupted", 137, NOW, "{}")
                await self.sink.sweep(None, None)
                await self._export(ledger, thread, names, in_pieces=in_pieces)
            finally:
                await thread.run(ledger.close)

    async def _export(
        self, ledger: Ledger, thread: LedgerThread, names: list[str], *, in_pieces: bool
    ) -> None:
        partitions = Partitions(self.sink, ledger, thread)
        await partitions.learn(["acme/shop/2026-05-21"])
        await thread.run(ledger.begin_run, self.id, NOW, "{}")
        looked = await thread.run(ledger.look_up, [recording(name) for name in names])
        sizes = await self.sink.sizes([one.archived.path for one in looked if one.archived])
        assert None not in sizes, "the ledger knows a file that is not there"
        skipped = Outcome(Status.SKIPPED)
        await thread.run(
            ledger.plan,
            [(one, Decision.NEW, skipped if one.archived else None) for one in looked],
        )

        def ended(outcome: Outcome) -> None:
            if outcome.archived:
                self.done.add(outcome.archived.path)

        async def committed(_: Sequence[int]) -> None:
            """Nothing to check here."""

        recorder = Recorder(self.sink, ledger, thread, ended, committed)
        recording_task = asyncio.create_task(recorder.run())
        try:
            async with asyncio.TaskGroup() as workers:
                for planned in await thread.run(ledger.planned, 0, 100):
                    workers.create_task(self._work(planned, recorder, in_pieces=in_pieces))
        finally:
            recorder.close()
            await recording_task
        await partitions.write()
        await thread.run(ledger.end_run, "complete", 0, NOW, "{}")

    async def _work(self, planned: Planned, recorder: Recorder, *, in_pieces: bool) -> None:
        held = await self._write(planned.recording.conversation_id, in_pieces=in_pieces)
        await recorder.put(planned.seq, Outcome(Status.EXPORTED, held, attempts=1))

    async def _write(self, name: str, *, in_pieces: bool) -> Archived:
        path = f"acme/shop/2026-05-21/{name}/user.raw.wav"
        data = body(name)
        digest = hashlib.sha256(data).hexdigest()
        try:
            if in_pieces:
                upload = await self.sink.begin(path)
                try:
                    await upload.write(data[:100])
                    await upload.write(data[100:])
                    await upload.commit()
                finally:
                    await upload.abort()
            else:
                await self.sink.put(path, data)
        except AlreadyExistsError as error:
            assert error.sha256 == digest, "a final name has other content"  # noqa: PT017
        return Archived(path, len(data), digest, AUDIO, NOW, None)


class Crashes(RuleBasedStateMachine):
    """Runs that crash at any step, in any order, and what must hold after each."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "archive"
        self.runs = 0
        self.promised: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.run(list(NAMES), None, {})
            tally = asyncio.run(self.verified())
            assert (tally.ok, tally.differences) == (len(NAMES), 0), tally
            self.folder.cleanup()

    def run(self, names: list[str], steps: int | None, how: dict[str, bool]) -> Run:
        self.runs += 1
        run = Run(
            self.root,
            self.runs,
            syncs_all=how.get("syncs_all", False),
            blocking=how.get("blocking", False),
        )
        try:
            asyncio.run(run.export(names, steps, in_pieces=how.get("in_pieces", False)))
        except CrashError:
            assert steps is not None
        except BaseExceptionGroup as group:
            assert group.subgroup(CrashError)  # noqa: PT017
        self.promised |= run.done
        return run

    names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)

    how = st.fixed_dictionaries(
        {name: st.booleans() for name in ("in_pieces", "syncs_all", "blocking")}
    )

    @rule(names=names, steps=st.integers(0, 120), how=how)
    def killed(self, names: list[str], steps: int, how: dict[str, bool]) -> None:
        self.run(names, steps, how)

    # How often luck is asked depends on the threads, and hypothesis wants to be asked alike.
    luck = st.randoms(use_true_random=True)

    @rule(names=names, steps=st.integers(0, 120), how=how, luck=luck)
    def power_lost(
        self, names: list[str], steps: int, how: dict[str, bool], luck: random.Random
    ) -> None:
        run = self.run(names, steps, how)
        run.system.lose_power(luck)

    @rule(names=names, how=how)
    def finished(self, names: list[str], how: dict[str, bool]) -> None:
        self.run(names, None, how)

    @rule()
    def ledger_lost(self) -> None:
        for path in self.root.glob("_exporter/ledger.sqlite*"):
            path.unlink()

    @invariant()
    def final_names_are_whole(self) -> None:
        if not hasattr(self, "root"):
            return
        for path in self.root.glob("acme/*/*/*/*.wav"):
            assert path.read_bytes() == body(path.parent.name), "a partial file has a final name"

    @invariant()
    def what_was_promised_is_there(self) -> None:
        for path in getattr(self, "promised", ()):
            assert (self.root / path).exists(), "a file vanished after it was said to be archived"

    async def verified(self) -> Any:
        sink = LocalSink(self.root, run_id="reader", dir_mode=0o700, file_mode=0o600)
        findings = Findings()
        async with LedgerThread() as thread:
            await verify(
                sink,
                lambda: Ledger(self.root / "_exporter" / "ledger.sqlite", read_only=True),
                thread,
                findings,
                scope=Scope(),
                concurrency=2,
                watcher=NullWatcher(),
            )
        tally = findings.tally()
        findings.close()
        return tally


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("syncs_all", [False, True])
@pytest.mark.timeout(300)
def test_a_group_is_whole_at_every_step(tmp_path: Path, syncs_all: bool, blocking: bool) -> None:
    """Wherever the power goes while files are committed together: a final name means all of it."""
    root, steps = tmp_path, 0
    for steps in itertools.count():
        root = tmp_path / str(steps)
        run = Run(root, steps, syncs_all=syncs_all, blocking=blocking)
        try:
            asyncio.run(commit_together(run, steps))
        except (CrashError, BaseExceptionGroup):
            run.system.lose_power(random.Random(steps))
        else:
            break
        for path in root.glob("acme/*/*/*/*.wav"):
            assert path.read_bytes() == body(path.parent.name)
    assert steps > len(NAMES)
    assert len(list(root.glob("acme/*/*/*/*.wav"))) == len(NAMES)


async def commit_together(run: Run, steps: int) -> None:
    """All are staged before the world may end, and asked to be committed at once."""
    await run.sink.prepare()
    staged = [
        await run.sink.stage(f"acme/shop/2026-05-21/{name}/user.raw.wav", body(name))
        for name in NAMES
    ]
    run.system.unsynced_names.clear()  # or the loss of folders would hide that of files
    run.system.steps_left = steps
    async with asyncio.TaskGroup() as commits:
        for each in staged:
            commits.create_task(each.commit())


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(
    max_examples=15,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCrashes = pytest.mark.timeout(300)(TestCrashes)
