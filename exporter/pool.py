"""A bounded worker pool. Generic: it knows nothing of recordings.

Structured: when `run_pool` returns or raises, none of its tasks is left running. A worker or the
source that fails ends the whole pool with that error; nothing waits for a dead task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

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
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    taking = asyncio.Lock()
    exhausted = False

    async def worker() -> None:
        nonlocal exhausted
        while True:
            async with taking:
                if exhausted or (stop is not None and stop.is_set()):
                    return
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    exhausted = True
                    return
            await work(item)

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
