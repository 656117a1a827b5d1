"""The worker pool alone."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pool import run_paged_pool, run_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random


async def numbers(count: int, taken: list[int] | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield number


class BoomError(Exception):
    pass


@given(count=st.integers(0, 60), concurrency=st.integers(1, 12), seed=st.randoms())
def test_every_item_is_worked_on_once(count: int, concurrency: int, seed: Random) -> None:
    """Whatever the number of items and workers, each item is handled exactly once."""
    done: list[int] = []

    async def work(item: int) -> None:
        for _ in range(seed.randrange(4)):
            await asyncio.sleep(0)
        done.append(item)

    asyncio.run(run_pool(numbers(count), work, concurrency=concurrency))

    assert sorted(done) == list(range(count))


@given(
    sizes=st.lists(st.integers(0, 5), max_size=12),
    concurrency=st.integers(1, 12),
    seed=st.randoms(),
)
def test_pages_are_worked_through_one_after_another(
    sizes: list[int], concurrency: int, seed: Random
) -> None:
    """Whatever their sizes: each item once, and none of a page before the last one is taken."""
    begun: list[tuple[int, int]] = []
    pages = [[(page, number) for number in range(size)] for page, size in enumerate(sizes)]

    async def source() -> AsyncIterator[list[tuple[int, int]]]:
        for page in pages:
            await asyncio.sleep(0)
            yield page

    async def work(item: tuple[int, int]) -> None:
        begun.append(item)
        for _ in range(seed.randrange(4)):
            await asyncio.sleep(0)

    asyncio.run(run_paged_pool(source(), work, concurrency=concurrency))

    assert begun == [item for page in pages for item in page]


class Page(list[int]):
    """One that can be looked for without being kept."""


async def test_nobody_keeps_a_page_that_all_are_through_with() -> None:
    """Memory holds the page that is worked on and the next, however many workers turned one."""
    made: list[weakref.ref[Page]] = []
    most = 0

    async def source() -> AsyncIterator[Page]:
        for number in range(100):
            page = Page([number] * 3)
            made.append(weakref.ref(page))
            yield page

    async def work(item: int) -> None:
        nonlocal most
        most = max(most, sum(page() is not None for page in made))
        for _ in range(item % 7):
            await asyncio.sleep(0)

    await run_paged_pool(source(), work, concurrency=20)

    assert most <= 2


async def test_never_more_at_a_time_than_the_concurrency() -> None:
    """The pool runs as many workers as asked for and never one more."""
    running = peak = 0

    async def work(_: int) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1

    await run_pool(numbers(50), work, concurrency=7)

    assert peak == 7


async def test_a_slow_worker_holds_back_the_source() -> None:
    """Nothing is taken from the source before a worker is free: back-pressure without a queue."""
    taken: list[int] = []
    release = asyncio.Event()

    async def work(_: int) -> None:
        await release.wait()

    pool = asyncio.create_task(run_pool(numbers(100, taken), work, concurrency=3))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(taken) == 3
    release.set()
    await pool
    assert len(taken) == 100


async def test_a_worker_that_fails_ends_the_pool_with_its_error() -> None:
    """One dead worker ends the run with its own exception, and the others are not left running."""
    cancelled = 0

    async def work(item: int) -> None:
        nonlocal cancelled
        if item == 2:
            raise BoomError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    with pytest.raises(BoomError):
        await run_pool(numbers(100), work, concurrency=3)

    assert cancelled == 2
    assert len(asyncio.all_tasks()) == 1


async def test_a_source_that_fails_ends_the_pool_with_its_error() -> None:
    """An error while reading the source comes out as it was raised."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise BoomError

    async def work(_: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(BoomError):
        await run_pool(broken(), work, concurrency=4)


async def test_stop_finishes_what_is_under_way_and_takes_nothing_more() -> None:
    """After `stop`, items that were begun are finished and no further one is taken."""
    stop = asyncio.Event()
    begun: list[int] = []
    finished: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            stop.set()
        await asyncio.sleep(0)
        finished.append(item)

    await run_pool(numbers(100), work, concurrency=4, stop=stop)

    assert sorted(begun) == sorted(finished)
    assert 6 <= len(finished) < 20


async def test_cancelling_the_pool_leaves_nothing_running() -> None:
    """Cancellation reaches every worker before it comes out of the pool."""

    async def work(_: int) -> None:
        await asyncio.Event().wait()

    pool = asyncio.create_task(run_pool(numbers(10), work, concurrency=4))
    for _ in range(5):
        await asyncio.sleep(0)
    pool.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pool
    assert len(asyncio.all_tasks()) == 1
