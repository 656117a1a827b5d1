"""One connection: receives what looks usual itself, and leaves all else to `aiohttp`'s protocol."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from typing import TYPE_CHECKING, Final, cast

from exporter.connections.blocks import BLOCK_BYTES
from exporter.connections.exchange import Exchange
from exporter.connections.foreign import ForeignAnswer
from exporter.connections.head import usual_head
from exporter.hidden import no_authorities

with no_authorities():
    import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from exporter.connections.blocks import Blocks
    from exporter.connections.exchange import Answer
    from exporter.connections.timeouts import Timeouts
    from exporter.model import Piece

_LONG: Final = (
    128 * 1024
)  # bytes; shorter parts get memory of their own, which the heap has at hand


class Connection(asyncio.BufferedProtocol):
    """Serves one request at a time; ready for the first when it is connected.

    Args:
        origin: what it is connected to, for messages.
        timeouts: of each request.
        scratch: where beginnings of answers are received. It may serve all connections of an event
            loop: what is received is taken from it at once, before anything else is received.
        blocks: memory for the parts of long bodies; likewise.
        idle: called when the connection may serve another request.
        lost: called when it never will again.

    Attributes:
        idle_since: by the event loop's clock.
    """

    def __init__(
        self,
        origin: URL,
        timeouts: Timeouts,
        scratch: memoryview,
        blocks: Blocks,
        *,
        idle: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self._origin = origin
        self._timeouts = timeouts
        self._scratch = scratch
        self._blocks = blocks
        self._idle = idle
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None
        self._arrivals = select.poll()
        self._exchange: Exchange | None = None
        self._foreign: ForeignAnswer | None = None
        self._part: Piece = b""
        self._into = scratch  # where the next bytes go
        self._is_paused = False
        self._heard_at = -math.inf
        self._alarm: asyncio.TimerHandle | None = None
        self.idle_since = self._loop.time()

    async def ask(self, request: bytes, accept: str, deadline: float) -> Answer:
        """Send a request and return when the head of its answer has come.

        Raises:
            aiohttp.ClientError: the connection broke, or what came is not HTTP.
            TimeoutError: nothing came in time.
        """
        if self._transport is None:
            self.close()
            raise aiohttp.ServerDisconnectedError
        self._transport.write(request)
        exchange = self._exchange = Exchange(accept, deadline, self)
        self._heard_at = self._loop.time()
        if self._alarm is None:
            self._set_alarm()
        try:
            foreign = await exchange.head
            if foreign is None:
                return exchange
            await foreign.begin(self._origin)
        except BaseException:
            if self._exchange is exchange:  # if all came in time, it may serve another by now
                self.close()
            raise
        return foreign

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent, as far as is known.

        Not where bytes wait that nobody asked for, which would be taken for its answer; nor where
        the server has closed its end and the event loop has not seen it yet.
        """
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and not self._arrivals.poll(0)
            and (self._tls is None or _is_exhausted(self._tls))
        )

    def close(self, error: Exception | None = None) -> None:
        """At once: nothing is sent or received any more, and whoever waits is told."""
        exchange, foreign = self._exchange, self._foreign
        self._exchange = self._foreign = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            if foreign is not None and not self._transport.is_closing():
                # Or its protocol takes this for the end of a body, or a loss.
                self._transport.set_protocol(self)
            self._transport.abort()
            self._transport = None
        self._lost(self)
        if exchange is not None:
            error = error or aiohttp.ClientConnectionError("the connection was closed")
            exchange.fail(error)
            if foreign is not None:
                foreign.fail(error)

    def go_on(self) -> None:
        """See `Connected`."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    # For the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on requests can be sent."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object")
        self._arrivals.register(transport.get_extra_info("socket"), select.POLLIN)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where to receive."""
        return self._into

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._heard_at = self._loop.time()
        exchange = self._exchange
        if exchange is None:  # nobody asked
            self.close()
        elif self._into is self._scratch:
            self._begin(exchange, nbytes)
        else:
            exchange.missing -= nbytes
            self._into = self._into[nbytes:]
            if not self._into:
                self._pass_on(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        exchange = self._exchange
        self.close(None if exchange is None else _meaning(exc, exchange))

    def _begin(self, exchange: Exchange, received: int) -> None:
        beginning = self._scratch[:received]
        head = usual_head(beginning, exchange.accept.encode())
        if head is None:
            self._hand_over(exchange, bytes(beginning))
            return
        exchange.begin(head)
        body = beginning[head.size :]
        is_too_much = len(body) > head.content_length
        while exchange.missing:
            self._make_room(exchange)
            come = min(len(body), len(self._into))
            self._into[:come] = body[:come]
            body = body[come:]
            exchange.missing -= come
            self._into = self._into[come:]
            if self._into:
                return
            exchange.take(self._part)
        self._end(exchange, is_spent=is_too_much)

    def _pass_on(self, exchange: Exchange) -> None:
        exchange.take(self._part)
        if not exchange.missing:
            self._end(exchange)
            return
        self._make_room(exchange)
        if exchange.is_behind and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _make_room(self, exchange: Exchange) -> None:
        size = min(exchange.missing, BLOCK_BYTES)
        self._part = bytearray(size) if size < _LONG else self._blocks.take(size)
        self._into = memoryview(self._part)

    def _end(self, exchange: Exchange, *, is_spent: bool = False) -> None:
        """All has come: the next request may use the connection, unless more came than all."""
        self._part = b""
        self._into = self._scratch
        self._exchange = None
        exchange.end()
        if is_spent:
            self.close()
        else:
            self.idle_since = self._heard_at
            self._idle(self)

    # What looks unusual.

    def _hand_over(self, exchange: Exchange, beginning: bytes) -> None:
        transport = cast("asyncio.Transport", self._transport)
        self._foreign = ForeignAnswer(transport, self, self._timeouts, self._loop)
        self._foreign.feed(beginning)
        exchange.let(self._foreign)

    def take_back(self) -> None:
        """See `Lender`."""
        self._foreign = self._exchange = None
        if self._transport is not None:
            self._transport.set_protocol(self)
            self.idle_since = self._loop.time()
            self._idle(self)

    # Time.

    def _set_alarm(self) -> None:
        """One for many requests: to set it and take it back for each costs more than to look."""
        if self._exchange is None:
            return
        since = self._loop.time() if self._is_silence_ours else self._heard_at
        due = min(self._exchange.deadline, since + self._timeouts.read)
        self._alarm = self._loop.call_at(due, self._look)

    @property
    def _is_silence_ours(self) -> bool:
        """Whether it is not for the server to send; or another protocol takes the time."""
        return self._is_paused or self._foreign is not None

    def _look(self) -> None:
        self._alarm = None
        exchange, now = self._exchange, self._loop.time()
        if exchange is None:
            return
        if now >= exchange.deadline:
            self.close(TimeoutError("too long in all"))
        elif not self._is_silence_ours and now >= self._heard_at + self._timeouts.read:
            self.close(aiohttp.SocketTimeoutError("nothing came for too long"))
        else:
            self._set_alarm()


def _is_exhausted(tls: ssl.SSLObject) -> bool:
    """Whether nothing is left of what was received, which its socket does not tell."""
    try:
        tls.read(1)
    except ssl.SSLError as error:
        return isinstance(error, ssl.SSLWantReadError)
    return False


def _meaning(error: Exception | None, exchange: Exchange) -> Exception:
    """Why an answer will not come whole, in `aiohttp`'s terms."""
    if exchange.content_length:
        came = exchange.content_length - exchange.missing
        found = f"{came} of {exchange.content_length} bytes"
        return aiohttp.ClientPayloadError(f"{found}, {error}" if error else found)
    if isinstance(error, OSError):
        return aiohttp.ClientOSError(*error.args)
    return aiohttp.ServerDisconnectedError()
