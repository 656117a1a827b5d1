"""The bound on what recordings under way to a store take of the memory."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.sinks.room import Room

SIZE = 10


@given(st.lists(st.lists(st.integers(1, 8), max_size=6), max_size=8))
async def test_everybody_gets_to_the_end_within_the_bound(uploads: list[list[int]]) -> None:
    """Whatever they take and in whatever order, none waits for ever; only the oldest exceeds."""
    room = Room(SIZE)

    async def upload(number: int, pieces: list[int]) -> None:
        for size in pieces:
            await room.take(number, size)
            oldest = room._taken[next(iter(room._taken))]
            assert room.taken - oldest <= SIZE
            await asyncio.sleep(0)
        room.leave(number)

    async with asyncio.timeout(30):
        await asyncio.gather(*(upload(*each) for each in enumerate(uploads)))
    assert room.taken == 0


async def test_who_began_first_is_never_kept_waiting() -> None:
    """The others wait until it makes room."""
    room = Room(SIZE)
    await room.take("first", 8)
    other = asyncio.create_task(room.take("second", 4))
    await room.take("first", 100)
    assert not other.done()
    room.keep("first", 6)
    await other
    assert room.taken == 10


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    """A cancelled upload neither holds room nor keeps others from it."""
    room = Room(SIZE)
    await room.take("first", 8)
    given_up = asyncio.create_task(room.take("second", 4))
    await asyncio.sleep(0)
    given_up.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    room.leave("second")
    room.leave("first")
    await room.take("third", 100)
    assert room.taken == 100
