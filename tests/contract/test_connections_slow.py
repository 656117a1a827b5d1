"""Kept connections where servers or readers are slow, or give up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.connections import Timeouts
from exporter.errors import ErrorKind
from tests.clients import KEY, RECORDING, client_of
from tests.lines import (
    FORMS,
    LONG,
    STRICT,
    Clock,
    Line,
    Served,
    asked,
    asking,
    body_of,
    chunked,
    error_of,
    foreign,
    get,
    served,
    turns,
    until_idle,
    usual,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.answers import Body
    from exporter.client import Client

pytestmark = pytest.mark.usefixtures("no_proxies", "nothing_is_forgotten")


# Readers that are slow.


async def pump(line: Line, data: bytes) -> None:
    for begin in range(0, len(data), 2**18):
        line.writer.write(data[begin : begin + 2**18])
        await line.writer.drain()


async def stalls(task: asyncio.Task[None]) -> bool:
    await turns(3000)
    return not task.done()


def in_memory(client: Client) -> int:
    """Bytes of bodies that the client keeps, for whoever reads them."""
    assert client._connections is not None
    return sum(
        len(connection._part) + sum(map(len, connection._exchange._parts))
        for connection in client._connections._open
        if connection._exchange is not None
    )


@asynccontextmanager
async def opened(
    server: Served, client: Client, beginning: bytes
) -> AsyncIterator[tuple[Line, Body]]:
    """An answer whose head was read, and its body not."""
    context = client.open(RECORDING, KEY)
    entering = asyncio.create_task(context.__aenter__())
    line = await server.line()
    await line.request()
    await line.send(beginning)
    body = await entering
    try:
        yield line, body
    finally:
        await context.__aexit__(None, None, None)


async def rest_of(body: Body) -> bytes:
    return b"".join([bytes(chunk) async for chunk in body.chunks()])


@pytest.mark.parametrize("form", [usual, foreign])
@pytest.mark.parametrize("is_safe", [False, True])
async def test_a_reader_that_does_not_read(
    *, form: Callable[[bytes], bytes], is_safe: bool, certificate: Path
) -> None:
    """Who does not read makes the server wait instead of filling the memory, and gets all then."""
    content = LONG * 100
    answer = form(content)
    async with (
        asking(certificate if is_safe else None) as (server, client),
        opened(server, client, answer[:5000]) as (line, body),
    ):
        sending = asyncio.create_task(pump(line, answer[5000:]))
        assert await stalls(sending)
        assert in_memory(client) <= 2 * 2**20
        assert await rest_of(body) == content
        await sending
        assert await get(client, line, usual(b"next")) == b"next"


@FORMS
async def test_parts_that_wait_while_the_connection_serves_another(
    form: Callable[[bytes], bytes],
) -> None:
    """The last parts of an answer stay its own when the connection has begun the next."""
    async with asking() as (server, client), opened(server, client, form(LONG)) as (line, body):
        await turns()
        for number in (b"one", b"two"):
            assert await get(client, line, usual(number * 1000)) == number * 1000
        assert await rest_of(body) == LONG


async def test_parts_that_wait_when_the_connection_is_closed() -> None:
    """What has come whole can be read after its connection was closed, as the server wished."""
    answer = usual(LONG, "Connection: close")
    async with asking() as (server, client), opened(server, client, answer) as (line, body):
        assert await line.is_left()
        assert await rest_of(body) == LONG


async def test_leaving_early() -> None:
    """Who leaves in the middle closes the connection; what was under way over it is nobody's."""
    answer = usual(LONG)
    async with asking() as (server, client):
        async with opened(server, client, answer[:-1]) as (line, _):
            pass
        assert await line.is_left()
        line, task = await asked(server, client)
        await line.send(usual(b"next"))
        assert await task == b"next"


# Time.

HURRIED = Timeouts(connect=10, read=1000, total=30)
BEGINNINGS = [b"", usual(b"RIFF")[:30], usual(b"RIFF")[:-2], chunked(b"RIFF")[:-6]]


@pytest.mark.parametrize("timeouts", [STRICT, HURRIED])
@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_silence(beginning: bytes, timeouts: Timeouts, clock: Clock) -> None:
    """A server that falls silent anywhere is left after the time that was set, not before."""
    async with asking(timeouts=timeouts) as (server, client):
        line, task = await asked(server, client)
        await line.send(beginning)
        await clock.wait(29)
        assert not task.done()
        await clock.wait(2)
        assert (await error_of(task)).kind is ErrorKind.TIMEOUT
        assert await line.is_left()


