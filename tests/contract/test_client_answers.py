"""What the client makes of answers: errors, bodies that break, texts of the server."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.answers import Body, printable
from exporter.connections import Timeouts
from exporter.errors import ErrorKind, FetchError
from exporter.sandbox import (
    Action,
    Cut,
    Framing,
    Gzip,
    Payload,
    Redirect,
    Reset,
    Respond,
    RetryAfterStyle,
    Rule,
    Sandbox,
    Stall,
    WrongType,
)
from tests.clients import (
    KEY,
    WAV,
    WORLD,
    Raw,
    failure,
    fetch,
)

# Long enough to connect to this machine, short enough to wait for.
BRIEF = Timeouts(connect=20, read=0.1, total=20)


pytestmark = pytest.mark.usefixtures("no_proxies")


async def failure_of(action: Action, **arguments: Any) -> FetchError:
    async with Sandbox(world=WORLD, scenario=[Rule(action=action)]) as sandbox:
        return await failure(sandbox.base_url, **arguments)


# What an answer means.


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "CONVERSATIONS_VALIDATION_FAILED", ErrorKind.BAD_REQUEST),
        (400, "GET_CONVERSATIONS_FILTER_PARSE_ERROR", ErrorKind.BAD_REQUEST),
        (401, "AUTH_USER_NOT_FOUND", ErrorKind.UNAUTHORIZED),
        (401, "AUTH_USER_UNAUTHORISED", ErrorKind.UNAUTHORIZED),
        (401, "AUTH_USER_INVALID_TOKEN", ErrorKind.UNAUTHORIZED),
        (403, "USER_ACCESS_FORBIDDEN", ErrorKind.FORBIDDEN),
        (403, "EXTERNAL_USER_FORBIDDEN", ErrorKind.FORBIDDEN),
        (403, "ACCOUNT_INSUFFICIENT_PERMISSIONS", ErrorKind.FORBIDDEN),
        (404, "CONVERSATIONS_NOT_FOUND", ErrorKind.CONVERSATION_NOT_FOUND),
        (404, "CONVERSATIONS_RECORDING_NOT_FOUND", ErrorKind.RECORDING_NOT_FOUND),
        (404, "ACCOUNT_NOT_FOUND", ErrorKind.PROJECT_NOT_FOUND),
        (404, "PROJECT_NOT_FOUND", ErrorKind.PROJECT_NOT_FOUND),
        (404, "SOMETHING_NEW", ErrorKind.CONVERSATION_NOT_FOUND),
        (405, None, ErrorKind.BAD_REQUEST),
        (408, None, ErrorKind.TIMEOUT),
        (410, None, ErrorKind.GONE),
        (422, None, ErrorKind.BAD_REQUEST),
        (429, None, ErrorKind.RATE_LIMITED),
        (500, None, ErrorKind.SERVER_ERROR),
        (501, None, ErrorKind.BAD_REQUEST),
        (502, None, ErrorKind.SERVER_ERROR),
        (503, None, ErrorKind.SERVER_ERROR),
        (599, None, ErrorKind.SERVER_ERROR),
        (202, None, ErrorKind.UNEXPECTED_STATUS),
        (206, None, ErrorKind.UNEXPECTED_STATUS),
    ],
)
async def test_the_meaning_of_errors(status: int, code: str | None, kind: ErrorKind) -> None:
    """Each documented status and code has its kind; message, code and id of the API are kept."""
    scenario = [Rule(action=Respond(status, code=code, message="Words of the API."))]
    async with Sandbox(world=WORLD, scenario=scenario) as sandbox:
        error = await failure(sandbox.base_url)
        (request,) = sandbox.requests
    assert (error.kind, error.http_status) == (kind, status)
    assert error.message == f"the API answered {status}: Words of the API."
    assert error.code == request.code
    assert error.correlation_id == request.correlation_id is not None


@pytest.mark.parametrize("body", ["<html>404</html>", "", "not found", "[]", '{"message": "no"}'])
async def test_a_404_without_the_apis_own_body(body: str) -> None:
    """A page of some other server means that the host or path is wrong, not the conversation."""
    error = await failure_of(Respond(404, body=body))
    assert error.kind is ErrorKind.WRONG_HOST
    assert error.message.startswith("the server answered 404 with ")


async def test_the_id_in_the_body_serves_where_the_header_is_missing() -> None:
    """What support asks for is found in either place."""
    body = json.dumps({"error_code": "X", "error_message": "m", "error_id": "from-body"}).encode()
    head = f"HTTP/1.1 500 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with Raw(head + body) as server:
        assert (await failure(server.origin)).correlation_id == "from-body"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00",
        b"{",
        b'{"error_code": 5}',
        b'{"error_message": "\\ud800"}',
        b"[" * 70_000,
        b"x" * 200_000,
        b"null",
        b'"text"',
    ],
)
async def test_bodies_that_make_no_sense(body: bytes) -> None:
    """Whatever stands in an error's body, the status decides, and the message is one short line."""
    head = f"HTTP/1.1 502 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with Raw(head + body) as server:
        error = await failure(server.origin)
    assert (error.kind, error.http_status, error.code) == (ErrorKind.SERVER_ERROR, 502, None)


