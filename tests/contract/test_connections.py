"""Kept connections, and servers that cut, add, and answer what nobody asked."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ErrorKind, FetchError
from tests.clients import client_of
from tests.lines import (
    FORMS,
    LONG,
    Clock,
    Line,
    answer_next,
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
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("no_proxies", "nothing_is_forgotten")


# What comes in pieces.


@settings(max_examples=60)
@given(data=st.data())
async def test_pieces_of_any_size(data: st.DataObject) -> None:
    """However the network cuts answers, of whatever kind, they arrive whole, on one connection."""
    async with served() as server, client_of(server.origin) as client:
        tasks: list[asyncio.Task[bytes]] = []
        for number in range(3):
            form = data.draw(st.sampled_from([usual, foreign, chunked]))
            body = b"%d" % number * data.draw(st.sampled_from([0, 1, 10, 5000, 300_000]))
            answer = form(body)
            near = st.integers(0, min(len(answer), 200)) | st.integers(0, len(answer))
            cuts = sorted({0, *data.draw(st.lists(near, max_size=8)), len(answer)})
            task = asyncio.create_task(body_of(client))
            line = await server.line() if not tasks else server.lines[0]
            await line.request()
            await line.send(*(answer[begin:end] for begin, end in pairwise(cuts)))
            assert await task == body
            tasks.append(task)
        assert server.is_alone


@FORMS
async def test_a_byte_at_a_time(form: Callable[[bytes], bytes]) -> None:
    """The slowest network gets a recording through, and the connection serves another."""
    answer = form(b"RIFF")
    async with asking() as (server, client):
        line, task = await asked(server, client)
        for byte in answer:
            line.writer.write(bytes((byte,)))
            await turns(3)
        assert await task == b"RIFF"
        assert await get(client, line, usual(b"more")) == b"more"


@pytest.mark.parametrize("size", [60_000, 3_000_000])
async def test_tls(size: int, certificate: Path) -> None:
    """Bodies longer than a record, and than a buffer, arrive whole over TLS, one after another."""
    body = (LONG * 10)[:size]
    async with asking(certificate) as (server, client):
        line, task = await asked(server, client)
        sending = asyncio.create_task(line.send(usual(body)))
        assert await task == body
        await sending
        for form in (chunked, usual, foreign):
            task = asyncio.create_task(body_of(client))
            await line.request()
            sending = asyncio.create_task(line.send(form(body)))
            assert await task == body
            await sending
        assert server.is_alone


async def test_many_at_once() -> None:
    """Each of many requests gets its own answer, over no more connections than are needed."""

    async def serve(line: Line) -> None:
        while request := await line.request():
            body = request.split(b"/conversations/")[1].split(b"/")[0] * 10_000
            line.writer.write(chunked(body) if body[2:3] == b"7" else usual(body))

    async with asking() as (server, client):

        async def accept() -> None:
            while True:
                serving.append(asyncio.create_task(serve(await server.line())))

        serving = [asyncio.create_task(accept())]
        for _ in range(3):
            names = [f"CA{number}" for number in range(40)]
            bodies = await asyncio.gather(*(body_of(client, name) for name in names))
            assert bodies == [name.encode() * 10_000 for name in names]
        assert len(server.lines) == 40
        for task in serving:
            task.cancel()


# What nobody asked for.

FORGED = usual(b"forged")


@FORMS
@pytest.mark.parametrize("body", [b"", b"RIFF", LONG])
@pytest.mark.parametrize("surplus", [b"x", FORGED])
@pytest.mark.parametrize("is_safe", [False, True])
async def test_more_than_was_promised(
    *,
    form: Callable[[bytes], bytes],
    body: bytes,
    surplus: bytes,
    is_safe: bool,
    certificate: Path,
) -> None:
    """What follows a body is never taken for the next answer, not even if it looks like one."""
    async with asking(certificate if is_safe else None) as (server, client):
        line, task = await asked(server, client)
        line.writer.write(form(body) + surplus)
        await until_idle(client, task)
        answering = asyncio.create_task(answer_next(server, usual(b"honest")))
        assert await body_of(client) == b"honest"
        await answering
        (heard,) = await asyncio.gather(task, return_exceptions=True)
        if form is usual or not isinstance(heard, FetchError):  # aiohttp may complain of it all
            assert heard == body


@pytest.mark.parametrize("surplus", [b"x", FORGED])
@pytest.mark.parametrize("is_noticed", [False, True])
@pytest.mark.parametrize("is_safe", [False, True])
async def test_an_answer_that_nobody_asked_for(
    *, surplus: bytes, is_noticed: bool, is_safe: bool, certificate: Path
) -> None:
    """What comes over an idle connection ends it, even if it came only just before the request."""
    async with asking(certificate if is_safe else None) as (server, client):
        line, task = await asked(server, client)
        await line.send(usual(b"RIFF"))
        assert await task == b"RIFF"
        line.writer.write(surplus)
        if is_noticed:
            assert await line.is_left()
        line, task = await asked(server, client)
        await line.send(usual(b"honest"))
        assert await task == b"honest"


@pytest.mark.parametrize("end", [Line.close, Line.reset])
@pytest.mark.parametrize("is_noticed", [False, True])
async def test_a_connection_that_was_closed_while_idle(
    *, end: Callable[[Line], None], is_noticed: bool
) -> None:
    """No request is lost on a connection that the server has closed before."""
    async with asking() as (server, client):
        for _ in range(3):
            line, task = await asked(server, client)
            await line.send(usual(b"RIFF"))
            assert await task == b"RIFF"
            end(line)
            await turns(20 if is_noticed else 2)


async def test_a_connection_that_was_idle_for_long(clock: Clock) -> None:
    """After 15 seconds a connection is closed instead of used, and so are those behind it."""
    async with asking() as (server, client):
        (first, one), (second, two) = [await asked(server, client) for _ in range(2)]
        for line, task in ((first, one), (second, two)):
            await line.send(usual(b"RIFF"))
            await task
        await clock.wait(14)
        assert await get(client, second, usual(b"kept")) == b"kept"
        await clock.wait(14)
        assert await get(client, second, usual(b"kept")) == b"kept"
        assert await first.is_left()
        await clock.wait(15.1)
        third, task = await asked(server, client)
        assert await second.is_left()
        await third.send(usual(b"new"))
        assert await task == b"new"


# What ends too early.


@FORMS
@pytest.mark.parametrize("end", [Line.close, Line.reset])
async def test_an_answer_that_is_cut(
    form: Callable[[bytes], bytes], end: Callable[[Line], None]
) -> None:
    """Wherever an answer breaks off it is an error, which does not harm the next one."""
    answer = form(b"RIFF and more")
    body_begins = answer.index(b"\r\n\r\n") + 4
    async with asking() as (server, client):
        for cut in range(len(answer)):
            line, task = await asked(server, client)
            await line.send(answer[:cut])
            end(line)
            kind = (await error_of(task)).kind
            lost = cut < body_begins or (form is not usual and end is Line.reset)
            assert kind in {ErrorKind.TRUNCATED, lost and ErrorKind.CONNECTION_LOST}, cut
            assert kind is ErrorKind.CONNECTION_LOST or cut >= body_begins
        line, task = await asked(server, client)
        await line.send(answer)
        assert await task == b"RIFF and more"


async def test_a_long_body_that_is_cut(certificate: Path) -> None:
    """A body of several parts that breaks off is an error after the parts that came."""
    for tls in (None, certificate):
        async with asking(tls) as (server, client):
            line, task = await asked(server, client)
            answer = usual(LONG * 10)
            sending = asyncio.create_task(line.send(answer[:-1]))
            sending.add_done_callback(lambda _, line=line: line.close())  # type: ignore[misc]
            error = await error_of(task)
            await sending
            assert error.kind is ErrorKind.TRUNCATED
            assert str(len(LONG) * 10) in error.message


# What else HTTP allows.

CLOSES, KEEPS = 2, 1


@pytest.mark.parametrize(
    ("answer", "body", "connections"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + usual(b"RIFF"), b"RIFF", KEEPS),
        (b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 3 + usual(b"RIFF"), b"RIFF", KEEPS),
        (usual(b"RIFF", "Connection: close"), b"RIFF", CLOSES),
        (usual(b"RIFF", "Connection: keep-alive"), b"RIFF", KEEPS),
        (usual(LONG, "Connection: close"), LONG, CLOSES),
        (usual(b"RIFF").replace(b"HTTP/1.1", b"HTTP/1.0"), b"RIFF", CLOSES),
        (
            usual(b"RIFF", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
            b"RIFF",
            KEEPS,
        ),
        (chunked(b""), b"", KEEPS),
        (chunked(LONG, 7), LONG, KEEPS),
        (usual(b""), b"", KEEPS),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", 204, KEEPS),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, KEEPS),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}", 404, KEEPS),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", 429, KEEPS),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 503, CLOSES),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 500, KEEPS),
        (b"HTTP/1.1 500 No\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000), 500, KEEPS),
        (usual(b"{}").replace(b"audio/wav", b"application/json"), 200, KEEPS),
        (usual(b"RIFF", "Content-Encoding: gzip"), 200, KEEPS),
    ],
)
async def test_what_http_allows(answer: bytes, body: bytes | int, connections: int) -> None:
    """Every kind of answer has its meaning, and says whether its connection goes on."""
    async with asking() as (server, client):
        line, task = await asked(server, client)
        await line.send(answer)
        if isinstance(body, bytes):
            assert await task == body
        else:
            assert (await error_of(task)).http_status == body
        await turns()
        if connections == KEEPS:
            assert await get(client, line, usual(b"next")) == b"next"
        else:
            assert await line.is_left()
            line, task = await asked(server, client)
            await line.send(usual(b"next"))
            assert await task == b"next"


async def test_a_body_whose_end_is_the_connections() -> None:
    """Without a length the body ends with the connection, and its length is not known."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n"
    async with asking() as (server, client):
        line, task = await asked(server, client)
        await line.send(answer, b"RI", b"FF")
        line.close()
        assert await task == b"RIFF"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nRIFF!",
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: -4\r\n\r\nRIFF",
        usual(b"RIFF", "X: " + "a" * 9000),
    ],
)
async def test_what_is_not_http(answer: bytes) -> None:
    """What cannot be understood is an error, and its connection is not used again."""
    async with asking() as (server, client):
        line, task = await asked(server, client)
        await line.send(answer)
        line.close()
        assert (await error_of(task)).kind is ErrorKind.CONNECTION_LOST
        line, task = await asked(server, client)
        await line.send(usual(b"RIFF"))
        assert await task == b"RIFF"