@pytest.mark.parametrize("form", [usual, foreign, chunked])
async def test_every_byte_is_a_sign_of_life(form: Callable[[bytes], bytes], clock: Clock) -> None:
    """A slow server has the time anew with every byte, until the time for all is over."""
    answer = form(bytes(100))
    head = answer.index(b"\r\n\r\n") + 4
    async with asking(timeouts=STRICT) as (server, client):
        line, task = await asked(server, client)
        await line.send(answer[: head + 10])
        for byte in answer[head + 10 : head + 45]:
            await clock.wait(28)
            assert not task.done()
            await line.send(bytes((byte,)))
        await clock.wait(25)
        assert (await error_of(task)).kind is ErrorKind.TIMEOUT


@pytest.mark.parametrize("form", [usual, foreign])
async def test_our_own_silence(form: Callable[[bytes], bytes], clock: Clock) -> None:
    """While we do not read, the server cannot send, and is not blamed; afterwards it is."""
    content = LONG * 100
    answer = form(content)
    async with (
        asking(timeouts=STRICT) as (server, client),
        opened(server, client, answer[:5000]) as (line, body),
    ):
        sending = asyncio.create_task(pump(line, answer[5000:-1]))
        assert await stalls(sending)
        for _ in range(10):
            await clock.wait(40)
        reading = asyncio.create_task(rest_of(body))
        await sending
        await turns(3000)  # until all that was sent has been read
        await clock.wait(29)
        assert not reading.done()
        await clock.wait(2)
        assert (await error_of(reading)).kind is ErrorKind.TIMEOUT


async def test_silence_after_our_own(clock: Clock) -> None:
    """When we read on, the server has all its time to send the next byte."""
    answer = usual(LONG * 100)
    part = answer.index(b"\r\n\r\n") + 4 + 2**20
    async with (
        asking(timeouts=STRICT) as (server, client),
        opened(server, client, answer[:part]) as (_, body),
    ):
        await turns(200)
        for seconds in (40, 40, 20):
            await clock.wait(seconds)
        reading = asyncio.create_task(rest_of(body))
        await turns()
        await clock.wait(25)
        assert not reading.done()
        await clock.wait(6)
        assert (await error_of(reading)).kind is ErrorKind.TIMEOUT


@pytest.mark.parametrize("form", [usual, foreign])
async def test_our_own_silence_counts_in_all(form: Callable[[bytes], bytes], clock: Clock) -> None:
    """The time for all passes whoever is slow."""
    answer = form(LONG * 100)
    async with (
        asking(timeouts=STRICT) as (server, client),
        opened(server, client, answer[:5000]) as (line, body),
    ):
        sending = asyncio.create_task(pump(line, answer[5000:]))
        assert await stalls(sending)
        await clock.wait(1001)
        assert (await error_of(rest_of(body))).kind is ErrorKind.TIMEOUT
        sending.cancel()


async def test_each_request_has_its_own_time(clock: Clock) -> None:
    """On a kept connection the clock starts anew with every request."""
    async with asking(timeouts=STRICT) as (server, client):
        line, task = await asked(server, client)
        for _ in range(200):
            await clock.wait(6)
            await line.send(usual(b"RIFF"))
            await task
            task = asyncio.create_task(body_of(client))
            await line.request()
        await clock.wait(29)
        assert not task.done()
        await clock.wait(2)
        assert (await error_of(task)).kind is ErrorKind.TIMEOUT


# Requests that are given up.


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_cancelling(beginning: bytes) -> None:
    """A request that is given up closes its connection, and the next one gets its own answer."""
    async with asking() as (server, client):
        line, task = await asked(server, client)
        await line.send(beginning)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await line.is_left()
        line, task = await asked(server, client)
        await line.send(usual(b"next"))
        assert await task == b"next"


async def test_cancelling_when_all_has_come() -> None:
    """Who gives up just when its answer has come does not take the connection from the next."""
    async with asking() as (server, client):
        line, first = await asked(server, client)
        line.writer.write(usual(b"first"))
        await until_idle(client, first)
        assert not first.done()
        first.cancel()
        answering = asyncio.create_task(line.request())
        answering.add_done_callback(lambda _: line.writer.write(usual(b"second")))
        async with asyncio.timeout(10):
            assert await body_of(client) == b"second"
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_the_end_of_a_client() -> None:
    """Whoever still waits when the client closes is told, wherever it is."""
    async with served() as server:
        async with client_of(server.origin) as client:
            waiting = []
            for beginning in BEGINNINGS:
                line, task = await asked(server, client)
                await line.send(beginning)
                waiting.append(task)
        for task in waiting:
            assert (await error_of(task)).kind in {ErrorKind.CONNECTION_LOST, ErrorKind.TRUNCATED}
        for line in server.lines:
            assert await line.is_left()
        with pytest.raises(RuntimeError, match="closed"):
            await body_of(client)
