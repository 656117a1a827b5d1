"""Servers whose every byte, and the moment when it comes, a test decides; and time that passes."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import subprocess
from contextlib import asynccontextmanager, suppress
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from exporter.connections import Timeouts
from exporter.errors import FetchError
from tests.clients import RECORDING, client_of, fetched, without_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from exporter.client import Client


async def turns(number: int = 20) -> None:
    """Let everybody do what they can; on loopback what was sent has come by then."""
    for _ in range(number):
        await asyncio.sleep(0)


class Line:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, *pieces: bytes) -> None:
        """Each comes before the next is sent."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await turns()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Not an end, but a failure."""
        on_the_wire = self.writer.get_extra_info("socket")
        on_the_wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def is_left(self) -> bool:
        """Return when the client has closed it."""
        with suppress(ConnectionError):
            return await self.reader.read() == b""
        return True


class Served:
    """What listens."""

    def __init__(self, port: int, scheme: str, lines: asyncio.Queue[Line]) -> None:
        self.origin = f"{scheme}://127.0.0.1:{port}"
        self.port = port
        self._lines = lines
        self.lines: list[Line] = []

    async def line(self) -> Line:
        """The next connection."""
        line = await self._lines.get()
        self.lines.append(line)
        return line

    @property
    def is_alone(self) -> bool:
        """Whether there were no more connections than those that the test knows."""
        return self._lines.empty()


@asynccontextmanager
async def served(tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Somebody who listens, and says what the test says."""
    lines: asyncio.Queue[Line] = asyncio.Queue()
    everyone: list[Line] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everyone.append(Line(reader, writer))
        lines.put_nowait(everyone[-1])

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Served(port, "https" if tls else "http", lines)
    finally:
        server.close()
        for line in everyone:
            line.writer.transport.abort()
        await turns()


class Clock:
    """The event loop's; time passes when a test says so, and nobody has to wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._real = loop.time
        self._ahead = 0.0
        monkeypatch.setattr(loop, "time", lambda: self._real() + self._ahead)

    async def wait(self, seconds: float) -> None:
        self._ahead += seconds
        await turns()


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for this machine, with its key, in one file."""
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "made.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text(made.read_text() + (folder / "key.pem").read_text())
    return both


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


# Answers, and who asks for them.

STRICT = Timeouts(connect=10, read=30, total=1000)
LONG = bytes(range(256)) * 1200  # more than is received at once


@pytest.fixture
async def nothing_is_forgotten() -> AsyncIterator[None]:
    """No exception is left that nobody looked at, and no transport that nobody closed."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    yield
    await turns()
    gc.collect()
    assert complaints == []


def usual(body: bytes, *lines: str) -> bytes:
    fields = "".join(f"{line}\r\n" for line in lines)
    told = f"Content-Type: audio/wav\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return f"HTTP/1.1 200 OK\r\n{told}".encode() + body


def foreign(body: bytes) -> bytes:
    """Of the type that was asked for, and a length; but not told as most do."""
    return usual(body, "Content-Encoding: identity")


def chunked(body: bytes, chunk: int = 1000) -> bytes:
    pieces = [body[begin : begin + chunk] for begin in range(0, len(body), chunk)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [*pieces, b""])


FORMS = pytest.mark.parametrize("form", [usual, foreign, chunked])


@asynccontextmanager
async def asking(tls: Path | None = None, **arguments: Any) -> AsyncIterator[tuple[Served, Client]]:
    """A server, and a client that trusts it."""
    async with (
        served(server_tls(tls) if tls else None) as server,
        client_of(server.origin, ca_file=tls, **arguments) as client,
    ):
        yield server, client


async def body_of(client: Client, conversation: str = "CA1") -> bytes:
    heard = await fetched(client, replace(RECORDING, conversation_id=conversation))
    return heard.body


async def error_of(asked: Awaitable[object]) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await asked
    return without_key(caught.value)


async def asked(server: Served, client: Client) -> tuple[Line, asyncio.Task[bytes]]:
    """A request that has come, over the next connection, and whoever waits for its answer."""
    task = asyncio.create_task(body_of(client))
    line = await server.line()
    await line.request()
    return line, task


async def answer_next(server: Served, answer: bytes) -> None:
    line = await server.line()
    await line.request()
    await line.send(answer)


async def until_idle(client: Client, task: asyncio.Task[bytes]) -> None:
    """Return when a connection can be used again, not a moment later; or its request has failed."""
    connections = client._connections
    assert connections is not None
    while not connections._idle and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def get(client: Client, line: Line, *answer: bytes) -> bytes:
    """One more recording over a connection that is kept."""
    task = asyncio.create_task(body_of(client))
    await line.request()
    await line.send(*answer)
    return await task
