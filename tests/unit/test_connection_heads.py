"""Heads of answers that are read at a glance: what is understood is what `aiohttp` understands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpResponseParser
from aiohttp.http_parser import HttpResponseParserPy
from hypothesis import event, given, settings
from hypothesis import strategies as st

from exporter.connections.head import CORRELATION_HEADER, UsualHead, usual_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AUDIO = b"audio/wav"
TYPE, LENGTH = b"Content-Type: audio/wav", b"Content-Length: 12"
PARSERS = (HttpResponseParser, HttpResponseParserPy)


def head_of(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", end: bytes = b"\r\n") -> bytes:
    return b"".join(line + end for line in (status, *lines, b""))


def read(received: bytes) -> UsualHead | None:
    return usual_head(memoryview(received), AUDIO)


def read_by(parser: type[Any], received: bytes, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
    """The message and the body that one of `aiohttp`'s parsers finds; it must be alone."""
    protocol = ResponseHandler(loop)
    made = protocol._parser = parser(
        protocol,
        loop,
        2**16,
        payload_exception=ClientPayloadError,
        read_until_eof=True,
        auto_decompress=False,
    )
    ((message, body),), is_upgraded, tail = made.feed_data(received)
    assert (is_upgraded, tail) == (False, b"")
    return message, body


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def agree(received: bytes, found: UsualHead, loop: asyncio.AbstractEventLoop) -> None:
    """Both parsers read the same from the head, and just as much of what follows."""
    length = min(found.content_length, 2**16)
    followed = received[: found.size] + bytes(length)
    for parser in PARSERS:
        message, body = read_by(parser, followed, loop)
        assert (message.code, message.version) == (200, (1, 1))
        assert message.headers["Content-Type"] == "audio/wav"
        assert int(message.headers["Content-Length"]) == found.content_length
        assert message.headers.get(CORRELATION_HEADER, "") == (found.correlation_id or "")
        assert not any((message.should_close, message.chunked, message.upgrade))
        assert message.compression is None
        assert (body.total_bytes, body.is_eof()) == (length, length == found.content_length)


# What servers send, in its variations.

names = st.sampled_from(
    ["Server", "Date", "ETag", "X-PolyAI-Correlation-Id", "Accept-Ranges", "Keep-Alive", "a!#$%'*"]
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
blanks = st.sampled_from(["", " ", "\t", "  \t "])
cases: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([str, str.lower, str.upper])


@st.composite
def usual_heads(draw: st.DrawFn) -> bytes:
    fields = draw(st.dictionaries(names, values, max_size=6))
    fields |= {"Content-Type": "audio/wav", "Content-Length": str(draw(st.integers(0, 10**14)))}
    if draw(st.booleans()):
        fields["Connection"] = draw(cases)("keep-alive")
    lines = draw(st.permutations(list(fields.items())))
    return head_of(
        *(
            f"{draw(cases)(name)}:{draw(blanks)}{value}{draw(blanks)}".encode()
            for name, value in lines
        ),
        status=b"HTTP/1.1 200 " + draw(values).encode(),
    )


@given(head=usual_heads(), following=st.binary(max_size=20))
def test_what_most_servers_send_is_usual(
    head: bytes, following: bytes, loop: asyncio.AbstractEventLoop
) -> None:
    """Whatever the order, case and blanks of its fields, a plain answer is read at a glance."""
    found = read(head + following)
    assert found is not None
    assert found.size == len(head)
    agree(head, found, loop)


odd_lines = st.sampled_from(
    [
        b"Content-Length: 12",
        b"Content-Length: 13",
        b"Content-Length: +12",
        b"Content-Length: 0x0c",
        b"Content-Type: audio/wav",
        b"Content-Encoding: identity",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: upgrade",
        b"Upgrade: h2c",
        b" folded",
        b"no colon",
        b": no name",
        b"Name : blank",
        b"",
    ]
)


@st.composite
def damaged_heads(draw: st.DrawFn) -> bytes:
    """A usual head with lines and bytes put in, taken out or changed."""
    lines = draw(usual_heads()).split(b"\r\n")
    for line in draw(st.lists(odd_lines, max_size=2)):
        lines.insert(draw(st.integers(0, len(lines))), line)
    head = bytearray(b"\r\n".join(lines))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(head)))
        upto = at + draw(st.integers(0, 2))
        head[at:upto] = draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b":", b" ", b"1", b"\xe9"]))
    return bytes(head)


