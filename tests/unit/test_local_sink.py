"""A folder's threads: what is waited for, what is tried again, and what nobody may overtake."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DestinationError
from exporter.sinks.filesystem import FileSystem
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from exporter.model import Piece

PATH = "acme/shop/2026-05-21/CA1/user.raw.wav"
A_MOMENT = 0.05  # seconds in which a thread that need not wait has long ended


def sink_in(folder: Path, system: FileSystem) -> LocalSink:
    return LocalSink(
        folder, run_id="20260521T000000Z-0001", dir_mode=0o700, file_mode=0o600, system=system
    )


class SyncingFileSystem(FileSystem):
    """Knows which folders were synced; can refuse one of them, or wait at one."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: set[str] = set()
        self.refused = ""
        self.slow = ""
        self.arrived = threading.Event()
        self.may_go_on = threading.Event()

    def syncs_whole(self, descriptor: int) -> bool:  # noqa: ARG002
        return False

    def sync_folder(self, folder: str | Path) -> None:
        folder = Path(folder)
        if folder.name == self.refused:
            raise OSError(errno.EIO, "a sector is bad")
        if folder.name == self.slow:
            self.arrived.set()
            self.may_go_on.wait(A_MOMENT)
        super().sync_folder(folder)
        self.synced.add(folder.name)


class StrangeFileSystem(FileSystem):
    """Has no place for new names, as /proc has none, and says so in the same strange way."""

    def make_folder(self, path: str | Path, mode: int) -> None:  # noqa: ARG002
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    def create(self, path: str | Path, mode: int) -> int:  # noqa: ARG002
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")


@pytest.mark.parametrize("name", ["", "archive", "an/archive"])
async def test_a_place_that_takes_no_files_did_not_vanish(tmp_path: Path, name: str) -> None:
    """A folder that is there and has no room for another is no archive; it is told as such."""
    with pytest.raises(DestinationError, match="takes no new files or folders") as caught:
        await sink_in(tmp_path / name, StrangeFileSystem()).prepare()
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint == "Choose another place."


@pytest.mark.parametrize("refused", ["acme", "shop", "2026-05-21", "CA1"])
async def test_what_a_failed_sync_left_is_synced_by_the_next(tmp_path: Path, refused: str) -> None:
    """Whichever folder cannot be synced at first: the next attempt covers every new folder."""
    system = SyncingFileSystem()
    sink = sink_in(tmp_path / "archive", system)
    await sink.prepare()
    await sink.put(PATH, b"sound")
    system.refused = refused
    with pytest.raises(DestinationError):
        await sink.make_durable([PATH])
    system.refused = ""
    await sink.make_durable(["elsewhere.json"])
    assert system.synced >= {"archive", "acme", "shop", "2026-05-21"}


async def test_a_new_folder_that_was_removed_stops_nothing_else(tmp_path: Path) -> None:
    """What is not there any more needs no sync, unless somebody relies on a file in it."""
    system = SyncingFileSystem()
    sink = sink_in(tmp_path, system)
    await sink.put(PATH, b"sound")
    folder = (tmp_path / PATH).parent
    (tmp_path / PATH).unlink()
    while folder != tmp_path:
        folder.rmdir()
        folder = folder.parent
    with pytest.raises(DestinationError):
        await sink.make_durable([PATH])
    await sink.make_durable(["elsewhere.json"])
    assert tmp_path.name in system.synced


async def test_nobody_relies_on_a_folder_that_another_is_about_to_sync(tmp_path: Path) -> None:
    """Two sync at once: the second one returns after what the first one took upon itself."""
    system = SyncingFileSystem()
    sink = sink_in(tmp_path, system)
    earlier = PATH.replace("CA1", "CA0")
    await sink.put(earlier, b"sound")
    await sink.make_durable([earlier])
    await sink.put(PATH, b"sound")
    system.synced.clear()
    system.slow = "2026-05-21"
    first = asyncio.create_task(sink.make_durable([PATH]))
    await asyncio.to_thread(system.arrived.wait)
    # The second relies on the entry of CA1 in the folder at which the first one waits.
    await sink.make_durable([PATH])
    synced = set(system.synced)
    system.may_go_on.set()
    await first
    assert "2026-05-21" in synced


@given(
    parts=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6),
    times=st.sampled_from([1, 100]),
    data=st.data(),
)
def test_what_a_system_call_leaves_is_written_after_all(
    parts: list[bytes], times: int, data: st.DataObject
) -> None:
    """Wherever the operating system stops within many parts, all of them are written, in order."""
    parts *= times
    whole = b"".join(parts)
    stop = data.draw(st.integers(0, len(whole)))

    def writes_less(descriptor: int, buffers: Sequence[bytes]) -> int:
        assert len(buffers) <= os.sysconf("SC_IOV_MAX")
        return os.write(descriptor, b"".join(buffers)[:stop])

    with tempfile.TemporaryFile() as file, mock.patch.object(os, "writev", writes_less):
        FileSystem().write(file.fileno(), *parts)
        file.seek(0)
        assert file.read() == whole


class SlowToWrite(FileSystem):
    """Waits in the middle of writing, and tells what it did in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.may_go_on = threading.Event()
        self.steps: list[str] = []

    def write(self, descriptor: int, *parts: Piece) -> None:
        self.arrived.set()
        self.may_go_on.wait()
        super().write(descriptor, *parts)
        self.steps.append("written")

    def unlink(self, path: Path | str) -> None:
        self.steps.append("removed")
        super().unlink(path)


@pytest.mark.parametrize("how", ["upload", "replace"])
async def test_who_is_cancelled_while_a_thread_writes_waits_for_it(
    tmp_path: Path, how: str
) -> None:
    """The file is closed and removed after its last write, never under the hands of it."""
    system = SlowToWrite()
    sink = sink_in(tmp_path, system)

    async def one_piece() -> AsyncIterator[bytes]:
        yield b"half"

    async def write() -> None:
        if how == "replace":
            await sink.replace(PATH, one_piece())
            return
        upload = await sink.begin(PATH)
        try:
            await upload.write(b"half")
        finally:
            await upload.abort()

    task = asyncio.create_task(write())
    await asyncio.to_thread(system.arrived.wait)
    task.cancel()
    loop = asyncio.get_running_loop()
    loop.call_later(A_MOMENT, system.may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert system.steps == ["written", "removed"]
    assert [entry.path async for batch in sink.entries() for entry in batch] == []


async def test_folders_that_another_process_made_are_synced(tmp_path: Path) -> None:
    """Where others write for the run, every folder above a file is synced before it counts."""
    system = SyncingFileSystem()
    ours, theirs = sink_in(tmp_path / "archive", system), sink_in(tmp_path / "archive", system)
    await ours.prepare()
    ours.share()
    for conversation in ("CA1", "CA2"):
        path = PATH.replace("CA1", conversation)
        await theirs.put(path, b"sound")
        system.synced.clear()
        await ours.make_durable([path])
        assert system.synced >= {"archive", "acme", "shop", "2026-05-21", conversation}
