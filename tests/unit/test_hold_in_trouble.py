"""Signs of life that cannot be given: files that cannot be read, storage that fails."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from exporter import hold as exporter_hold
from exporter.errors import ArchiveBusyError, DestinationError, ExporterError
from exporter.sinks.base import BEAT_EVERY, STALE_AFTER, HeldError, Holder, LostHoldError
from tests.holds import (
    SINCE,
    Clock,
    held,
    names,
    read_holder,
)

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.sinks.base import Sink

# Signs of life that cannot be given.


async def test_a_file_that_cannot_be_read_is_no_lost_hold(tmp_path: Path) -> None:
    """Whatever keeps the file from being read: nothing proves that another run has it."""
    hold = held(tmp_path, "one")
    path, away = tmp_path / "holder.json", tmp_path / "away"
    path.rename(away)
    path.mkdir()  # who reads it gets an error of the operating system
    with pytest.raises(DestinationError, match=r"cannot read .*holder\.json"):
        await hold.beat()
    path.rmdir()
    path.write_bytes(b"{spoilt")
    with pytest.raises(DestinationError, match="spoilt"):
        await hold.beat()
    away.rename(path)
    await hold.beat()
    await hold.release()
    assert names(tmp_path) == ["lock"]


async def test_an_unreadable_file_is_not_taken_over(tmp_path: Path) -> None:
    """Who cannot read who holds the archive says so, instead of calling it held or free."""
    (tmp_path / "holder.json").mkdir()
    with pytest.raises(DestinationError, match="cannot read"):
        held(tmp_path, "next")


async def test_a_removed_file_is_put_back_while_nobody_could_have_taken_over(
    tmp_path: Path,
) -> None:
    """Somebody tidied up `_exporter`: the run goes on to hold. After a long silence it does not."""
    clock = Clock()
    hold = held(tmp_path, "one", clock=clock)
    for seconds in (BEAT_EVERY, STALE_AFTER - 1):
        clock.now += seconds
        (tmp_path / "holder.json").unlink()
        await hold.beat()
        holder = read_holder(tmp_path)
        assert holder
        assert holder.run_id == "one"
    clock.now += STALE_AFTER
    (tmp_path / "holder.json").unlink()
    with pytest.raises(LostHoldError) as caught:
        await hold.beat()
    assert caught.value.run_id is None
    await hold.release()


class TroubledHold:
    """Signs of life that fail as told."""

    taken_over_from = None
    locks = ()

    def __init__(self, *troubles: Exception | None) -> None:
        self.troubles = list(troubles)

    async def beat(self) -> None:
        if not self.troubles:
            raise asyncio.CancelledError
        if trouble := self.troubles.pop(0):
            raise trouble

    async def release(self) -> None:
        """Nothing."""


async def beaten(*troubles: Exception | None) -> tuple[list[ExporterError], float]:
    """What a run is told that meets these troubles in a row, and after how many seconds."""
    clock = Clock()
    told: list[ExporterError] = []

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    with contextlib.suppress(asyncio.CancelledError):
        await exporter_hold._beat(TroubledHold(*troubles), told.append, sleep=sleep, clock=clock)
    return told, clock.now - 1000


FAILED = DestinationError("cannot read holder.json: Too many open files")
PATIENCE = int(STALE_AFTER / BEAT_EVERY) - 1  # beats in a row


async def test_passing_trouble_is_put_up_with() -> None:
    """Errors that end before others could take the run for dead change nothing, however often."""
    passing = [*[FAILED] * (PATIENCE - 1), None]
    assert (await beaten(*passing, *passing, *passing))[0] == []


async def test_lasting_trouble_ends_the_run_before_another_may_take_over() -> None:
    """It is told as trouble with the archive (exit 4), not as another run's hold (exit 5)."""
    (told,), seconds = await beaten(None, *[FAILED] * PATIENCE)
    assert isinstance(told, DestinationError)
    assert "Too many open files" in told.message
    assert seconds - BEAT_EVERY < STALE_AFTER


async def test_a_sign_of_life_that_takes_long_to_fail_ends_the_run_in_time() -> None:
    """What counts is when it would be over, not when it was begun."""
    clock = Clock()
    begun = clock.now
    told: list[ExporterError] = []

    class Stalled(TroubledHold):
        async def beat(self) -> None:
            clock.now += 50
            await super().beat()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    await exporter_hold._beat(Stalled(*[FAILED] * 3), told.append, sleep=sleep, clock=clock)
    assert [type(each) for each in told] == [DestinationError]
    assert clock.now - begun < STALE_AFTER


@pytest.mark.parametrize(("run", "words"), [("r2", "run r2 took"), (None, "another run took")])
async def test_a_lost_hold_is_told_at_once(run: str | None, words: str) -> None:
    """Another run is proof: the first beat that meets it ends this one, with exit 5."""
    (told,), seconds = await beaten(LostHoldError(run))
    assert isinstance(told, ArchiveBusyError)
    assert told.message.startswith(words)
    assert seconds == BEAT_EVERY


class DoubtfulSink:
    """Held by one that may be dead, for so many looks."""

    url = "archive"

    def __init__(self, *answers: HeldError) -> None:
        self.answers = list(answers)

    async def hold(self, _: Holder) -> TroubledHold:
        if self.answers:
            raise self.answers.pop(0)
        return TroubledHold()


async def test_a_run_that_does_not_wait_still_watches_what_may_be_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without `--wait` it ends at once for who lives, and takes over from who is found dead."""
    monkeypatch.setattr(exporter_hold, "_ASK_EVERY", 0)
    dead = HeldError(Holder("far", "host", 1, SINCE), None, may_be_dead=True)
    alive = HeldError(Holder("far", "host", 1, SINCE), 1.0)
    me = Holder("me", "host", 2, SINCE)
    never = asyncio.Event()
    sink = DoubtfulSink(dead, dead, dead)
    hold = await exporter_hold._take(cast("Sink", sink), me, timedelta(0), never)
    assert isinstance(hold, TroubledHold)
    sink = DoubtfulSink(dead, alive)
    with pytest.raises(ArchiveBusyError):
        await exporter_hold._take(cast("Sink", sink), me, timedelta(0), never)
