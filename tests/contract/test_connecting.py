"""How kept connections come about: names, addresses, hand-shakes."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from exporter.errors import ErrorKind
from tests.clients import KEY, client_of, failure
from tests.lines import (
    STRICT,
    Clock,
    asked,
    body_of,
    error_of,
    served,
    server_tls,
    turns,
    usual,
)

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("no_proxies", "nothing_is_forgotten")


# Getting there.

Found = tuple[int, int, int, str, tuple[str, int]]


def address(port: int) -> Found:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))


class Names:
    """What the event loop is told of a name, and what it asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
        self.found = [address(port) for port in ports]
        self.asked: list[str] = []
        self.are_known = asyncio.Event()
        self.are_known.set()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._look_up)

    async def _look_up(self, host: str, _port: int, **_: object) -> list[Found]:
        self.asked.append(host)
        await self.are_known.wait()
        if not self.found:
            raise socket.gaierror(-2, "Name or service not known")
        return self.found


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_the_next_address(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    """A host of several addresses is reached where one answers, and each of them gets its share."""
    async with served() as one, served() as two, client_of("http://calls.example") as client:
        Names(monkeypatch, closed_port, one.port, two.port)
        for server in (one, one, two):
            task = asyncio.create_task(body_of(client))
            line = await server.line()
            assert (await line.request()).split(b"\r\n")[1] == b"Host: calls.example"
            await line.send(usual(b"RIFF", "Connection: close"))
            assert await task == b"RIFF"


async def test_no_address_answers(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    """Where nobody listens at any address, that is told."""
    Names(monkeypatch, closed_port, closed_port)
    assert (await failure("http://calls.example")).kind is ErrorKind.CONNECT


async def test_one_machine_of_several_is_broken(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    """Where TLS fails at one address it is tried at the next; the request is sent once."""
    async with served() as broken, served(server_tls(certificate)) as sound:
        Names(monkeypatch, broken.port, sound.port)
        async with client_of("https://localhost.", ca_file=certificate) as client:
            task = asyncio.create_task(body_of(client))
            line = await broken.line()
            await line.send(b"HTTP/1.1 400 Bad\r\n\r\n")
            assert KEY.encode() not in await line.reader.read()
            line = await sound.line()
            await line.request()
            await line.send(usual(b"RIFF"))
            assert await task == b"RIFF"


async def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Many who connect at once, or within ten seconds, ask for the addresses once."""
    answer = usual(b"RIFF", "Connection: close")
    async with served() as server, client_of("http://calls.example") as client:
        names = Names(monkeypatch, server.port)

        async def some(number: int) -> None:
            tasks = [asyncio.create_task(body_of(client)) for _ in range(number)]
            for _ in tasks:
                await (await server.line()).send(answer)
            assert await asyncio.gather(*tasks) == [b"RIFF"] * number

        names.are_known.clear()
        asyncio.get_running_loop().call_soon(names.are_known.set)
        await some(5)
        await clock.wait(9)
        await some(1)
        assert names.asked == ["calls.example"]
        await clock.wait(2)
        await some(2)
        assert names.asked == ["calls.example"] * 2


async def test_a_name_that_becomes_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a name was not known is told to all who asked, and not believed for ever."""
    names = Names(monkeypatch)
    async with served() as server, client_of("http://calls.example") as client:
        errors = await asyncio.gather(*(error_of(body_of(client)) for _ in range(3)))
        assert [error.kind for error in errors] == [ErrorKind.DNS] * 3
        assert len(names.asked) == 1
        names.found = [address(server.port)]
        line, task = await asked(server, client)
        await line.send(usual(b"RIFF"))
        assert await task == b"RIFF"


async def test_giving_up_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up while a name is looked up leaves the others to get it."""
    names = Names(monkeypatch)
    names.are_known.clear()
    async with served() as server, client_of("http://calls.example") as client:
        first, second = (asyncio.create_task(body_of(client)) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled()
        names.found = [address(server.port)]
        names.are_known.set()
        line = await server.line()
        await line.send(usual(b"RIFF"))
        assert await second == b"RIFF"
        # And if all give up, nobody complains that its error was not looked at.
        names.found = []
        names.are_known.clear()
        third = asyncio.create_task(body_of(client))
        await turns()
        third.cancel()
        names.are_known.set()


async def test_a_name_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """The time to connect includes that to find the host."""
    names = Names(monkeypatch)
    names.are_known.clear()
    async with client_of("http://calls.example", timeouts=STRICT) as client:
        task = asyncio.create_task(body_of(client))
        await turns()
        await clock.wait(9)
        assert not task.done()
        await clock.wait(2)
        error = await error_of(task)
    names.are_known.set()
    assert error.kind is ErrorKind.TIMEOUT
    assert "calls.example" in error.message


async def test_a_hand_shake_that_takes_too_long(certificate: Path, clock: Clock) -> None:
    """Nor may a server take for ever to say who it is; its connection is closed."""
    async with (
        served() as server,
        client_of(
            server.origin.replace("http:", "https:"), ca_file=certificate, timeouts=STRICT
        ) as client,
    ):
        task = asyncio.create_task(body_of(client))
        line = await server.line()
        await line.reader.readexactly(5)
        await clock.wait(9)
        assert not task.done()
        await clock.wait(2)
        assert (await error_of(task)).kind is ErrorKind.TIMEOUT
        await line.is_left()


@pytest.mark.parametrize("is_safe", [False, True])
async def test_giving_up_while_connecting(*, is_safe: bool, certificate: Path) -> None:
    """Who gives up before there is a connection leaves none behind."""
    async with (
        served() as server,
        client_of(
            server.origin.replace("http:", "https:") if is_safe else server.origin,
            ca_file=certificate,
        ) as client,
    ):
        for number in range(1, 12):
            task = asyncio.create_task(body_of(client))
            await turns(number)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await turns()
        assert client._connections is not None
        assert not client._connections._open
