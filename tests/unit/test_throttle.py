"""Promises of the throttle, with a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ErrorKind, FetchError
from exporter.throttle import HardCap, Throttle, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator


class VirtualTime:
    """Sleepers wake up as late as it says, but nobody sleeps for ever."""

    def __init__(self, lateness: Iterator[float] | None = None) -> None:
        self.now = 1000.0
        self.lateness = lateness

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert math.isfinite(seconds)
        self.now += seconds + (next(self.lateness, 0.0) if self.lateness else 0.0)
        await asyncio.sleep(0)


def throttle(time: VirtualTime, rate: float | None = None, **options: Any) -> Throttle:
    options.setdefault("chance", lambda: 0.0)
    return Throttle(rate, clock=time.clock, sleep=time.sleep, **options)


async def departures(
    rate: float, gaps: list[float], lateness: list[float], *, lanes: int = 1
) -> list[float]:
    time = VirtualTime(iter(lateness))
    limited = throttle(time, rate)
    left = []
    for number, gap in enumerate(gaps):
        time.now += gap
        turn = await limited.turn(f"key {number % lanes}")
        left.append(turn.sent)
        limited.accepted(turn)
        limited.leave(turn)
    return left


@given(
    rate=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2) | st.just(0.0), min_size=1, max_size=150),
    lateness=st.lists(st.floats(0, 0.5), max_size=150),
    lanes=st.integers(1, 3),
)
def test_never_more_than_n_in_any_second(
    rate: int, gaps: list[float], lateness: list[float], lanes: int
) -> None:
    """Whatever arrives when, however late timers are, over all keys together."""
    left = asyncio.run(departures(rate, gaps, lateness, lanes=lanes))
    for first, later in zip(left, left[rate:], strict=False):
        assert later - first >= 1


@given(rate=st.floats(0.05, 1.0), gaps=st.lists(st.floats(0, 30), min_size=2, max_size=30))
def test_less_than_one_a_second(rate: float, gaps: list[float]) -> None:
    """A rate below one means one request in so many seconds."""
    left = asyncio.run(departures(rate, gaps, []))
    for first, later in itertools.pairwise(left):
        assert later - first >= 1 / rate - 1e-6


async def test_the_cap_is_used_up() -> None:
    """With enough to do, all but the safety margin of a hundredth leaves."""
    left = await departures(100, [0.0] * 1000, [0.001] * 1000)
    assert left[-1] - left[0] <= 1000 / 100 * 1.02


def test_fractions_above_one_are_rounded_down() -> None:
    """2.5 a second would be 3 in some second, and 3 are more than 2.5."""
    cap = HardCap(2.5)
    for _ in range(2):
        cap.depart(0.0)
    assert cap.wait(0.99) > 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["go", "429", "503"]), st.floats(0.001, 20), st.floats(0, 3)),
        max_size=60,
    ),
    st.booleans(),
)
def test_retry_after_is_never_broken(steps: list[tuple[str, float, float]], adaptive: bool) -> None:
    """Nothing leaves before the server allows, whatever else happens in between."""

    async def run() -> None:
        time = VirtualTime()
        limited = throttle(time, adaptive=adaptive, concurrency=4)
        allowed = 0.0
        for answer, retry_after, gap in steps:
            time.now += gap
            turn = await limited.turn("key")
            assert turn.sent >= allowed
            time.now += 0.05
            if answer == "429":
                limited.refused(turn, retry_after)
                allowed = max(allowed, time.now + retry_after)
            elif answer == "503":
                limited.failed(turn)
                limited.pause(turn, retry_after)
                allowed = max(allowed, time.now + retry_after)
            else:
                limited.accepted(turn)
            limited.leave(turn)

    asyncio.run(run())


async def test_a_pause_that_begins_while_somebody_waits_is_kept() -> None:
    """Who waits for its slot looks at the pause again before it leaves."""
    time = VirtualTime()
    limited = throttle(time, 1)
    first = await limited.turn("key")
    waiting = asyncio.create_task(limited.turn("key"))
    await asyncio.sleep(0)
    limited.refused(first, 30)
    refused_at = time.now
    limited.leave(first)
    second = await waiting
    assert second.sent >= refused_at + 29  # the clock has moved on by one slot meanwhile


async def test_one_refusal_pauses_all_of_that_key_and_no_other() -> None:
    """Limits are per key; so are pauses."""
    time = VirtualTime()
    limited = throttle(time)
    paused, free = await limited.turn("a"), await limited.turn("b")
    start = time.now
    limited.accepted(free)
    limited.refused(paused, 10)
    limited.leave(paused)
    assert (await limited.turn("b")).sent == start
    assert (await limited.turn("a")).sent == start + 10


async def test_workers_come_back_one_by_one() -> None:
    """After a pause one request is under way until it has been answered; then more."""
    time = VirtualTime()
    limited = throttle(time, concurrency=8, adaptive=False)
    for _ in range(20):
        turn = await limited.turn("key")
        limited.accepted(turn)
        limited.leave(turn)
    turn = await limited.turn("key")
    limited.refused(turn, 5)
    limited.leave(turn)
    tasks = [asyncio.create_task(limited.turn("key")) for _ in range(8)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(task.done() for task in tasks) == 1
    back = next(task for task in tasks if task.done()).result()
    limited.accepted(back)
    limited.leave(back)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(task.done() for task in tasks) == 3
    for task in tasks:
        task.cancel()


async def test_an_exhausted_retry_budget_delays_and_turns_nothing_down() -> None:
    """A thousand retries of a sick server take their time, and every one gets its turn."""
    time = VirtualTime()
    limited = throttle(time, adaptive=False)
    start = time.now
    for _ in range(1000):
        turn = await limited.turn("key", retry=True)
        limited.failed(turn)
        limited.leave(turn)
    assert limited.retries == 1000
    assert time.now - start == pytest.approx((1000 - 100) / 10, rel=0.01)


async def test_nothing_leaves_when_the_run_has_stopped() -> None:
    """Who waits for a turn is told that the run is over."""
    stopped = False
    limited = throttle(VirtualTime(), stopped=lambda: stopped)
    limited.leave(await limited.turn("key"))
    stopped = True
    with pytest.raises(FetchError) as caught:
        await limited.turn("key")
    assert caught.value.kind is ErrorKind.CANCELLED
    assert limited.requests == 1


async def test_who_has_no_reason_to_ask_any_more_gives_its_turn_to_the_next() -> None:
    """A check that fails when the turn has come costs no request."""
    limited = throttle(VirtualTime(), concurrency=1)
    first = await limited.turn("key")

    def check() -> None:
        raise FetchError(ErrorKind.UNAUTHORIZED, "proven meanwhile")

    pointless = asyncio.create_task(limited.turn("key", check=check))
    useful = asyncio.create_task(limited.turn("key"))
    await asyncio.sleep(0)
    limited.leave(first)
    with pytest.raises(FetchError):
        await pointless
    await useful
    assert limited.requests == 2


async def test_all_whose_turn_has_come_go_at_once() -> None:
    """Nobody who may go waits for another one to go first: many answers make room for many."""
    limited = throttle(VirtualTime(), concurrency=3, adaptive=False)
    limited.leave(await limited.turn("key"))
    turns = [await limited.turn("key") for _ in range(2)]
    for turn in turns:
        limited.accepted(turn)
    turns.append(await limited.turn("key"))
    waiting = [asyncio.create_task(limited.turn("key")) for _ in range(4)]
    await asyncio.sleep(0)
    for turn in turns:
        limited.leave(turn)
    assert limited.requests == 1 + 3 + 3
    limited.leave(await waiting[0])
    assert len({(await task).sent for task in waiting}) == 1


async def test_room_that_is_gone_before_one_wakes_is_waited_for() -> None:
    """Told to wait for a time, one finds no room after all: it goes on when there is some."""
    time = VirtualTime()
    limited = throttle(time, concurrency=1)
    first = await limited.turn("key")
    waiting = asyncio.create_task(limited.turn("key"))
    await asyncio.sleep(0)
    limited.pause(first, 5)
    limited.leave(first)
    other = await limited.turn("another key")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    limited.leave(other)
    assert (await waiting).sent >= first.sent + 5


class Crowd:
    """Many who ask for turns, and hold them."""

    def __init__(self, limited: Throttle, lanes: int) -> None:
        self.limited = limited
        self.lanes = lanes
        self.waiting: list[asyncio.Task[Turn]] = []
        self.under_way: list[Turn] = []

    def look(self) -> None:
        """Who has got a turn holds it."""
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if not task.cancelled():
                self.under_way.append(task.result())

    def ask(self, number: int) -> None:
        turn = self.limited.turn(f"key {number % self.lanes}")
        self.waiting.append(asyncio.create_task(turn))

    def cancel(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)].cancel()

    def accept(self, number: int) -> None:
        if self.under_way:
            self.limited.accepted(self.under_way[number % len(self.under_way)])

    def end(self, number: int, how: str = "leave") -> None:
        if not self.under_way:
            return
        turn = self.under_way.pop(number % len(self.under_way))
        if how == "fail":
            self.limited.failed(turn)
        elif how == "refuse":
            self.limited.refused(turn, number / 2 or None)
        elif how == "pause":
            self.limited.pause_all(turn, number / 4)
        self.limited.leave(turn)


STEPS = [
    "ask",
    "run",
    "leave",
    "accept",
    "fail",
    "refuse",
    "pause",
    "pause",
    "cancel",
    "run",
    "ask",
]


@settings(max_examples=500)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=60),
    concurrency=st.integers(1, 4),
    rate=st.none() | st.integers(1, 20),
    lanes=st.integers(1, 3),
    adaptive=st.booleans(),
)
async def test_nobody_waits_for_ever(
    steps: list[tuple[str, int]],
    concurrency: int,
    rate: int | None,
    lanes: int,
    adaptive: bool,
) -> None:
    """Whatever happens while they wait, all get their turn once the requests under way return."""
    limited = throttle(VirtualTime(), rate, concurrency=concurrency, adaptive=adaptive)
    crowd = Crowd(limited, lanes)
    for step, number in steps:
        crowd.look()
        match step:
            case "ask":
                crowd.ask(number)
            case "run":
                await asyncio.sleep(0)
            case "cancel":
                crowd.cancel(number)
            case "accept":
                crowd.accept(number)
            case _:
                crowd.end(number, step)
    for _ in range(1000):
        await asyncio.sleep(0)
        crowd.look()
        while crowd.under_way:
            crowd.end(0)
        if not crowd.waiting:
            return
    pytest.fail(f"{len(crowd.waiting)} are still waiting")


async def test_who_is_cancelled_gives_its_turn_to_the_next() -> None:
    """Whether it waited, or had its turn and did not know of it yet."""
    limited = throttle(VirtualTime(), concurrency=1)
    first = await limited.turn("key")
    tasks = [asyncio.create_task(limited.turn("key")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    limited.leave(first)
    tasks[1].cancel()
    await asyncio.wait(tasks[:2])
    assert [task.cancelled() for task in tasks[:2]] == [True, True]
    await tasks[2]


async def test_changes_are_told_with_their_reason_and_not_again_and_again() -> None:
    """One event for a pause and one for the rate, however many refusals come together."""
    told: list[tuple[str, dict[str, Any]]] = []
    time = VirtualTime()
    limited = throttle(time, tell=lambda event, **fields: told.append((event, fields)))
    first = await limited.turn("key")
    limited.accepted(first)
    turns = [await limited.turn("key") for _ in range(2)]
    time.now += 0.1
    for turn in turns:
        limited.refused(turn, 3)
        limited.leave(turn)
    assert limited.rate_limited == 2
    events = [event for event, _ in told]
    assert events.count("throttle.paused") == 1
    assert events.count("throttle.rate_changed") == 1
    assert dict(told)["throttle.paused"] == {
        "credential": "key",
        "seconds": 3,
        "reason": "rate_limited",
    }


async def test_a_429_that_says_nothing_pauses_longer_each_time() -> None:
    """A second, two, four, up to the longest pause."""
    time = VirtualTime()
    limited = throttle(time, adaptive=False, longest_pause=5)
    waits = []
    for _ in range(5):
        turn = await limited.turn("key")
        limited.refused(turn, None)
        limited.leave(turn)
        before = time.now
        turn = await limited.turn("key")
        waits.append(time.now - before)
        limited.refused(turn, None)
        limited.leave(turn)
        turn.lane.resume_at = time.now
        if len(waits) == 2:
            break
    assert waits == [1, 4]
