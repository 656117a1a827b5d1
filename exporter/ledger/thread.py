"""The one thread that a ledger lives in."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from exporter.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

P = ParamSpec("P")
T = TypeVar("T")


class LedgerThread:
    """Runs a ledger's methods one after another in a thread of its own."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def run(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method there.

        Raises:
            DestinationError: the database could not be read or written.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, lambda: method(*args, **kwargs))
        except sqlite3.Error as error:
            raise DestinationError(
                f"the ledger cannot be read or written: {error}",
                hint="Check free space and the health of the disk, then run again.",
            ) from None

    async def __aenter__(self) -> Self:
        """Nothing to do: the thread starts with its first call."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread after what it is doing."""
        self._executor.shutdown(wait=True)