@settings(max_examples=500)
@given(head=damaged_heads())
def test_what_is_usual_is_what_aiohttp_reads(head: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """However a head is damaged, it is not usual, or both of aiohttp's parsers read the same."""
    found = read(head)
    event(f"usual: {found is not None}")
    if found is not None:
        agree(head, found, loop)


@pytest.mark.parametrize(
    "head",
    [
        head_of(TYPE),
        head_of(LENGTH),
        head_of(),
        head_of(TYPE, LENGTH, LENGTH),
        head_of(TYPE, LENGTH, b"content-length: 13"),
        head_of(TYPE, TYPE, LENGTH),
        head_of(TYPE, LENGTH, b"Server: a", b"Server: b"),
        *(
            head_of(TYPE, b"Content-Length:" + length)
            for length in (
                b"",
                b" ",
                b"-1",
                b"+1",
                b"1 2",
                b"1,1",
                b"0x1",
                b"1_0",
                b"1.0",
                b"9" * 16,
            )
        ),
        head_of(TYPE, b"Content-Length: 1\xb2"),
        head_of(TYPE, LENGTH, b" folded"),
        head_of(TYPE, LENGTH, b"\tfolded"),
        head_of(TYPE, LENGTH, end=b"\n"),
        head_of(TYPE, LENGTH, end=b"\r"),
        head_of(TYPE, LENGTH)[:-2] + b"\n",
        head_of(TYPE, LENGTH, b"Server: a\0b"),
        head_of(TYPE, LENGTH, b"Server: a\x7fb"),
        head_of(TYPE, LENGTH, b"Server: caf\xc3\xa9"),
        head_of(TYPE, LENGTH, b"Caf\xe9: a"),
        head_of(TYPE, LENGTH, b"Server : a"),
        head_of(TYPE, b"Content-Length : 12"),
        head_of(TYPE, b" Content-Length: 12"),
        head_of(TYPE, LENGTH, b"Server"),
        head_of(TYPE, LENGTH, b": a"),
        head_of(TYPE, LENGTH, b"a(b): c"),
        head_of(TYPE, LENGTH, b"Transfer-Encoding: chunked"),
        head_of(TYPE, LENGTH, b"Transfer-Encoding: identity"),
        head_of(TYPE, LENGTH, b"Content-Encoding: gzip"),
        head_of(TYPE, LENGTH, b"Content-Encoding: identity"),
        head_of(TYPE, LENGTH, b"Content-Range: bytes 0-11/99"),
        head_of(TYPE, LENGTH, b"Trailer: X"),
        head_of(TYPE, LENGTH, b"Upgrade: h2c"),
        *(
            head_of(TYPE, LENGTH, b"Connection: " + wish)
            for wish in (
                b"close",
                b"Close",
                b"",
                b"upgrade",
                b"keep-alive, close",
                b"keep-alive, x",
            )
        ),
        *(
            head_of(b"Content-Type: " + kind, LENGTH)
            for kind in (b"", b"audio/x-wav", b"Audio/WAV", b"audio/wav; a=b", b"application/json")
        ),
        *(
            head_of(TYPE, LENGTH, status=status)
            for status in (
                b"HTTP/1.0 200 OK",
                b"HTTP/1.2 200 OK",
                b"HTTP/2 200 OK",
                b"http/1.1 200 OK",
                b"HTTP/1.1 200",
                b"HTTP/1.1 2000 OK",
                b"HTTP/1.1  200 OK",
                b"HTTP/1.1\t200 OK",
                b" HTTP/1.1 200 OK",
                b"\r\nHTTP/1.1 200 OK",
                b"HTTP/1.1 200 \xe9",
                b"HTTP/1.1 100 Continue",
                b"HTTP/1.1 203 Other",
                b"HTTP/1.1 204 Nothing",
                b"HTTP/1.1 206 Part",
                b"HTTP/1.1 304 Same",
                b"HTTP/1.1 404 No",
            )
        ),
        head_of(TYPE, LENGTH, b"Server: " + b"a" * 8190),
        head_of(TYPE, LENGTH, *(b"%d:" % number for number in range(127))),
    ],
)
def test_what_is_odd_is_not_usual(head: bytes) -> None:
    """Whatever may be understood in two ways, or means anything else, is left to a whole parser."""
    assert read(head + bytes(12)) is None


def test_a_head_is_usual_when_all_of_it_has_come() -> None:
    """No beginning of a head is taken for the whole."""
    head = head_of(TYPE, LENGTH, b"X-PolyAI-Correlation-Id: abc")
    assert all(read(head[:end]) is None for end in range(len(head)))
    assert read(head) == UsualHead(len(head), 12, "abc")
