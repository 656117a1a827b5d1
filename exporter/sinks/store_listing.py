"""Sizes of many objects with few requests.

A store lists a thousand objects with one request, and asking for one costs a request, too. So a
folder of which many are asked for is listed, once, and remembered until something is written.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final

from exporter.pool import run_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from exporter.sinks.requests import Requests

_FEW: Final = 20  # objects of a folder that are asked for one by one
_MOST: Final = 100_000  # objects that are remembered; a larger folder is not listed
_AT_ONCE: Final = 16


class Sizes:
    """Tells sizes of objects.

    Args:
        requests: makes them.
        size: of one object; None where there is none. Blocks, for any thread, like the next.
        listing: paths and sizes of all objects in a folder and below it.
    """

    def __init__(
        self,
        requests: Requests,
        size: Callable[[str], int | None],
        listing: Callable[[str], Iterator[tuple[str, int]]],
    ) -> None:
        self._requests = requests
        self._size = size
        self._listing = listing
        self._known: dict[str, dict[str, int]] = {}
        self._too_large: set[str] = set()

    def forget(self) -> None:
        """Something was written: what is remembered may not be so any more."""
        self._known.clear()

    async def of(self, paths: Sequence[str]) -> list[int | None]:
        """Bytes of each object, None where there is none; in the order of `paths`."""
        folders = defaultdict(list)
        for path in paths:
            folders[_partition(path)].append(path)
        found: dict[str, int | None] = {}
        single: list[str] = []
        for folder, wanted in folders.items():
            known = await self._of_folder(folder, many=len(wanted) > _FEW)
            if known is None:
                single += wanted
            else:
                found.update((path, known.get(path)) for path in wanted)
        await self._ask_for_each(single, found)
        return [found[path] for path in paths]

    async def _of_folder(self, folder: str, *, many: bool) -> dict[str, int] | None:
        if folder in self._known or not many or folder in self._too_large:
            return self._known.get(folder)
        listed = await self._requests.make(lambda: dict(islice(self._listing(folder), _MOST + 1)))
        if len(listed) > _MOST:
            self._too_large.add(folder)
            return None
        while self._known and sum(map(len, self._known.values())) + len(listed) > _MOST:
            del self._known[next(iter(self._known))]  # the one that was listed first
        self._known[folder] = listed
        return listed

    async def _ask_for_each(self, paths: Sequence[str], found: dict[str, int | None]) -> None:
        async def ask(path: str) -> None:
            found[path] = await self._requests.make(self._size, path)

        async def each() -> AsyncIterator[str]:
            for path in paths:
                yield path

        await run_pool(each(), ask, concurrency=_AT_ONCE)


def _partition(path: str) -> str:
    """The partition that a recording lies in: two levels up."""
    return path.rsplit("/", 2)[0] if path.count("/") > 1 else path.rpartition("/")[0]
