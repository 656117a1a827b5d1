"""Holding a folder: who may, who is dead, and who is told."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporter.sinks.base import STALE_AFTER, HeldError, Holder, LostHoldError
from exporter.sinks.folder_hold import FolderHold, read_holder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SINCE = datetime(2026, 1, 1, tzinfo=UTC)

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


def held(folder: Path, run: str, **arguments: Any) -> FolderHold:
    hold = FolderHold(folder, Holder(run, "host", os.getpid(), SINCE), **arguments)
    hold.take()
    return hold


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
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("lock", [{}, {"lock": unsupported}], ids=["lock", "no-lock"])
def test_a_killed_process_is_taken_over_at_once(tmp_path: Path, lock: dict[str, Any]) -> None:
    """After `kill -9` nobody waits: the kernel, or the missing process, tells that it is dead."""
    subprocess.run([sys.executable, "-c", HOLD_AND_DIE, tmp_path, "die"], check=False)
    assert read_holder(tmp_path / "holder.json") is None
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
    """Where neither lock nor process can be seen, only the age of the sign of life counts."""
    held(tmp_path, "far", lock=unsupported)
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, STALE_AFTER / 2)
    with pytest.raises(HeldError):
        held(tmp_path, "next", **lock)
    assert read_holder(tmp_path / "holder.json")
    let_pass(tmp_path, STALE_AFTER)
    assert read_holder(tmp_path / "holder.json") is None
    hold = held(tmp_path, "next", **lock)
    assert hold.taken_over_from
    await hold.release()


async def test_who_lost_its_hold_learns_it_with_the_next_beat(tmp_path: Path) -> None:
    """A run that was taken for dead is told, and does not remove its successor's file."""
    slow = held(tmp_path, "slow", lock=unsupported)
    await slow.beat()
    pretend(tmp_path, machine="another")
    let_pass(tmp_path, 2 * STALE_AFTER)
    successor = held(tmp_path, "successor", lock=unsupported)
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
    judged: Callable[..., bool] = late._is_dead

    def judge_then_be_overtaken(other: Any) -> bool:
        verdict = judged(other)
        held(tmp_path, "fast", lock=unsupported)
        return verdict

    monkeypatch.setattr(late, "_is_dead", judge_then_be_overtaken)
    with pytest.raises(HeldError):
        late.take()
    holder = read_holder(tmp_path / "holder.json")
    assert holder
    assert holder.run_id == "fast"


def refuse_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("content", [b"", b"{spoilt"])
def test_a_spoilt_file_counts_as_held_until_it_is_old(tmp_path: Path, content: bytes) -> None:
    """What cannot be read may be about to be written: it is respected for a while, not for ever."""
    (tmp_path / "holder.json").write_bytes(content)
    with pytest.raises(HeldError) as caught:
        held(tmp_path, "next")
    assert caught.value.holder is None
    let_pass(tmp_path, 2 * STALE_AFTER)
    held(tmp_path, "next")
