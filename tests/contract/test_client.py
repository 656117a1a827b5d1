"""The client against the sandbox, and against servers that the sandbox is too polite to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from shutil import which
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from exporter import client as client_module
from exporter.answers import Body, kind_of_foreign, printable
from exporter.client import Client, Timeouts
from exporter.errors import ConfigError, ErrorKind, FetchError, PolicyError
from exporter.model import Direction, Recording, Redaction, Surface
from exporter.sandbox import (
    Action,
    AudioSettings,
    Cut,
    Framing,
    Gzip,
    Key,
    Match,
    Payload,
    Redirect,
    Reset,
    Respond,
    RetryAfterStyle,
    Rule,
    Sandbox,
    Stall,
    Times,
    World,
    WrongType,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

KEY = "pk-live-0123456789abcdef"
WORLD = World(
    keys=(Key(name="full", secret=KEY),), audio=AudioSettings(seconds=(0.2, 0.5), pii_share=1.0)
)
RECORDING = Recording("acme", "shop", "CA1", Direction.COMBINED, Redaction.REDACTED)
WAV = WORLD.call("acme", "shop", "CA1").wav(redacted=True)
PATIENT = Timeouts(connect=30, read=30, total=60)
# Long enough to connect to this machine, short enough to wait for.
BRIEF = Timeouts(connect=20, read=0.1, total=20)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
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


def proxy_of(origin: str) -> URL | None:
    return client_of(origin)._proxies[URL(origin)][0]


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


async def failure_of(action: Action, **arguments: Any) -> FetchError:
    async with Sandbox(world=WORLD, scenario=[Rule(action=action)]) as sandbox:
        return await failure(sandbox.base_url, **arguments)


# What is asked.


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("redaction", Redaction)
@pytest.mark.parametrize(
    ("surface", "path"),
    [
        (Surface.PLATFORM_V3, "/v3/acme/shop/conversations/CA1/audio"),
        (Surface.AGENTS_V1, "/v1/agents/shop/conversations/CA1/audio"),
    ],
)
async def test_requests(
    direction: Direction, redaction: Redaction, surface: Surface, path: str
) -> None:
    """Each variant is asked for by name, in both families, with the headers that are documented."""
    recording = Recording("acme", "shop", "CA1", direction, redaction)
    async with Sandbox(world=World(keys=WORLD.keys, default_account="acme")) as sandbox:
        heard = await fetch(sandbox.base_url, recording, surface=surface)
        (request,) = sandbox.requests
        call = sandbox.world.call("acme", "shop", "CA1")
    redacted = redaction is Redaction.REDACTED
    assert heard.body == call.wav(str(direction), redacted)
    assert (request.path, request.surface, request.key) == (path, surface, "full")
    assert request.query == f"direction={direction}&redacted={str(redacted).lower()}"
    assert request.headers["Accept"] == "audio/wav"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("exporter/")
    assert "Content-Type" not in request.headers
    assert heard.correlation_id == request.correlation_id is not None


@pytest.mark.parametrize("surface", Surface)
async def test_identifiers_are_quoted(surface: Surface) -> None:
    """Characters that mean something in an address arrive as what they are."""
    recording = Recording("a:b", "p@=+", "c:@=+._-", Direction.USER, Redaction.RAW)
    async with Sandbox(world=World(keys=WORLD.keys, default_account="a:b")) as sandbox:
        await fetch(f"{sandbox.base_url}", recording, surface=surface)
        (request,) = sandbox.requests
    assert (request.account, request.project) == ("a:b", "p@=+")
    assert request.conversation == "c:@=+._-"
    assert request.path.endswith("/p%40%3D%2B/conversations/c%3A%40%3D%2B._-/audio")


async def test_a_path_prefix_is_kept() -> None:
    """Behind a gateway the API may live below a path."""
    async with Raw(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        await failure(f"{server.origin}/poly/ai")
    assert server.requests[0].startswith(b"GET /poly/ai/v3/acme/shop/conversations/CA1/audio?")


@pytest.mark.parametrize("framing", Framing)
async def test_bodies(framing: Framing) -> None:
    """A recording arrives whole, however its end is told; its length is known where it was said."""
    world = World(keys=WORLD.keys, audio=WORLD.audio, framing=framing)
    async with Sandbox(world=world) as sandbox:
        heard = await fetch(sandbox.base_url)
    assert heard.body == WAV
    assert heard.content_length == (len(WAV) if framing is Framing.LENGTH else None)


async def test_outside_of_its_context() -> None:
    """A client that was not entered says so instead of leaking connections."""
    client = client_of("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="context manager"):
        await fetched(client)
    await client.__aexit__(None, None, None)


# Connections.


async def test_connections_are_used_again() -> None:
    """After whole bodies, and after errors that were read, the same connection goes on."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 4\r\n\r\nRIFF"
    error = b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"
    async with Raw(whole, error, whole) as server, client_of(server.origin) as client:
        assert (await fetched(client)).body == b"RIFF"
        with pytest.raises(FetchError):
            await fetched(client)
        assert (await fetched(client)).body == b"RIFF"
    assert server.connections == 1


