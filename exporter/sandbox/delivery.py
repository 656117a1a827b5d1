"""Sending an answer, properly or not.

A delivery is a list of steps: send the head, send so many bytes, wait, hang up. What a fault does
on the wire can be read off its steps; this module is the only one that touches a connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from exporter.sandbox.answers import PHRASES
from exporter.sandbox.world import Framing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.abc import AbstractStreamWriter

    from exporter.sandbox.answers import Answer
    from exporter.sandbox.clock import Clock

_PIECE: Final = 256 * 1024
# Linger for no time at all: closing sends RST and throws away what is not sent yet.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class SendHead:
    """Send the status line and headers."""

    framing: Framing = Framing.LENGTH


@dataclass(frozen=True, slots=True)
class SendBody:
    """Send the next bytes of the body; None: all that is left."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing for so many seconds; None: until the client leaves or the sandbox closes."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """End the body as it should end."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection as if all had been said (FIN)."""


@dataclass(frozen=True, slots=True)
class ResetConnection:
    """Break the connection (RST)."""


Step = SendHead | SendBody | Wait | Finish | HangUp | ResetConnection


class _SpentResponse(web.StreamResponse):
    """Tells aiohttp that nothing is left to be sent: it was all written to the connection."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
        return


def spent() -> web.StreamResponse:
    """What a handler returns when the connection has had its answer, or has gone."""
    return _SpentResponse()


async def send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send an answer as a good server does; the connection stays open for the next request."""
    if answer.framing is Framing.CLOSE:
        steps = (SendHead(Framing.CLOSE), SendBody(), Finish())
        return await perform(request, answer, steps, clock=None)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.framing is Framing.CHUNKED:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(answer.body)
    await response.prepare(request)
    body = memoryview(answer.body)
    # In pieces, so that a slow reader holds a piece of it in the socket's buffer and not all.
    for start in range(0, len(body), _PIECE):
        await response.write(body[start : start + _PIECE])
    await response.write_eof()
    return response


async def perform(
    request: web.BaseRequest, answer: Answer, steps: Iterable[Step], *, clock: Clock | None
) -> web.StreamResponse:
    """Send an answer step by step; the connection ends with it."""
    transport = request.transport
    if transport is None:
        return spent()
    # No buffer of our own: when a write returns, the bytes are with the operating system.
    transport.set_write_buffer_limits(high=0)
    body = memoryview(answer.body)
    framing = answer.framing
    for step in steps:
        match step:
            case SendHead(framing):
                transport.write(_head(answer, framing))
            case SendBody(count):
                piece = body if count is None else body[:count]
                body = body[len(piece) :]
                await _send_body(request, transport, piece, framing)
            case Wait(seconds):
                await _wait(seconds, clock)
            case Finish():
                if framing is Framing.CHUNKED:
                    transport.write(b"0\r\n\r\n")
                transport.close()
            case HangUp():
                transport.close()
            case ResetConnection():
                reset(transport)
    return spent()


def reset(transport: asyncio.Transport) -> None:
    """Break a connection so that the other side notices at once."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def _send_body(
    request: web.BaseRequest, transport: asyncio.Transport, body: memoryview, framing: Framing
) -> None:
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        if framing is Framing.CHUNKED:
            transport.write(b"%x\r\n" % len(piece))
            transport.write(piece)
            transport.write(b"\r\n")
        else:
            transport.write(piece)
        await request.writer.drain()


async def _wait(seconds: float | None, clock: Clock | None) -> None:
    if seconds is None or clock is None:
        # Nobody ever sets this: only cancellation ends the wait.
        await asyncio.get_running_loop().create_future()
    else:
        await clock.sleep(seconds)


def _head(answer: Answer, framing: Framing) -> bytes:
    lines = [f"HTTP/1.1 {answer.status:d} {PHRASES.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if framing is Framing.LENGTH:
        lines.append(f"Content-Length: {len(answer.body)}")
    elif framing is Framing.CHUNKED:
        lines.append("Transfer-Encoding: chunked")
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")
