"""Sizes of many objects for few requests.

A listing tells a thousand with one request, but costs about as much money as twelve questions about
one object. So one is asked for while it tells enough of what is wanted: from the first that is
wanted to wherever it ends, then from the next that is still wanted. A partition of which much is
wanted is listed whole and remembered, for its recordings may be asked about in any order.
"""

from __future__ import annotations

import os.path
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

from exporter.pool import run_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from exporter.sinks.requests import Requests

_FEW: Final = 12  # objects that are asked for one by one: a listing costs as much
_MOST: Final = 100_000  # objects that are remembered; a larger folder is not listed
_AT_ONCE: Final = 16


class Sizes:
    """Tells sizes of objects.

    Args:
        requests: makes them.
        size: of one object; None where there is none. Blocks, for any thread, like the next.
        listing: paths and sizes of all objects in a folder and below it, in pages; from behind
            a path on, if it is given one.
        from_anywhere: the store itself begins a listing there, at no further cost.
    """

    def __init__(
        self,
        requests: Requests,
        size: Callable[[str], int | None],
        listing: Callable[[str, str | None], Iterator[dict[str, int]]],
        *,
        from_anywhere: bool,
    ) -> None:
        self._requests = requests
        self._size = size
        self._listing = listing
        self._from_anywhere = from_anywhere
        self._known: dict[str, dict[str, int]] = {}
        self._too_large: set[str] = set()
        self._written = 0  # times; counted by any thread, while all else belongs to the loop's
        self._known_at = 0

    def forget(self) -> None:
        """Something was written: what is remembered may not be so any more. For any thread."""
        self._written += 1

    async def of(self, paths: Sequence[str]) -> list[int | None]:
        """Bytes of each object, None where there is none; in the order of `paths`."""
        if self._known_at != self._written:
            self._known_at = self._written
            self._known.clear()
        found: dict[str, int | None] = {}
        left = self._unknown(sorted(set(paths)), found)
        if self._from_anywhere:
            left = await self._from_listings(left, found)
        folders = defaultdict(list)
        for path in left:
            folders[_partition(path)].append(path)
        for folder, wanted in folders.items():
            if len(wanted) > _FEW:
                await self._list_whole(folder)
        await self._ask_for_each(self._unknown(left, found), found)
        return [found[path] for path in paths]

    def _unknown(self, paths: Sequence[str], found: dict[str, int | None]) -> list[str]:
        """Answer what is remembered; returns the rest."""
        left = []
        for path in paths:
            folder = self._known.get(_partition(path))
            if folder is None:
                left.append(path)
            else:
                found[path] = folder.get(path)
        return left

    async def _from_listings(
        self, wanted: Sequence[str], found: dict[str, int | None]
    ) -> list[str]:
        """Answer what lies close together, in order; returns the rest.

        Not every store lists in the order of names. So what a listing does not tell is not taken
        for missing, but asked for again.
        """
        left: list[str] = []
        ahead = deque(wanted)
        while len(ahead) > _FEW:
            place = os.path.commonpath([ahead[0], ahead[-1]])
            behind = ahead[0][:-1]  # nothing of ours lies between
            page = await self._requests.make(self._first_page, place, behind)
            if not page:
                break
            last = max(page)
            told = 0
            while ahead and ahead[0] <= last:
                path = ahead.popleft()
                if path in page:
                    found[path] = page[path]
                    told += 1
                else:
                    left.append(path)
            if told <= _FEW:
                break
        return [*left, *ahead]

    def _first_page(self, place: str, behind: str) -> dict[str, int]:
        return next(self._listing(place, behind), {})

    async def _list_whole(self, folder: str) -> None:
        """Remember it, if it is not too large for that."""
        if folder in self._too_large:
            return

        def listed() -> dict[str, int] | None:
            objects: dict[str, int] = {}
            for page in self._listing(folder, None):
                objects |= page
                if len(objects) > _MOST:
                    return None
            return objects

        objects = await self._requests.make(listed)
        if objects is None:
            self._too_large.add(folder)
            return
        while self._known and sum(map(len, self._known.values())) + len(objects) > _MOST:
            del self._known[next(iter(self._known))]  # the one that was listed first
        self._known[folder] = objects

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