async def test_a_body_that_is_left_early_is_not_read_by_the_next() -> None:
    """Who stops in the middle of a body costs a connection, never a wrong recording."""
    world = World(keys=WORLD.keys, audio=AudioSettings(seconds=(60, 60)))
    async with Sandbox(world=world) as sandbox, client_of(sandbox.base_url) as client:
        async with (
            client.open(RECORDING, KEY) as body,
            contextlib.aclosing(body.chunks()) as chunks,
        ):
            assert (await anext(chunks)).startswith(b"RIFF")
        assert (await fetched(client)).body == world.call("acme", "shop", "CA1").wav(redacted=True)


async def test_cookies_are_not_kept() -> None:
    """What a server wants remembered is forgotten."""
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(answer, answer) as server, client_of(server.origin) as client:
        await fetched(client)
        await fetched(client)
    assert b"cookie" not in server.requests[1].lower()


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
        async def iter_any(self) -> AsyncIterator[bytes]:
            yield WAV
            raise aiohttp.ClientPayloadError("ContentLengthError")

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


# Connecting.


async def test_a_port_where_nobody_listens() -> None:
    """A refused connection is told as that, with the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await failure(f"http://127.0.0.1:{port}")
    assert error.kind is ErrorKind.CONNECT
    assert str(port) in error.message


class NoNames(AbstractResolver):
    """A resolver that knows nobody."""

    def __init__(self, **_: object) -> None:
        """Nothing to set up."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(-2, f"Name or service not known: {host}:{port} {family}")

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_is_not_known() -> None:
    """A host that does not exist is told as that: the region is the first thing to check."""
    with patch.object(aiohttp.connector, "DefaultResolver", NoNames):
        error = await failure("https://api.mars-1.platform.polyai.invalid")
    assert error.kind is ErrorKind.DNS
    assert "api.mars-1.platform.polyai.invalid" in error.message


async def test_tls_to_a_port_that_speaks_plain_http() -> None:
    """The wrong scheme is a failed hand-shake."""
    async with Sandbox(world=WORLD) as sandbox:
        error = await failure(sandbox.base_url.replace("http://", "https://"))
    assert error.kind is ErrorKind.TLS


@pytest.fixture(scope="module")
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


async def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    """A certificate of an unknown authority stops the connection before the key is sent."""
    async with Raw(b"", tls=server_tls(certificate)) as server:
        error = await failure(server.origin)
    assert error.kind is ErrorKind.CERTIFICATE
    assert server.requests == []


async def test_an_authority_that_is_named_is_trusted(certificate: Path) -> None:
    """With `ca_file` a private certificate is trusted, and checked all the same."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(answer, tls=server_tls(certificate)) as server:
        assert (await fetch(server.origin, ca_file=certificate)).body == b"RIFF"


@pytest.mark.parametrize("kind", ["missing", "empty", "no certificate", "folder"])
def test_an_authority_file_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    """A `ca_file` that is none is refused before the run begins, with its name."""
    file = tmp_path / "ca.pem"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_text("" if kind == "empty" else "not a certificate\n")
    with pytest.raises(ConfigError, match=r"cannot use api\.ca_file .*ca\.pem: [a-zA-Z ]+$"):
        client_of("https://api.example.com", ca_file=file)


# Proxies.


async def test_a_proxy_does_not_see_what_is_meant_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests to loopback addresses go straight there, whatever the environment says."""
    async with Raw() as proxy, Sandbox(world=WORLD) as sandbox:
        monkeypatch.setenv("http_proxy", proxy.origin)
        assert (await fetch(sandbox.base_url)).body == WAV
        assert (await fetch(sandbox.base_url.replace("127.0.0.1", "localhost"))).body == WAV
    assert proxy.connections == 0


@pytest.mark.parametrize("host", ["127.9.9.9", "[::1]", "localhost", "127.0.0.1:8765"])
def test_every_loopback_address_is_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 127.0.0.0/8 and ::1 count, as they do where plain http is allowed."""
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    assert proxy_of(f"http://{host}") is None
    assert proxy_of("http://10.0.0.1") is not None


async def test_a_proxy_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets the request, its password, and no key of an https origin."""
    refusal = b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n"
    async with Raw(refusal, close=True) as proxy:
        address = proxy.origin.removeprefix("http://")
        monkeypatch.setenv("https_proxy", f"http://me:pass-word@{address}")
        error = await failure("https://api.example.com")
        (request,) = proxy.requests
    assert request.startswith(b"CONNECT api.example.com:443 ")
    assert b"Proxy-Authorization: Basic" in request
    assert KEY.encode() not in request
    assert error.kind is ErrorKind.CONNECT
    assert "the proxy refused the connection" in error.message
    assert "pass-word" not in error.message


