"""The client against a sandbox, and what it sent."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pytest

from exporter.client import Client
from exporter.connections import Timeouts
from exporter.errors import FetchError
from exporter.model import Direction, Recording, Redaction, Surface
from exporter.sandbox import (
    AudioSettings,
    Key,
    World,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from pathlib import Path

KEY = "pk-live-0123456789abcdef"
WORLD = World(
    keys=(Key(name="full", secret=KEY),), audio=AudioSettings(seconds=(0.2, 0.5), pii_share=1.0)
)
RECORDING = Recording("acme", "shop", "CA1", Direction.COMBINED, Redaction.REDACTED)
WAV = WORLD.call("acme", "shop", "CA1").wav(redacted=True)
PATIENT = Timeouts(connect=30, read=30, total=60)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client_of(
    origin: str,
    *,
    surface: Surface = Surface.PLATFORM_V3,
    timeouts: Timeouts = PATIENT,
    ca_file: Path | None = None,
    never_raw: Callable[[str, str], bool] = lambda *_: False,
) -> Client:
    return Client(
        origin=origin, surface=surface, timeouts=timeouts, ca_file=ca_file, never_raw=never_raw
    )


@dataclass
class Heard:
    """A whole body and what came with it."""

    body: bytes
    content_length: int | None
    correlation_id: str | None


async def fetched(client: Client, recording: Recording = RECORDING, key: str = KEY) -> Heard:
    async with client.open(recording, key) as body:
        content = b"".join([chunk async for chunk in body.chunks()])
        return Heard(content, body.content_length, body.correlation_id)


async def fetch(origin: str, recording: Recording = RECORDING, **arguments: Any) -> Heard:
    key = arguments.pop("key", KEY)
    async with client_of(origin, **arguments) as client:
        return await fetched(client, recording, key)


async def failure(origin: str, recording: Recording = RECORDING, **arguments: Any) -> FetchError:
    """The error of a fetch, which never holds the key."""
    with pytest.raises(FetchError) as caught:
        await fetch(origin, recording, **arguments)
    return without_key(caught.value)


def without_key(error: FetchError) -> FetchError:
    told = f"{error} {error!r} {error.args} {error.__dict__} {error.__cause__!r}"
    assert KEY not in told
    assert error.__suppress_context__ or error.__context__ is None
    assert error.message.isprintable()
    assert len(error.message) < 500
    return error


class Raw:
    """A server that answers each request with given bytes, whatever they are."""

    def __init__(
        self, *answers: bytes, close: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self._answers = list(answers)
        self._close = close
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        self.connections = 0
        self.origin = ""

    async def __aenter__(self) -> Self:
        handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
        handler = self._serve
        self._server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while self._answers:
                    self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                    writer.write(self._answers.pop(0))
                    await writer.drain()
                if not self._close:
                    await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()