@pytest.mark.parametrize(("status", "kind"), [(401, "unauthorized"), (429, "rate_limited")])
async def test_an_error_whose_body_breaks_off_keeps_its_meaning(status: int, kind: str) -> None:
    """The status line has said all that is needed when the rest of an error is lost."""
    head = f"HTTP/1.1 {status} No\r\nContent-Length: 100\r\nRetry-After: 7\r\n\r\n{{".encode()
    async with Raw(head, close=True) as server:
        error = await failure(server.origin)
    assert (error.kind, error.http_status, error.retry_after) == (kind, status, 7)


async def test_a_404_whose_body_breaks_off_is_asked_again() -> None:
    """Only the body tells what was not found, so that a lost one proves nothing."""
    async with Raw(b"HTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\n{", close=True) as server:
        error = await failure(server.origin)
    assert (error.kind, error.http_status) == (ErrorKind.TRUNCATED, 404)


@pytest.mark.parametrize("payload", [Payload.JSON, Payload.HTML, Payload.TEXT])
async def test_a_200_that_is_no_recording(payload: Payload) -> None:
    """JSON, a page or a text under status 200 is told as what it is."""
    error = await failure_of(WrongType(payload))
    assert (error.kind, error.http_status) == (ErrorKind.NOT_AUDIO, 200)
    assert error.message.startswith("the server answered 200 with ")
    assert error.correlation_id


