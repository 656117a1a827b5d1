"""Holding a folder: who may, who is dead, and who is told."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporter import hold
from exporter.errors import ArchiveBusyError
from exporter.sinks.base import BEAT_EVERY, STALE_AFTER, HeldError, Holder, LostHoldError
from exporter.sinks.folder_hold import FolderHold
from exporter.sinks.folder_hold import read_holder as read_holder_file
from exporter.sinks.local import LocalSink
from exporter.sinks.signs_of_life import SignsOfLife
from tests.holds import (
    SINCE,
    Clock,
    held,
    names,
    read_holder,
)

if TYPE_CHECKING:
    from pathlib import Path


HOLD_AND_DIE = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from exporter.sinks.base import Holder
from exporter.sinks.folder_hold import FolderHold
holder = Holder("dead", os.uname().nodename, os.getpid(), datetime.now(UTC))
hold = FolderHold(Path(sys.argv[1]), holder)
hold.take()
print("held", flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def unsupported(_: int) -> None:
    raise OSError(errno.ENOTSUP, "not here")


def watched_to_death(folder: Path, run: str, **arguments: Any) -> FolderHold:
    """Takes over what shows no sign of life for as long as it takes."""
    clock = Clock()
    signs = SignsOfLife(clock)
    with pytest.raises(HeldError):
        held(folder, run, signs=signs, **arguments)
    clock.now += STALE_AFTER
    return held(folder, run, signs=signs, **arguments)


def pretend(folder: Path, **fields: object) -> None:
    """Make the holder's file say something else, its time of the last change stays."""
    path = folder / "holder.json"
    status = path.stat()
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | fields))
    os.utime(path, (status.st_atime, status.st_mtime))


def let_pass(folder: Path, seconds: float) -> None:
    """Make the last sign of life that much older."""
    path = folder / "holder.json"
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - seconds))


@pytest.mark.parametrize("lock", [{}, {"lock": unsupported}], ids=["lock", "no-lock"])
def test_the_second_is_told_who_holds_it(tmp_path: Path, lock: dict[str, Any]) -> None:
    """While one holds the folder another is refused, with the holder's name."""
    first = held(tmp_path, "one", **lock)
    with pytest.raises(HeldError) as caught:
        held(tmp_path, "two", **lock)
    assert caught.value.holder == Holder("one", "host", os.getpid(), SINCE)
    assert caught.value.idle_seconds is not None
    asyncio.run(first.release())
    asyncio.run(held(tmp_path, "two", **lock).release())
    assert names(tmp_path) == ["lock"]


@pytest.mark.parametrize("lock", [{}, {"lock": unsupported}], ids=["lock", "no-lock"])
def test_a_killed_process_is_taken_over_at_once(tmp_path: Path, lock: dict[str, Any]) -> None:
    """After `kill -9` nobody waits: the kernel, or the missing process, tells that it is dead."""
    subprocess.run([sys.executable, "-c", HOLD_AND_DIE, tmp_path, "die"], check=False)
    assert read_holder(tmp_path) is None
    hold = held(tmp_path, "next", **lock)
    assert hold.taken_over_from
    assert hold.taken_over_from.run_id == "dead"
    asyncio.run(hold.release())


