"""Small files are committed in groups: one sync for many, and each of them with its own end."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DestinationError
from exporter.sinks.base import AlreadyExistsError
from exporter.sinks.digests import Digests, fastest
from exporter.sinks.filesystem import FileSystem
from exporter.sinks.local import LocalSink
from exporter.sinks.turns import Turns
from exporter.sinks.whole_sync import WholeSync, is_reliable, syncfs

if TYPE_CHECKING:
    from exporter.model import Piece

ENOUGH = 12
MANY = 40


class CountingFileSystem(FileSystem):
    """Counts syncs; can wait in one, refuse it, or not know the one for all."""

    def __init__(self) -> None:
        super().__init__()
        self.knows_whole = True
        self.wholes = 0
        self.singles = 0
        self.folders = 0
        self.refuses = False
        self.arrived = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def syncs_whole(self, descriptor: int) -> bool:  # noqa: ARG002
        return self.knows_whole

    def sync_whole(self, descriptor: int) -> None:
        os.fstat(descriptor)  # it is open
        self.wholes += 1
        self._sync()

    def sync(self, descriptor: int) -> None:
        os.fstat(descriptor)
        self.singles += 1
        self._sync()

    def sync_folder(self, folder: str | Path) -> None:
        super().sync_folder(folder)
        self.folders += 1

    def _sync(self) -> None:
        self.arrived.set()
        self.may_go_on.wait()
        if self.refuses:
            raise OSError(errno.EIO, "Input/output error")


def path(number: int) -> str:
    return f"acme/shop/2026-05-21/CA{number}/user.raw.wav"


def sink_in(
    folder: Path, system: FileSystem, *, blocking: bool = False, digests: Digests | None = None
) -> LocalSink:
    return LocalSink(
        folder,
        run_id="20260521T000000Z-0001",
        dir_mode=0o700,
        file_mode=0o600,
        system=system,
        turns=Turns(digests or fastest()) if blocking else None,
    )


def files_in(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


async def put_while_one_is_synced(
    sink: LocalSink, system: CountingFileSystem, count: int = ENOUGH
) -> list[str | BaseException]:
    """Put one, and so many more while it is synced; what came of all."""
    system.may_go_on.clear()
    first = asyncio.create_task(sink.put(path(0), b"first"))
    await asyncio.to_thread(system.arrived.wait)
    staged = [await sink.stage(path(number), b"more") for number in range(1, count + 1)]
    commits = [asyncio.create_task(each.commit()) for each in staged]
    await asyncio.sleep(0)  # they begin to wait
    system.may_go_on.set()
    ends = await asyncio.gather(first, *commits, return_exceptions=True)
    for each, end in zip(staged, ends[1:], strict=True):
        if end is not None:
            await each.abort()
    return [end or "" for end in ends]


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_gathers_during_a_sync_shares_the_next(tmp_path: Path, blocking: bool) -> None:
    """One file alone is synced by itself; those that came meanwhile have one sync together."""
    system = CountingFileSystem()
    await put_while_one_is_synced(sink_in(tmp_path, system, blocking=blocking), system)
    assert (system.singles, system.wholes) == (1, 1)
    assert files_in(tmp_path) == {path(number) for number in range(ENOUGH + 1)}
    assert (tmp_path / path(0)).read_bytes() == b"first"
    assert (tmp_path / path(ENOUGH)).read_bytes() == b"more"


@pytest.mark.parametrize("blocking", [False, True])
async def test_one_taken_name_concerns_no_other(tmp_path: Path, blocking: bool) -> None:
    """In a group, a file whose name is taken is told so, and the others get their names."""
    taken = tmp_path / path(3)
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody else's")
    system = CountingFileSystem()
    sink = sink_in(tmp_path, system, blocking=blocking)
    ends = await put_while_one_is_synced(sink, system)
    assert [number for number, end in enumerate(ends) if isinstance(end, BaseException)] == [3]
    assert isinstance(ends[3], AlreadyExistsError)
    assert taken.read_bytes() == b"somebody else's"
    assert files_in(tmp_path) == {path(number) for number in range(ENOUGH + 1)}


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_failed_sync_gives_no_name_to_any(tmp_path: Path, blocking: bool) -> None:
    """When the medium reports an error, no file of the group gets its name, and none is left."""
    system = CountingFileSystem()
    system.refuses = True
    ends = await put_while_one_is_synced(sink_in(tmp_path, system, blocking=blocking), system)
    assert len(ends) == ENOUGH + 1
    for end in ends:
        assert isinstance(end, DestinationError)
        assert "Input/output error" in end.message
        assert "disk reports errors" in end.hint
    assert files_in(tmp_path) == set()


async def test_where_one_sync_cannot_be_relied_on_each_has_its_own(tmp_path: Path) -> None:
    """On network and other file systems every file and every folder is synced by itself."""
    system = CountingFileSystem()
    system.knows_whole = False
    sink = sink_in(tmp_path, system)
    await asyncio.gather(*(sink.put(path(number), b"sound") for number in range(ENOUGH)))
    assert (system.singles, system.wholes) == (ENOUGH, 0)
    await sink.make_durable(path(number) for number in range(ENOUGH))
    assert system.wholes == 0
    assert system.folders >= ENOUGH


def test_what_lies_on_another_device_is_synced_by_itself(tmp_path: Path) -> None:
    """A folder of the archive that leads to another file system is not covered by the archive's."""
    whole = WholeSync(str(tmp_path), CountingFileSystem())
    device = tmp_path.stat().st_dev
    assert whole.covers(device)
    assert not whole.covers(device + 1)