@pytest.mark.parametrize(
    "content_type",
    ["audio/x-wav", "application/octet-stream", "binary/octet-stream", "", ";;;", "audio"],
)
async def test_an_unusual_content_type_passes(content_type: str) -> None:
    """Only what is certainly no audio is refused by its type; the bytes decide."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(head.encode()) as server:
        assert (await fetch(server.origin)).body == b"RIFF"


async def test_a_compressed_body_is_refused() -> None:
    """Compression was not asked for, and would make sizes mean something else."""
    error = await failure_of(Gzip())
    assert error.kind is ErrorKind.NOT_AUDIO
    assert "compressed with gzip" in error.message


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_no_compression_may_be_said(encoding: str) -> None:
    """A server may say that it did not compress."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(head.encode()) as server:
        assert (await fetch(server.origin)).body == b"RIFF"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The key goes to the configured host only, whatever that host says."""
    async with Sandbox(world=WORLD) as other:
        scenario = [Rule(action=Redirect(f"{other.base_url}/v3/acme", status))]
        async with Sandbox(world=WORLD, scenario=scenario) as sandbox:
            error = await failure(sandbox.base_url)
        assert other.requests == []
    assert (error.kind, error.http_status) == (ErrorKind.UNEXPECTED_STATUS, status)
    assert "points elsewhere" in error.message


# Retry-After.


@pytest.mark.parametrize("style", [RetryAfterStyle.SECONDS, RetryAfterStyle.DATE])
@pytest.mark.parametrize("skew", [0, -7200, 86_400])
async def test_retry_after(style: RetryAfterStyle, skew: int) -> None:
    """The wait that the server asks for is right in both forms, even if its clock is wrong."""

    class Clock:
        def time(self) -> float:
            return 1_800_000_000.0 + skew

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            raise AssertionError(seconds)

    action = Respond(429, retry_after=90, retry_after_style=style)
    async with Sandbox(world=WORLD, scenario=[Rule(action=action)], clock=Clock()) as sandbox:
        error = await failure(sandbox.base_url)
    assert error.retry_after == 90


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("999999999", 999_999_999),
        (formatdate(1_800_000_000 - 60, usegmt=True), 0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e3", None),
        ("99999999999999999999", 1e20),
        ("\u0665", None),
        ("Fri, 99 Jan 2027 08:00:00 GMT", None),
        ("Fri, 15 Jan 99999999 08:00:00 GMT", None),
        ("Fri, 15 Jan 2027 08:00:00 -0000", 0),
    ],
)
async def test_retry_after_of_other_kinds(value: str, seconds: float | None) -> None:
    """A time that has passed is no wait; what cannot be read is as if it was not there."""
    date = formatdate(1_800_000_000, usegmt=True)
    head = f"HTTP/1.1 429 No\r\nDate: {date}\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    async with Raw(head.encode()) as server:
        assert (await failure(server.origin)).retry_after == seconds


# Bodies that break.


@pytest.mark.parametrize(
    ("action", "kinds"),
    [
        (Cut(1000), {ErrorKind.TRUNCATED}),
        (Cut(0), {ErrorKind.TRUNCATED}),
        (Cut(1000, Framing.CHUNKED), {ErrorKind.TRUNCATED}),
        (Reset(), {ErrorKind.CONNECTION_LOST}),
        (Reset(1000), {ErrorKind.CONNECTION_LOST, ErrorKind.TRUNCATED}),
    ],
)
async def test_broken_bodies(action: Action, kinds: set[ErrorKind]) -> None:
    """A body that ends too early is an error wherever HTTP can tell."""
    error = await failure_of(action)
    assert error.kind in kinds
    assert (error.http_status == 200) == (action != Reset())


async def test_a_cut_that_http_cannot_see() -> None:
    """Without length and chunks a cut body looks whole here: the WAV structure has to tell."""
    scenario = [Rule(action=Cut(1000, Framing.CLOSE))]
    async with Sandbox(world=WORLD, scenario=scenario) as sandbox:
        heard = await fetch(sandbox.base_url)
    assert (heard.body, heard.content_length) == (WAV[:1000], None)


@pytest.mark.parametrize(("after_bytes", "status"), [(None, None), (0, 200), (1000, 200)])
async def test_silence(after_bytes: int | None, status: int | None) -> None:
    """A server that falls silent, before its answer or within, is given up after the read time."""
    error = await failure_of(Stall(after_bytes), timeouts=BRIEF)
    assert (error.kind, error.http_status) == (ErrorKind.TIMEOUT, status)


async def test_the_total_time() -> None:
    """A server that sends just enough not to be silent is given up after the total time."""
    dripping = Timeouts(connect=20, read=20, total=0.2)
    error = await failure_of(Stall(1000), timeouts=dripping)
    assert (error.kind, error.http_status) == (ErrorKind.TIMEOUT, 200)


async def test_a_whole_body_is_whole_though_the_library_complains() -> None:
    """Some versions of the library raise after the last byte: all that was promised has come."""

    class Content:
        def __init__(self) -> None:
            self.left = [WAV]

        def at_eof(self) -> bool:
            return False

        async def readany(self) -> bytes:
            if self.left:
                return self.left.pop()
            raise aiohttp.ClientPayloadError("ContentLengthError")

        async def readchunk(self) -> tuple[bytes, bool]:
            return await self.readany(), False

    @dataclass
    class Response:
        content_length: int | None
        status: int = 200
        content: Content = field(default_factory=Content)

    async def heard(content_length: int | None) -> bytes:
        body = Body(Response(content_length), "id", KEY)  # type: ignore[arg-type]
        return b"".join([chunk async for chunk in body.chunks()])

    assert await heard(len(WAV)) == WAV
    for length in (len(WAV) + 1, None):
        with pytest.raises(FetchError) as caught:
            await heard(length)
        assert caught.value.kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"",
        b"\x16\x03\x01",
    ],
)
async def test_what_is_not_http(answer: bytes) -> None:
    """A server of another protocol is a lost connection, not a traceback."""
    async with Raw(answer, close=True) as server:
        error = await failure(server.origin)
    assert error.kind is ErrorKind.CONNECTION_LOST


async def test_chunks_that_are_none() -> None:
    """A body whose chunks make no sense is lost, now or on its way."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nRIFF\r\nbanana\r\n"
    async with Raw(head, close=True) as server:
        error = await failure(server.origin)
    assert error.kind in {ErrorKind.TRUNCATED, ErrorKind.CONNECTION_LOST}