async def test_a_host_can_be_taken_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is respected, and the passwords of ~/.netrc are not sent to the API."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.com")
    assert proxy_of("https://api.example.com") is None
    assert proxy_of("https://api.example.org") is not None


async def test_passwords_of_other_programs_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ~/.netrc with a password for every host adds nothing to a request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password pass-word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF") as server:
        with patch.object(client_module, "_is_loopback", lambda _host: False):
            await fetch(server.origin)
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize(
    "proxy",
    ["socks5://me:pass-word@127.0.0.1:1080", "https://proxy:3128", "http://", "http://a:b:c"],
)
def test_a_proxy_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of a kind that is not understood is refused by name instead of passed by."""
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError, match="HTTPS_PROXY cannot be used") as caught:
        client_of("https://api.example.com")
    assert "pass-word" not in str(caught.value)


# Foreign errors.


def tree(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith(("aiohttp", "builtins", "ssl", "socket")):
            yield from tree(below)


EXPECTED = {
    aiohttp.ClientConnectorDNSError: ErrorKind.DNS,
    aiohttp.ClientConnectorCertificateError: ErrorKind.CERTIFICATE,
    aiohttp.ServerFingerprintMismatch: ErrorKind.CERTIFICATE,
    aiohttp.ClientConnectorSSLError: ErrorKind.TLS,
    aiohttp.ClientConnectorError: ErrorKind.CONNECT,
    aiohttp.ClientProxyConnectionError: ErrorKind.CONNECT,
    aiohttp.ClientHttpProxyError: ErrorKind.CONNECT,
    aiohttp.ConnectionTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.SocketTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.ServerTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.ClientPayloadError: ErrorKind.TRUNCATED,
    aiohttp.ServerDisconnectedError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientOSError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientConnectionResetError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientResponseError: ErrorKind.CONNECTION_LOST,
    ssl.SSLCertVerificationError: ErrorKind.CERTIFICATE,
    ssl.SSLError: ErrorKind.TLS,
    ConnectionResetError: ErrorKind.CONNECTION_LOST,
    BrokenPipeError: ErrorKind.CONNECTION_LOST,
    TimeoutError: ErrorKind.TIMEOUT,
    socket.gaierror: ErrorKind.CONNECTION_LOST,
}


FOREIGN = {kind.__name__: kind for kind in (*tree(aiohttp.ClientError), *tree(OSError))}


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_every_foreign_error_has_a_meaning(name: str) -> None:
    """No error that the library or the system can raise is without a kind and words."""
    kind = FOREIGN[name]
    error = kind.__new__(kind)
    assert isinstance(error, (aiohttp.ClientError, OSError))
    found, words = kind_of_foreign(error)
    assert words
    assert found is EXPECTED.get(kind, found)
    network = {
        ErrorKind.DNS,
        ErrorKind.CERTIFICATE,
        ErrorKind.TLS,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECT,
        ErrorKind.CONNECTION_LOST,
        ErrorKind.TRUNCATED,
    }
    assert found in network


# The sandbox's limits, as a client meets them.


async def test_a_rate_limit_passes() -> None:
    """A 429 says how long to wait, and the recording comes when the limit is over."""
    scenario = [Rule(match=Match(attempts=Times(1, 1)), action=Respond(429, retry_after=3))]
    async with (
        Sandbox(world=WORLD, scenario=scenario) as sandbox,
        client_of(sandbox.base_url) as client,
    ):
        with pytest.raises(FetchError) as caught:
            await fetched(client)
        assert without_key(caught.value).retry_after == 3
        assert (await fetched(client)).body == WAV


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


async def test_never_raw_sends_no_request_for_raw() -> None:
    """Whatever asks for it, no request for raw audio leaves for a project where none may."""
    raw = replace(RECORDING, redaction=Redaction.RAW)
    forbidden = RECORDING.account_id, RECORDING.project_id
    async with Sandbox(world=WORLD) as sandbox:
        async with client_of(
            sandbox.base_url, never_raw=lambda *project: project == forbidden
        ) as client:
            with pytest.raises(PolicyError, match="a request for raw audio was about to be sent"):
                await fetched(client, raw)
            assert not sandbox.requests
            await fetched(client, replace(RECORDING, redaction=Redaction.REDACTED))
            await fetched(client, replace(raw, project_id="another"))
        assert [request.redacted for request in sandbox.requests] == [True, False]
