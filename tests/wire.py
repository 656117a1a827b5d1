"""A sandbox asked over a plain socket, without any HTTP library."""

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from exporter.sandbox import (
    AudioSettings,
    World,
)

WORLD = World(audio=AudioSettings(seconds=(0.2, 2.0), pii_share=1.0))
PATH = "/v3/ws-1/P/conversations/CA1/audio"
WAV = WORLD.call("ws-1", "P", "CA1").wav()


class Server(Protocol):
    """Whatever listens."""

    @property
    def base_url(self) -> str: ...


class ManualClock:
    """Sleeping takes no time, and is remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def time(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 100.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Received:
    """What came over the wire until the connection ended."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool

    @property
    def envelope(self) -> dict[str, object]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


async def start(
    server: Server, path: str = PATH, *, key: str = "sandbox-key", method: str = "GET"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request and do not wait for the answer."""
    host, port = server.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", "Accept: audio/wav"]
    if key:
        head.append(f"x-api-key: {key}")
    writer.write("\r\n".join([*head, "", ""]).encode())
    return reader, writer


async def ask(
    server: Server, path: str = PATH, *, key: str = "sandbox-key", method: str = "GET"
) -> Received:
    """Send a request and read until the connection ends, one way or the other."""
    reader, writer = await start(server, path, key=key, method=method)
    heard = b""
    broken = False
    with closing(writer):
        try:
            while piece := await reader.read(65536):
                heard += piece
        except ConnectionResetError:
            broken = True
    head, _, body = heard.partition(b"\r\n\r\n")
    if not head:
        return Received(0, {}, b"", broken)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Received(int(first.split()[1]), headers, body, broken)


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether its end was marked."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return content, True
        content, body = content + body[:length], body[length + 2 :]
    return content, False