# Texts from the server.


@pytest.mark.parametrize("status", [400, 401, 404, 500])
@pytest.mark.parametrize(
    "text", ["{key}", "the key {key} is wrong", "x" * 70 + "{key}", "y" * 290 + "{key}{key}"]
)
async def test_a_server_that_echoes_the_key(status: int, text: str) -> None:
    """Not even a server that repeats the key makes it appear in an error, whole or in part."""
    said = text.format(key=KEY)
    bodies = [said, json.dumps({"error_code": said, "error_message": said, "error_id": said})]
    bodies.append(json.dumps({"error_message": said}).replace("p", "\\u0070"))
    for body in bodies:
        action = Respond(status, body=body, headers={"X-PolyAI-Correlation-Id": said})
        error = await failure_of(action)
        for part in (error.message, error.code or "", error.correlation_id or ""):
            assert KEY[:8] not in part


async def test_a_page_that_echoes_the_key() -> None:
    """Nor does a page under status 200, a compression or a content type."""
    for headers in ({"Content-Type": "text/html"}, {"Content-Encoding": KEY}):
        error = await failure_of(Respond(200, body=f"<p>{KEY}</p>", headers=headers))
        assert error.kind is ErrorKind.NOT_AUDIO


async def test_control_characters_and_halves_of_characters() -> None:
    """What would steer a terminal, or cannot be written to a file, does not pass."""
    words = "a\x1b[31mred\x07 \u202egnp.exe\u2028 \ud83d\ude00 end\n\tline"
    body = json.dumps({"error_code": "A\x1bB", "error_message": words})
    head = b"HTTP/1.1 500 No\r\nX-PolyAI-Correlation-Id: a\xffb\r\nContent-Length: %d\r\n\r\n"
    async with Raw(head % len(body) + body.encode()) as server:
        error = await failure(server.origin)
    assert error.message == "the API answered 500: a [31mred gnp.exe \U0001f600 end line"
    assert error.code == "A B"
    assert error.correlation_id == "a b"


@given(st.text(max_size=400))
def test_printable(text: str) -> None:
    """Any text becomes one short line that every file, database and terminal can take."""
    line = printable(text, KEY)
    assert line.isprintable()
    line.encode()
    assert len(line) <= 301
    assert printable(line, KEY) == line or len(line) == 301


async def test_the_correlation_id_of_a_recording_is_harmless() -> None:
    """A header with bytes of another encoding does not break what is written of it."""
    head = b"HTTP/1.1 200 OK\r\nX-PolyAI-Correlation-Id: \xff\xfe\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(head) as server:
        assert (await fetch(server.origin)).correlation_id is None
