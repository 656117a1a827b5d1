"""An archive with others inside its name space: each stands under a first part of its own.

As a file system mounts others: what begins with a mount's name belongs to the archive mounted
there, without that name; everything else to the main one. So nobody else has to know that raw
recordings lie in another archive; it may be another folder, another store, or have other modes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.model import Piece, mounted, split_mount
from exporter.sinks.base import HeldError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from exporter.sinks.base import Entry, Hold, Holder, Known, Sink, Staged, Upload

_OWN = ""  # the main archive's place among the mounts
_SHARED = "_exporter"  # the folder that every archive has for itself


class MountedSink:
    """A main archive and others; a run holds all of them.

    Args:
        main: what has no mount.
        mounts: the others, by the first part of their paths.
    """

    def __init__(self, main: Sink, mounts: Mapping[str, Sink]) -> None:
        self._sinks: dict[str, Sink] = {_OWN: main, **mounts}

    @property
    def mounts(self) -> Mapping[str, Sink]:
        """All archives, by the first part of their paths; the main one by an empty text."""
        return self._sinks

    @property
    def parts(self) -> list[Sink]:
        """All archives, the main one first."""
        return list(self._sinks.values())

    def at(self, mount: str) -> Sink:
        """The archive mounted there."""
        return self._sinks[mount]

    @property
    def url(self) -> str:
        """The main archive's."""
        return self._sinks[_OWN].url

    async def prepare(self) -> None:
        """All of them."""
        for sink in self.parts:
            await sink.prepare()

    async def free_bytes(self) -> int | None:
        """The least of all."""
        known = [await sink.free_bytes() for sink in self.parts]
        return min((count for count in known if count is not None), default=None)

    async def hold(self, holder: Holder) -> MountedHold:
        """All of them or none, the main one first."""
        held = MountedHold([])
        for sink in self.parts:
            try:
                held.holds.append(await sink.hold(holder))
            except BaseException as error:
                await held.release()
                if isinstance(error, HeldError):
                    error.url = sink.url
                raise
        return held

    async def holder(self) -> Holder | None:
        """Of the first that somebody holds."""
        for sink in self.parts:
            if (holder := await sink.holder()) is not None:
                return holder
        return None

    @property
    def commits_at_once(self) -> int:
        """The least of all."""
        return min(sink.commits_at_once for sink in self.parts)

    def stage(self, path: str, *parts: Piece) -> Coroutine[None, None, Staged]:
        """Where the path leads."""
        sink, own = self._route(path)
        return sink.stage(own, *parts)

    async def put(self, path: str, data: bytes) -> str:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.put(own, data)

    async def begin(self, path: str) -> Upload:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.begin(own)

    async def set_aside(self, path: str) -> str:
        """In the same archive."""
        sink, own = self._route(path)
        return mounted(split_mount(path)[0], await sink.set_aside(own))

    async def make_durable(self, paths: Iterable[str]) -> None:
        """In each archive that has some of them."""
        for mount, own in self._grouped(paths).items():
            await self._sinks[mount].make_durable(own)

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """One call for each archive; in the order of `paths`."""
        found = {
            mount: iter(await self._sinks[mount].sizes(own))
            for mount, own in self._grouped(paths).items()
        }
        return [next(found[split_mount(path)[0]]) for path in paths]

    async def replace(
        self, path: str, pieces: AsyncIterator[bytes], *, known: Known | None = None
    ) -> str:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.replace(own, pieces, known=known)

    async def checksum(self, path: str) -> str | None:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.checksum(own)

    async def tag(self, path: str) -> str | None:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.tag(own)

    async def document(self, path: str) -> tuple[str, AsyncIterator[bytes]]:
        """Where the path leads."""
        sink, own = self._route(path)
        return await sink.document(own)

    def read(self, path: str) -> AsyncIterator[bytes]:
        """Where the path leads."""
        sink, own = self._route(path)
        return sink.read(own)

    async def feed(self, path: str, into: Callable[[bytes], None]) -> None:
        """Where the path leads."""
        sink, own = self._route(path)
        await sink.feed(own, into)

    async def folders(self, path: str) -> list[str]:
        """Where the path leads; those of the main archive's top, and the mounts."""
        mount, own = split_mount(path)
        found = [mounted(mount, each) for each in await self._sinks[mount].folders(own)]
        if not path:
            found += [each for each in self._sinks if each != _OWN]
        return sorted(found)

    async def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        """Those of the main archive, then those of each mount."""
        mounts = self._sinks if not path else [split_mount(path)[0]]
        for mount in mounts:
            async for batch in self._sinks[mount].entries(split_mount(path)[1]):
                yield [replace(each, path=mounted(mount, each.path)) for each in batch]

    async def sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        """In all of them; the top folder and the program's own are looked at in each."""
        if folders is None:
            return sum([await sink.sweep(runs, None) for sink in self.parts])
        named = list(folders)
        shared = [each for each in named if each.partition("/")[0] in {"", _SHARED}]
        found = self._grouped(named)
        removed = 0
        for mount, sink in self._sinks.items():
            own = [*found.get(mount, ()), *(shared if mount != _OWN else ())]
            removed += await sink.sweep(runs, own)
        return removed

    def _route(self, path: str) -> tuple[Sink, str]:
        mount, own = split_mount(path)
        return self._sinks[mount], own

    def _grouped(self, paths: Iterable[str]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for path in paths:
            mount, own = split_mount(path)
            groups.setdefault(mount, []).append(own)
        return groups


class MountedHold:
    """Holds on several archives.

    Attributes:
        holds: in the order in which they were taken.
    """

    def __init__(self, holds: list[Hold]) -> None:
        self.holds = holds

    @property
    def taken_over_from(self) -> Holder | None:
        """The dead run that still seemed to hold one of them."""
        found = (hold.taken_over_from for hold in self.holds)
        return next((holder for holder in found if holder is not None), None)

    @property
    def locks(self) -> Sequence[int]:
        """Of all."""
        return [lock for hold in self.holds for lock in hold.locks]

    async def beat(self) -> None:
        """On all of them."""
        for hold in self.holds:
            await hold.beat()

    async def release(self) -> None:
        """All of them, the main one last: who waits for it finds all of them free."""
        for hold in reversed(self.holds):
            await hold.release()


def parts_of(sink: Sink) -> list[Sink]:
    """The archives that a sink consists of."""
    return sink.parts if isinstance(sink, MountedSink) else [sink]


def shown(sink: Sink, path: str) -> str:
    """A path in words for people: what lies in a mounted archive is told with its address."""
    mount, own = split_mount(path)
    if not mount or not isinstance(sink, MountedSink):
        return path
    return f"{sink.at(mount).url}/{own}"
