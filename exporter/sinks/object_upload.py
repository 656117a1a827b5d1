"""A recording on its way into an object store.

Up to `LARGE` it waits in memory and goes in one request, under the condition that nothing has its
name. What is longer goes in parts as it comes. The store shows nothing of them before they are put
together, which is asked for only once the whole recording was found to be sound. `obstore` cannot
make that depend on the name being free: it is looked at just before, and the run's hold on the
archive keeps other runs away in between.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final

import obstore

from exporter.errors import DestinationError
from exporter.sinks.base import AlreadyExistsError
from exporter.sinks.store_errors import FOREIGN, translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from obstore import Attributes, WritableFile

    from exporter.model import Piece
    from exporter.sinks.requests import Requests
    from exporter.sinks.room import Room
    from exporter.sinks.store_client import Store

LARGE: Final = 32 * 1024 * 1024
PART: Final = 8 * 1024 * 1024  # S3 takes 10,000 of them
_PARTS_AT_ONCE: Final = 3


class _AbortedError(Exception):
    """Tells `obstore` why its writer is left."""


class PartsWriter:
    """An object that is sent in parts; blocks, for any thread.

    Args:
        store: where to.
        path: of the object.
        name: of the object, for messages.
        attributes: of the object.
        tags: of the object.
    """

    def __init__(
        self, store: Store, path: str, name: str, attributes: Attributes, tags: dict[str, str]
    ) -> None:
        self._name = name
        self._is_open = True
        self._writer: WritableFile = obstore.open_writer(
            store,
            path,
            attributes=attributes,
            tags=tags or None,
            buffer_size=PART,
            max_concurrency=_PARTS_AT_ONCE,
        )

    def write(self, data: bytes) -> None:
        """Send more; waits while enough parts are under way."""
        with translated(self._name):
            self._writer.write(data)

    def finish(self) -> None:
        """Let the store put the parts together."""
        self._is_open = False
        with translated(self._name):
            self._writer.close()

    def abort(self) -> None:
        """Let the store forget the parts. Never raises; harmless after `finish`."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(*FOREIGN):
                self._writer.__exit__(_AbortedError, None, None)


class StagedObject:
    """A small recording, which goes in one request.

    Args:
        data: all of it.
        put: sends it; returns its digest.
    """

    def __init__(self, data: bytes, put: Callable[[], Awaitable[str]]) -> None:
        self._data = data
        self._put = put
        self._sha256 = ""

    async def commit(self) -> None:
        """One conditional request."""
        self._sha256 = await self._put()

    async def abort(self) -> None:
        """Nothing of it was to be seen."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest, which is made with the request."""
        if not self._sha256:
            self._sha256 = hashlib.sha256(self._data).hexdigest()
        return self._sha256


class ObjectUpload:
    """A recording that arrives in pieces.

    Args:
        requests: makes them.
        room: for what waits in memory.
        create: writes it in one request, in any thread: pieces and digest.
        open_parts: begins to send it in parts.
        check_free: raises if something has its name.
    """

    def __init__(
        self,
        requests: Requests,
        room: Room,
        *,
        create: Callable[[list[bytes], str], None],
        open_parts: Callable[[], PartsWriter],
        check_free: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._room = room
        self._create = create
        self._open_parts = open_parts
        self._check_free = check_free
        self._digest = hashlib.sha256()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._parts: PartsWriter | None = None

    async def write(self, *parts: Piece) -> None:
        """Hash, and keep or send, in one thread hop.

        Waits while other recordings fill the memory that all may take.
        """
        is_kept = self._parts is None
        if is_kept:
            await self._room.take(self, sum(map(len, parts)))
        data = b"".join(parts)
        del parts
        await self._requests.make(self._write, data)
        if is_kept and self._parts is not None:
            self._room.keep(self, _PARTS_AT_ONCE * PART)

    async def commit(self) -> None:
        """One conditional request, or the parts are put together."""
        try:
            await self._requests.publish(self._commit)
        finally:
            self._room.leave(self)

    async def abort(self) -> None:
        """Forget it; nothing of it was to be seen."""
        self._waiting.clear()
        try:
            if self._parts is not None:
                await self._requests.make(self._parts.abort)
        finally:
            self._room.leave(self)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._waiting.append(data)
        if self._size > LARGE:
            if self._parts is None:
                self._parts = self._open_parts()
            while self._waiting:  # each piece is let go as it leaves
                self._parts.write(self._waiting.popleft())

    def _commit(self) -> None:
        if self._parts is None:
            self._create(list(self._waiting), self.sha256)
        else:
            self._check_free()
            self._finish(self._parts)
        self._waiting.clear()

    def _finish(self, parts: PartsWriter) -> None:
        try:
            parts.finish()
        except DestinationError:
            if not self._has_arrived():
                raise

    def _has_arrived(self) -> bool:
        """The store may have done it all the same, and only its answer got lost."""
        try:
            self._check_free()
        except AlreadyExistsError as error:
            return error.sha256 == self.sha256
        return False
