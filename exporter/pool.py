"""A bounded worker pool. Generic: it knows nothing of recordings.

Structured: when `run_pool` returns or raises, none of its tasks is left running. A worker or the
source that fails ends the whole pool with that error; nothing waits for a dead task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

T = TypeVar("T")


async def run_pool(
    source: AsyncIterator[T],
    work: Callable[[T], Awaitable[None]],
    *,
    concurrency: int,
    stop: asyncio.Event | None = None,
) -> None:
    """Call `work` for each item of `source`, at most `concurrency` at a time.

    No item is taken from the source before a worker is free for it: who is slow at the end holds
    back who is fast at the start, and memory does not grow with the number of items.

    Args:
        source: the items; read by one worker at a time.
        work: handles one item; what it raises ends the pool.
        concurrency: how many workers, at least 1.
        stop: once set, no further item is taken; what is under way is finished.

    Raises:
        Exception: the first error of the source or of a worker, as it was raised.
    """
    pages = ((item,) async for item in source)
    await run_paged_pool(pages, work, concurrency=concurrency, stop=stop)


async def run_paged_pool(
    source: AsyncIterator[Iterable[T]],
    work: Callable[[T], Awaitable[None]],
    *,
    concurrency: int,
    stop: asyncio.Event | None = None,
) -> None:
    """The same for a source of pages: workers wait for each other between pages only.

    Where they do at every item, those that have done so once queue up ever after, and each item
    costs one turn of the event loop.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    page: Iterator[T] | None = iter(())
    turning = asyncio.Lock()
    stop = stop or asyncio.Event()

    async def turn_page() -> None:
        # By itself, so that no worker keeps the page that it turned to until it turns another.
        nonlocal page
        following = await anext(source, None)
        page = None if following is None else iter(following)

    async def worker() -> None:
        while page is not None and not stop.is_set():
            current = page
            for item in current:
                await work(item)
                if stop.is_set():
                    return
            async with turning:
                if page is current and not stop.is_set():
                    await turn_page()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise first_error(failures) from None


def first_error(failure: BaseException) -> BaseException:
    """The first exception of a group, however deep; another exception as it is."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
