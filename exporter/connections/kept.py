"""The connections that are kept between requests."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs
from msgspec import Struct

from exporter.connections.addresses import Addresses
from exporter.connections.blocks import Blocks
from exporter.connections.connection import Connection
from exporter.hidden import no_authorities

with no_authorities():
    import aiohttp

if TYPE_CHECKING:
    import socket

    from yarl import URL

    from exporter.connections.exchange import Answer
    from exporter.connections.timeouts import Timeouts

_SCRATCH_BYTES: Final = 256 * 1024
_KEPT_SECONDS: Final = 15.0  # as aiohttp does; servers close what is idle for long
_NEXT_ADDRESS: Final = 0.25  # seconds until the next of a host's addresses is tried beside the last


class _Place(Struct, frozen=True):
    """What messages of `aiohttp` tell of a connection that could not be made."""

    host: str
    port: int
    is_ssl: bool

    @property
    def ssl(self) -> bool:
        """Likewise."""
        return self.is_ssl


class Connections:
    """To one origin; of one event loop. There are as many as there are requests at once.

    Args:
        origin: scheme, host and port.
        tls: how to know the server; None where the scheme is `http`.
        timeouts: of each request.
    """

    def __init__(self, origin: URL, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self._origin = origin
        host = (origin.raw_host or "").rstrip(".")  # certificates have no dot at the end
        self._place = _Place(host, origin.port or 0, origin.scheme == "https")
        self._addresses = Addresses(self._place.host, self._place.port)
        self._tls = tls if self._place.is_ssl else None
        self._timeouts = timeouts
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._blocks = Blocks()
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()  # the one that was used last is used first

    async def ask(self, request: bytes, accept: str) -> Answer:
        """Send a request and return when the head of its answer has come; nothing is repeated.

        Args:
            request: all of it.
            accept: the media type that it asks for.

        Raises:
            aiohttp.ClientError: there is no connection, it broke, or what came is not HTTP.
            OSError: likewise; `TimeoutError`: nothing came in time.
        """
        deadline = asyncio.get_running_loop().time() + self._timeouts.total
        connection = self._kept() or await self._connected(deadline)
        return await connection.ask(request, accept, deadline)

    async def close(self) -> None:
        """Close all."""
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # by then their sockets are closed, too

    def _kept(self) -> Connection | None:
        too_old = asyncio.get_running_loop().time() - _KEPT_SECONDS
        while self._idle and self._idle[0].idle_since <= too_old:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connected(self, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._timeouts.connect)):
                return await self._connect(await self._found())
        except TimeoutError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            raise aiohttp.ConnectionTimeoutError(
                f"Connection timeout to host {self._origin}"
            ) from None

    async def _found(self) -> list[aiohappyeyeballs.AddrInfoType]:
        try:
            return await self._addresses.all()
        except OSError as error:
            raise aiohttp.ClientConnectorDNSError(self._place, error) from None  # type: ignore[arg-type]

    async def _connect(self, addresses: list[aiohappyeyeballs.AddrInfoType]) -> Connection:
        while True:
            reached = await self._reached(addresses)
            try:
                return await self._begin(reached)
            except aiohttp.ClientConnectorError:  # only this machine of theirs may be broken
                aiohappyeyeballs.pop_addr_infos_interleave(addresses, 1)
                if not addresses:
                    raise

    async def _reached(self, addresses: list[aiohappyeyeballs.AddrInfoType]) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1
            )
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise
            raise aiohttp.ClientConnectorError(self._place, error) from None  # type: ignore[arg-type]

    async def _begin(self, reached: socket.socket) -> Connection:
        new = partial(
            Connection,
            self._origin,
            self._timeouts,
            self._scratch,
            self._blocks,
            idle=self._idle.append,
            lost=self._open.discard,
        )
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                new,
                sock=reached,
                ssl=self._tls,
                server_hostname=self._place.host if self._tls is not None else None,
            )
        except ssl.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(self._place, error) from None  # type: ignore[arg-type]
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(self._place, error) from None
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise
            raise aiohttp.ClientConnectorError(self._place, error) from None  # type: ignore[arg-type]
        self._open.add(connection)
        return connection