async def test_the_names_of_many_files_share_a_sync(tmp_path: Path) -> None:
    """A batch's folders are synced by one sync; a folder that is gone is told all the same."""
    system = CountingFileSystem()
    sink = sink_in(tmp_path, system)
    for number in range(MANY):
        await sink.put(path(number), b"sound")
    await sink.make_durable(path(number) for number in range(MANY))
    assert (system.wholes, system.folders) == (1, 0)
    (tmp_path / path(1)).unlink()
    (tmp_path / path(1)).parent.rmdir()
    with pytest.raises(DestinationError, match="CA1"):
        await sink.make_durable(path(number) for number in range(MANY))


async def test_a_long_file_is_synced_by_itself(tmp_path: Path) -> None:
    """What takes long to sync keeps nobody waiting who does not."""
    system = CountingFileSystem()
    sink = sink_in(tmp_path, system)
    await asyncio.gather(*(sink.put(path(number), bytes(1_000_000)) for number in range(ENOUGH)))
    assert (system.singles, system.wholes) == (ENOUGH, 0)


async def test_the_event_loop_writes_little_at_a_time(tmp_path: Path) -> None:
    """Many bodies come at once: between two files and the next, it sees to other things."""
    system = CountingFileSystem()
    sink = sink_in(tmp_path, system, blocking=True, digests=Digests())
    tasks = [asyncio.create_task(sink.stage(path(number), b"sound")) for number in range(6)]
    written = []
    while len(files_in(tmp_path)) < len(tasks):
        await asyncio.sleep(0)
        written.append(len(files_in(tmp_path)))
    assert written[-3:] == [2, 4, 6]
    assert len(files_in(tmp_path)) == 6
    for task in tasks:
        await (await task).abort()


async def test_who_is_cancelled_while_it_waits_for_the_event_loop_leaves_none(
    tmp_path: Path,
) -> None:
    """Before its file is written, or after: it is removed, and others get theirs."""
    sink = sink_in(tmp_path, CountingFileSystem(), blocking=True, digests=Digests())
    tasks = [asyncio.create_task(sink.stage(path(number), b"sound")) for number in range(6)]
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(files_in(tmp_path)) == 2
    for task in tasks[:4]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [True] * 4 + [False] * 2
    assert len(files_in(tmp_path)) == 2


async def test_who_is_cancelled_while_a_file_is_staged_leaves_none(tmp_path: Path) -> None:
    """The file is written to its end and removed before the cancelling goes on."""

    class SlowFileSystem(CountingFileSystem):
        def write(self, descriptor: int, *parts: Piece) -> None:
            self.arrived.set()
            self.may_go_on.wait()
            super().write(descriptor, *parts)

    system = SlowFileSystem()
    system.may_go_on.clear()
    task = asyncio.create_task(sink_in(tmp_path, system).stage(path(1), b"sound"))
    await asyncio.to_thread(system.arrived.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(system.may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(tmp_path) == set()


@given(seconds=st.lists(st.integers(0, 80).map(lambda n: n / 8), min_size=1, max_size=20))
def test_a_long_sync_is_not_asked_for_again_soon(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[float]
) -> None:
    """After one of over two seconds, files are synced one by one for five minutes."""
    folder = tmp_path_factory.mktemp("archive", numbered=True)
    now = 0.0

    class Timed(CountingFileSystem):
        def sync_whole(self, descriptor: int) -> None:  # noqa: ARG002
            nonlocal now
            now += took

    whole = WholeSync(str(folder), Timed(), clock=lambda: now)
    device = folder.stat().st_dev
    for took in seconds:
        assert whole.covers(device)
        whole.run()
        if took > 2:
            assert not whole.covers(device)
            now += 299
            assert not whole.covers(device)
            now += 2


def test_syncfs_is_relied_on_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on strange file systems, nor on kernels that would not tell of errors."""
    if not Path("/proc/self").exists():
        pytest.skip("only Linux has it")
    shared = Path("/dev/shm")  # noqa: S108 (a file system in memory)
    descriptors = [os.open(each, os.O_RDONLY) for each in (tmp_path, shared, Path("/proc"))]
    try:
        ours, memory, strange = descriptors
        assert is_reliable(memory)
        syncfs(memory)
        syncfs(ours)
        assert not is_reliable(strange)
        uname = os.uname()
        for release, good in {
            "5.7.19": False,
            "5.8.0": True,
            "6.1": True,
            "strange": False,
        }.items():
            old = os.uname_result((*uname[:2], release, *uname[3:]))
            monkeypatch.setattr(os, "uname", lambda old=old: old)
            assert is_reliable(memory) is good
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(-1)
