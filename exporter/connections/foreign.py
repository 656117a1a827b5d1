"""An answer that does not look as most do: `aiohttp`'s own protocol takes the connection over.

Errors, bodies in chunks or without a length, and whatever else a server may say are read by the
same parser that a session of `aiohttp` would have. Its class for connections is not documented:
what is used of it is used here only, and has been the same in all of its third major version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from exporter.hidden import no_authorities

with no_authorities():
    import aiohttp
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    import asyncio

    from multidict import CIMultiDictProxy
    from yarl import URL

    from exporter.connections.timeouts import Timeouts

BUFFER_SIZE: Final = 256 * 1024  # more made no difference when measured

_INFORMATION, _SUCCESS, _SWITCH = 100, 200, 101


class Lender(Protocol):
    """A connection that another protocol reads for a while."""

    def take_back(self) -> None:
        """All of an answer has come."""

    def close(self) -> None:
        """It cannot be used any more."""


class ForeignAnswer:
    """One such answer; see `Answer`.

    Args:
        transport: gets another protocol.
        lender: whose it was.
        timeouts: of the request.
        loop: of events.

    Attributes:
        status, headers, content: once `begin` has returned.
    """

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader

    def __init__(
        self,
        transport: asyncio.Transport,
        lender: Lender,
        timeouts: Timeouts,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._lender = lender
        self._loop = loop
        self._is_begun = False
        self._is_over = False
        self._handler = ResponseHandler(loop)
        transport.set_protocol(self._handler)
        self._handler.connection_made(transport)
        self._handler.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeouts.read,
            read_bufsize=BUFFER_SIZE,
        )

    def feed(self, beginning: bytes) -> None:
        """What has come so far."""
        self._handler.data_received(beginning)

    async def begin(self, origin: URL) -> None:
        """Return when the head has come.

        Raises:
            aiohttp.ClientError: the connection broke, or what came is not HTTP.
            TimeoutError: nothing came in time.
        """
        try:
            message, self.content = await self._handler.read()
            while _INFORMATION <= message.code < _SUCCESS and message.code != _SWITCH:
                message, self.content = await self._handler.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientResponseError(
                aiohttp.RequestInfo(origin, "GET", error.headers, origin),  # type: ignore[arg-type]
                (),
                status=error.code,
                message=error.message,
            ) from None
        self.status = message.code
        self.headers = message.headers
        self._is_begun = True
        # Not at once: the other protocol is about to look at what follows, if anything does.
        self.content.on_eof(self._all_has_come)

    @property
    def content_length(self) -> int | None:
        """See `Answer`."""
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    @property
    def closed(self) -> bool:
        """See `Answer`."""
        return self._is_over

    def close(self) -> None:
        """See `Answer`."""
        if not self._is_over:
            if self._is_begun and self.content.is_eof():
                self._give_back()
            else:
                self._is_over = True
                self._lender.close()

    def fail(self, error: Exception) -> None:
        """Nothing more will come; what has come may still be read if it is all."""
        self._is_over = True
        self._handler.set_exception(error)
        if self._is_begun and not self.content.is_eof():
            self.content.set_exception(error)

    def _all_has_come(self) -> None:
        self._loop.call_soon(self._give_back)

    def _give_back(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        handler = self._handler
        if handler.should_close or not handler.is_connected():
            self._lender.close()
            return
        handler.transport = None  # whoever reads the rest of this answer does not touch the next
        if not self._transport.is_reading():
            self._transport.resume_reading()
        self._lender.take_back()
