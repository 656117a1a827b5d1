"""Work on files in other threads, which goes on to its end even when its caller is cancelled."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread and, even when cancelled, wait for it: no file changes behind our back."""
    return await to_its_end(_started(function, *args, **kwargs))


async def to_its_end(step: Awaitable[T]) -> T:
    """The same for a step that somebody else runs in a thread, such as `aiofiles`."""
    future, cancelled = await _ended(step)
    if cancelled is not None:
        raise cancelled
    return future.result()


async def publishing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for what gives a file its final name: who has that done is told so in any case.

    Whoever was cancelled meanwhile learns of it where it waits next, and can note before that
    what is now in the archive.
    """
    future, cancelled = await ended(function, *args, **kwargs)
    if cancelled is not None:
        task = asyncio.current_task()
        if future.exception() is not None or task is None:
            raise cancelled
        task.cancel()
    return future.result()


async def ended(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """What came of it in a thread, and whether we were cancelled meanwhile."""
    return await _ended(_started(function, *args, **kwargs))


def _started(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(None, functools.partial(function, *args, **kwargs))


async def _ended(step: Awaitable[T]) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    future = asyncio.ensure_future(step)
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # has been looked at
    return future, cancelled
