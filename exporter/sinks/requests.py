"""Requests to a store, each blocking a thread: many more of them than cores, for they wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from exporter.sinks.threads import published, to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE: Final = 64


class Requests:
    """Makes requests in threads of its own, which end with the process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="store")

    async def make(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in a thread and, even when cancelled, wait for it."""
        return await to_its_end(self._begun(partial(function, *args, **kwargs)))

    async def publish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what gives an object its final name: who has that done is told so."""
        return await published(self._begun(partial(function, *args, **kwargs)))

    def _begun(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, function)
