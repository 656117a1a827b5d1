"""One request and what is answered to it, apart from the connection that both go over.

The connection may serve the next request while the last bytes of this answer wait to be taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from exporter.connections.head import CORRELATION_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.connections.foreign import ForeignAnswer
    from exporter.connections.head import UsualHead
    from exporter.model import Piece

_MOST_WAITING: Final = 1  # parts that are full and not taken; then nothing more is received


class Content(Protocol):
    """The bytes of an answer, as `aiohttp.StreamReader` hands them out."""

    def at_eof(self) -> bool:
        """Whether nothing more will come."""

    async def read(self, n: int = -1, /) -> Piece:
        """So many bytes, or fewer; none at the end."""

    async def readany(self) -> Piece:
        """What has come; nothing at the end."""

    async def readchunk(self) -> tuple[Piece, bool]:
        """The next part as it came, and whether it ends an HTTP chunk; an empty one at the end."""


class Answer(Protocol):
    """What is needed of an answer; `aiohttp.ClientResponse` has more."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, as HTTP's own documents spell it."""

    @property
    def content_length(self) -> int | None:
        """Bytes promised, None where nothing was."""

    @property
    def content(self) -> Content:
        """The body."""

    @property
    def closed(self) -> bool:
        """Whether its connection was given back or closed."""

    def close(self) -> None:
        """Close its connection, unless all has come."""


class Exchange:
    """A request, and its answer if that looks as most do; also its own `Answer` and `Content`.

    Args:
        accept: the media type that is asked for.
        deadline: when all must have come, by the event loop's clock.
        connection: resumed when there is room for more, and closed by `close`.

    Attributes:
        accept, deadline: as above.
        head: done when the answer's head has come; gets whoever reads the answer instead, if its
            head does not look as most do.
        missing: bytes of the body that have not come.
    """

    status: Final = HTTPStatus.OK

    __slots__ = (
        "_connection",
        "_error",
        "_parts",
        "_waiter",
        "accept",
        "content_length",
        "deadline",
        "head",
        "headers",
        "missing",
    )

    def __init__(self, accept: str, deadline: float, connection: Connected) -> None:
        self.accept = accept
        self.deadline = deadline
        self.head: asyncio.Future[ForeignAnswer | None]
        self.head = asyncio.get_running_loop().create_future()
        self.headers: dict[str, str] = {}
        self.content_length = 0
        self.missing = 0
        self._connection: Connected | None = connection
        self._parts: deque[Piece] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    # For the connection.

    def begin(self, head: UsualHead) -> None:
        """The head has come."""
        self.missing = self.content_length = head.content_length
        self.headers = {"Content-Type": self.accept}
        if head.correlation_id is not None:
            self.headers[CORRELATION_HEADER] = head.correlation_id
        self.let(None)

    def let(self, reader: ForeignAnswer | None) -> None:
        """The head has come, or another reads it, and the rest."""
        if not self.head.done():
            self.head.set_result(reader)

    def take(self, part: Piece) -> None:
        """A part of the body has come; the last one, where nothing is missing."""
        self._parts.append(part)
        self._wake()

    def end(self) -> None:
        """The connection is not this exchange's any more."""
        self._connection = None
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self._connection = None
        self._error = error
        if not self.head.done():
            self.head.set_exception(error)
        self._wake()

    @property
    def is_behind(self) -> bool:
        """Whether enough waits to be taken."""
        return len(self._parts) >= _MOST_WAITING

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # For whoever reads.

    @property
    def content(self) -> Content:
        """Itself."""
        return self

    def at_eof(self) -> bool:
        """Whether nothing more will come."""
        return not self._parts and not self.missing

    async def readchunk(self) -> tuple[Piece, bool]:
        """See `Content`.

        Raises:
            Exception: what ended the connection too early.
        """
        while not self._parts:
            if not self.missing:
                return b"", False
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        part = self._parts.popleft()
        if self._connection is not None:
            self._connection.go_on()
        return part, False

    async def readany(self) -> Piece:
        """See `Content`; the next part."""
        part, _ = await self.readchunk()
        return part

    async def read(self, _n: int = -1, /) -> Piece:
        """See `Content`; the next part."""
        return await self.readany()

    @property
    def closed(self) -> bool:
        """See `Answer`."""
        return self._connection is None

    def close(self) -> None:
        """See `Answer`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Connected(Protocol):
    """A connection, as an exchange knows it."""

    def go_on(self) -> None:
        """There is room for more."""

    def close(self) -> None:
        """It cannot be used any more."""