def test_a_living_process_is_not_taken_over_however_silent(tmp_path: Path) -> None:
    """A process that the kernel knows to hold the lock keeps it without a sign of life."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_DIE, tmp_path, "stay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        let_pass(tmp_path, 10 * STALE_AFTER)
        with pytest.raises(HeldError) as caught:
            held(tmp_path, "next")
        assert caught.value.holder
        assert caught.value.holder.pid == process.pid
        process.kill()


@pytest.mark.parametrize("lock", [{}, {"lock": unsupported}], ids=["lock", "no-lock"])
async def test_another_machine_is_believed_alive_until_its_sign_of_life_is_old(
    tmp_path: Path, lock: dict[str, Any]
) -> None:
    """Where neither lock nor process can be seen, it is watched for a while, then taken over."""
    held(tmp_path, "far", lock=unsupported)
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, STALE_AFTER / 2)
    with pytest.raises(HeldError) as caught:
        held(tmp_path, "next", **lock)
    assert not caught.value.may_be_dead
    assert read_holder(tmp_path)
    let_pass(tmp_path, STALE_AFTER)
    with pytest.raises(HeldError) as caught:
        held(tmp_path, "next", **lock)
    assert caught.value.may_be_dead
    assert read_holder(tmp_path) is None
    hold = watched_to_death(tmp_path, "next", **lock)
    assert hold.taken_over_from
    await hold.release()


@pytest.mark.parametrize("years", [-10, 10], ids=["past", "future"])
async def test_a_wrong_clock_neither_kills_a_run_nor_keeps_a_dead_one_alive(
    tmp_path: Path, years: int
) -> None:
    """However wrong the time of a sign of life: that it changes counts, and that it does not."""
    far = held(tmp_path, "far", lock=unsupported)
    pretend(tmp_path, machine="another")
    clock = Clock()
    signs = SignsOfLife(clock)

    def look() -> HeldError:
        with pytest.raises(HeldError) as caught:
            held(tmp_path, "next", signs=signs)
        return caught.value

    def beat(number: int) -> None:
        moment = datetime.now(UTC).timestamp() + years * 31_536_000 + number * BEAT_EVERY
        os.utime(tmp_path / "holder.json", (moment, moment))

    beat(0)
    assert look().may_be_dead
    for number in range(1, 20):
        clock.now += BEAT_EVERY
        beat(number)
        assert not look().may_be_dead
    clock.now += STALE_AFTER - 1
    assert not look().may_be_dead
    clock.now += 1
    successor = held(tmp_path, "next", signs=signs)
    assert successor.taken_over_from
    with pytest.raises(LostHoldError):
        await far.beat()
    await successor.release()


async def test_who_only_looks_sees_a_living_run_with_a_wrong_clock(tmp_path: Path) -> None:
    """A sign of life from the future is not believed until it is seen to change."""
    held(tmp_path, "far", lock=unsupported)
    pretend(tmp_path, machine="another")
    path = tmp_path / "holder.json"
    signs = SignsOfLife()
    let_pass(tmp_path, -1e6)
    assert read_holder_file(path, signs) is None
    let_pass(tmp_path, -BEAT_EVERY)
    assert read_holder_file(path, signs)


async def test_who_lost_its_hold_learns_it_with_the_next_beat(tmp_path: Path) -> None:
    """A run that was taken for dead is told, and does not remove its successor's file."""
    slow = held(tmp_path, "slow", lock=unsupported)
    await slow.beat()
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, 2 * STALE_AFTER)
    successor = watched_to_death(tmp_path, "successor", lock=unsupported)
    with pytest.raises(LostHoldError, match="successor"):
        await slow.beat()
    await slow.release()
    await successor.beat()
    await successor.release()


@pytest.mark.parametrize("links", [True, False])
def test_two_who_bury_the_same_dead_do_not_both_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """One that judged a holder dead finds a living successor in its place and leaves it there."""
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    held(tmp_path, "dead", lock=unsupported)
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, 2 * STALE_AFTER)
    late = FolderHold(tmp_path, Holder("late", "host", 1, SINCE), lock=unsupported)

    def judge_then_be_overtaken(_: object) -> bool:
        watched_to_death(tmp_path, "fast", lock=unsupported)
        return True

    monkeypatch.setattr(late, "_is_dead", judge_then_be_overtaken)
    with pytest.raises(HeldError):
        late.take()
    holder = read_holder(tmp_path)
    assert holder
    assert holder.run_id == "fast"


async def test_a_sign_of_life_at_the_last_moment_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was judged dead and shows a sign of life before it is buried keeps its hold."""
    slow = held(tmp_path, "slow", lock=unsupported)
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, 2 * STALE_AFTER)
    hasty = FolderHold(tmp_path, Holder("hasty", "host", 1, SINCE), lock=unsupported)

    def judge_then_see_it_wake(_: object) -> bool:
        slow._beat()
        return True

    monkeypatch.setattr(hasty, "_is_dead", judge_then_see_it_wake)
    with pytest.raises(HeldError) as caught:
        hasty.take()
    assert caught.value.holder
    assert caught.value.holder.run_id == "slow"
    await slow.beat()
    await slow.release()
    assert names(tmp_path) == ["lock"]


def refuse_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("content", [b"", b"{spoilt"])
def test_a_spoilt_file_counts_as_held_until_it_is_old(tmp_path: Path, content: bytes) -> None:
    """What cannot be read may be about to be written: it is respected for a while, not for ever."""
    (tmp_path / "holder.json").write_bytes(content)
    with pytest.raises(HeldError) as caught:
        held(tmp_path, "next")
    assert caught.value.holder is None
    watched_to_death(tmp_path, "next")


async def test_a_suspended_process_is_not_watched_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the lock and gives no sign of life: after the time that shows it, it is busy."""
    for name in ("STALE_AFTER", "_ASK_EVERY"):
        monkeypatch.setattr(hold, name, 0.01)
    sink = LocalSink(tmp_path, run_id="x", dir_mode=0o700, file_mode=0o600)
    await sink.prepare()

    async def suspended(_: Holder) -> FolderHold:
        raise HeldError(None, None, may_be_dead=True)

    monkeypatch.setattr(sink, "hold", suspended)
    with pytest.raises(ArchiveBusyError):
        await hold._take(sink, hold.this_process("x"), timedelta(), asyncio.Event())
