"""The sandbox on the wire, asked over a bare socket: no HTTP client smooths anything over."""

import asyncio
import gzip
import json
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol

import pytest

from exporter.sandbox import (
    Action,
    AudioSettings,
    Bandwidth,
    Codec,
    Cut,
    Damage,
    Dribble,
    Framing,
    Gzip,
    HeaderStyle,
    Limits,
    Match,
    Payload,
    Redirect,
    Reset,
    Respond,
    RetryAfterStyle,
    Rule,
    Sandbox,
    ScenarioError,
    Stall,
    Times,
    World,
    WrongBody,
    WrongType,
    parse_call_seconds,
    serve,
)

WORLD = World(audio=AudioSettings(seconds=(0.2, 2.0), pii_share=1.0))
PATH = "/v3/ws-1/P/conversations/CA1/audio"
WAV = WORLD.call("ws-1", "P", "CA1").wav()
HEADER_BYTES = 44


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


async def with_action(action: Action, *, world: World = WORLD) -> Received:
    async with Sandbox(world=world, scenario=[Rule(action=action)], clock=ManualClock()) as sandbox:
        return await ask(sandbox)


async def test_recording() -> None:
    """A recording comes as a WAV file of known length with the id that support asks for."""
    async with Sandbox(world=WORLD) as sandbox:
        received = await ask(sandbox)
    assert received.status == 200
    assert received.body == WAV
    assert received.headers["content-type"] == "audio/wav"
    assert received.headers["content-length"] == str(len(WAV))
    assert received.headers["x-polyai-correlation-id"]
    assert parsedate_to_datetime(received.headers["date"]).tzinfo is not None


@pytest.mark.parametrize("direction", ["combined", "user", "agent"])
@pytest.mark.parametrize("redacted", ["true", "false"])
@pytest.mark.parametrize("key", ["sandbox-key", "sandbox-key-no-pii"])
async def test_variants(direction: str, redacted: str, key: str) -> None:
    """Each of the six variants is served; raw only to a key that may hear it."""
    muted = redacted == "true" or key == "sandbox-key-no-pii"
    expected = WORLD.call("ws-1", "P", "CA1").wav(direction, muted)
    async with Sandbox(world=WORLD) as sandbox:
        received = await ask(sandbox, f"{PATH}?direction={direction}&redacted={redacted}", key=key)
    assert (received.status, received.body) == (200, expected)


async def test_log_of_requests() -> None:
    """The log tells what was asked and answered, by the key's name and never by the key."""
    async with Sandbox(world=WORLD, clock=ManualClock()) as sandbox:
        received = await ask(sandbox, f"{PATH}?direction=user&redacted=true")
        await ask(sandbox, key="wrong-key")
        first, second = sandbox.requests
        assert sandbox.counts == {200: 1, 401: 1}
        assert sandbox.under_way == 0
        assert sandbox.most_under_way == 1
    assert (first.method, first.path, first.query) == ("GET", PATH, "direction=user&redacted=true")
    assert (first.surface, first.account, first.project) == ("platform-v3", "ws-1", "P")
    assert (first.conversation, first.direction, first.redacted) == ("CA1", "user", True)
    assert (first.key, first.status, first.attempt, first.code) == ("full", 200, 1, None)
    assert first.at == 1_800_000_000.0
    assert first.correlation_id == received.headers["x-polyai-correlation-id"]
    assert first.headers["Accept"] == "audio/wav"
    assert (second.key, second.status, second.code) == (None, 401, "AUTH_USER_NOT_FOUND")
    assert "sandbox-key" not in repr(sandbox.requests)
    assert "wrong-key" not in repr(sandbox.requests)


async def test_log_is_bounded() -> None:
    """The log keeps the latest requests only, the counts all."""
    async with Sandbox(world=WORLD, journal_limit=2) as sandbox:
        for number in range(3):
            await ask(sandbox, PATH.replace("CA1", f"CA{number}"))
        assert [request.conversation for request in sandbox.requests] == ["CA1", "CA2"]
        assert sandbox.counts == {200: 3}


async def test_errors_carry_one_id() -> None:
    """An error's id is the same in its body and its header, and no two answers share one."""
    async with Sandbox(world=WORLD) as sandbox:
        answers = [await ask(sandbox, key="") for _ in range(2)]
    for received in answers:
        assert received.status == 401
        assert received.envelope["error_id"] == received.headers["x-polyai-correlation-id"]
    assert len({received.envelope["error_id"] for received in answers}) == 2


async def test_connections_are_kept() -> None:
    """A good answer leaves the connection open for the next request."""
    head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nx-api-key: sandbox-key\r\n\r\n".encode()
    async with Sandbox(world=WORLD) as sandbox:
        host, port = sandbox.base_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with closing(writer):
            for _ in range(2):
                writer.write(head)
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(WAV)) == WAV


async def test_other_paths() -> None:
    """A path that is not the API's gets no envelope and no id, as from a wrong host."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=Respond(500))]) as sandbox:
        received = await ask(sandbox, "/v3/ws-1/P/recordings")
    assert received.status == 404
    assert received.headers["content-type"] == "text/html"
    assert "x-polyai-correlation-id" not in received.headers


async def test_other_methods() -> None:
    """Recordings can be read and nothing else."""
    async with Sandbox(world=WORLD) as sandbox:
        received = await ask(sandbox, method="DELETE")
    assert (received.status, received.headers["allow"]) == (405, "get")


async def test_scripted_attempts() -> None:
    """A script can let an attempt fail and the next succeed, for one recording and not others."""
    match = Match(conversation="CA1", attempts=Times(1, 2))
    scenario = [Rule(match=match, action=Respond(503, retry_after=0))]
    async with Sandbox(world=WORLD, scenario=scenario) as sandbox:
        assert [(await ask(sandbox)).status for _ in range(3)] == [503, 503, 200]
        assert (await ask(sandbox, PATH.replace("CA1", "CA2"))).status == 200
        assert [request.rule for request in sandbox.requests] == [1, 1, None, None]


async def test_respond_with_the_envelope() -> None:
    """A scripted error speaks the API's own language unless told otherwise."""
    received = await with_action(Respond(429, retry_after=7))
    assert (received.status, received.headers["retry-after"]) == (429, "7")
    assert received.envelope["error_code"] == "TOO_MANY_REQUESTS"


async def test_respond_with_a_date() -> None:
    """Retry-After can be a date, by the same clock as the Date header."""
    style = RetryAfterStyle.DATE
    received = await with_action(Respond(503, retry_after=90, retry_after_style=style))
    dates = [parsedate_to_datetime(received.headers[name]) for name in ("retry-after", "date")]
    assert (dates[0] - dates[1]).total_seconds() == 90


async def test_respond_with_anything() -> None:
    """A gateway's page, its type and its headers can be imitated, under any status."""
    action = Respond(599, body="<h1>?</h1>", headers={"date": "never", "X-Via": "gw"})
    received = await with_action(action)
    assert (received.status, received.body) == (599, b"<h1>?</h1>")
    assert received.headers["content-type"] == "text/html"
    assert (received.headers["date"], received.headers["x-via"]) == ("never", "gw")


async def test_respond_without_body() -> None:
    """A status that allows no body gets none."""
    received = await with_action(Respond(204))
    assert (received.status, received.body) == (204, b"")


@pytest.mark.parametrize(
    ("action", "kind", "body"),
    [
        (WrongType(Payload.JSON), "application/json", b'{"success"'),
        (WrongType(Payload.HTML, "audio/wav"), "audio/wav", b"<!doctype html>"),
        (WrongType(Payload.TEXT), "text/plain", b"upstream"),
        (WrongType(Payload.EMPTY), "audio/wav", b""),
    ],
)
async def test_wrong_type(action: Action, kind: str, body: bytes) -> None:
    """A 200 can hold something that is no recording, under its own name or disguised."""
    received = await with_action(action)
    assert (received.status, received.headers["content-type"]) == (200, kind)
    assert received.headers["content-length"] == str(len(received.body))
    assert received.body.startswith(body)


@pytest.mark.parametrize(
    ("damage", "amount", "size", "riff"),
    [
        (Damage.TRUNCATED, None, len(WAV) - len(WAV) // 2, len(WAV) - 8),
        (Damage.TRUNCATED, 3, len(WAV) - 3, len(WAV) - 8),
        (Damage.TRAILING, 5, len(WAV) + 5, len(WAV) - 8),
        (Damage.RIFF_LARGER, None, len(WAV), len(WAV) - 8 + 1000),
        (Damage.RIFF_SMALLER, 10, len(WAV), len(WAV) - 8 - 10),
        (Damage.HEADER_ONLY, None, HEADER_BYTES, len(WAV) - 8),
    ],
)
async def test_wrong_body(damage: Damage, amount: int | None, size: int, riff: int) -> None:
    """A damaged file is delivered faithfully: only its own header contradicts its size."""
    received = await with_action(WrongBody(damage, amount))
    assert received.headers["content-length"] == str(len(received.body)) == str(size)
    assert struct.unpack_from("<I", received.body, 4)[0] == riff


async def test_random_body() -> None:
    """Noise of the right size and type, the same each time."""
    first, second = [await with_action(WrongBody(Damage.RANDOM)) for _ in range(2)]
    assert len(first.body) == len(WAV)
    assert not first.body.startswith(b"RIFF")
    assert first.body == second.body


async def test_damage_leaves_errors_alone() -> None:
    """Only recordings are damaged: what the API refuses stays a proper refusal."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=WrongBody())]) as sandbox:
        assert (await ask(sandbox, key="")).envelope["error_code"] == "AUTH_USER_UNAUTHORISED"


async def test_redirect() -> None:
    """A redirect leads wherever the script says."""
    received = await with_action(Redirect("http://127.0.0.1:9/elsewhere", 307))
    assert (received.status, received.body) == (307, b"")
    assert received.headers["location"] == "http://127.0.0.1:9/elsewhere"


async def test_gzip() -> None:
    """A compressed body says so, tells its compressed length and unpacks to the recording."""
    received = await with_action(Gzip())
    assert received.headers["content-encoding"] == "gzip"
    assert received.headers["content-length"] == str(len(received.body))
    assert gzip.decompress(received.body) == WAV


async def test_reset_before_the_answer() -> None:
    """The connection breaks without a word, and the log says that there was no answer."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=Reset())]) as sandbox:
        received = await ask(sandbox)
        assert sandbox.counts == {0: 1}
    assert (received.status, received.broken) == (0, True)


async def test_reset_in_the_middle() -> None:
    """The connection breaks inside the body, visibly."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=Reset(100))]) as sandbox:
        received = await ask(sandbox)
        assert sandbox.counts == {200: 1}
    assert received.broken
    assert len(received.body) <= 100


async def test_cut_with_length() -> None:
    """A cut body falls short of the Content-Length that was promised."""
    received = await with_action(Cut(1000))
    assert (received.headers["content-length"], received.body) == (str(len(WAV)), WAV[:1000])
    assert not received.broken


async def test_cut_without_length() -> None:
    """Without length and chunks only the file's own sizes tell that the rest is missing."""
    received = await with_action(Cut(framing=Framing.CLOSE))
    assert "content-length" not in received.headers
    assert "transfer-encoding" not in received.headers
    assert received.headers["connection"] == "close"
    assert (received.body, received.broken) == (WAV[: len(WAV) // 2], False)


async def test_cut_in_chunks() -> None:
    """A chunked body that is cut lacks its last chunk."""
    received = await with_action(Cut(1000, Framing.CHUNKED))
    assert received.headers["transfer-encoding"] == "chunked"
    assert unchunked(received.body) == (WAV[:1000], False)


@pytest.mark.parametrize("after_bytes", [None, 0, 500])
async def test_stall_that_ends(after_bytes: int | None) -> None:
    """After a silence of the chosen length the rest of the recording follows."""
    clock = ManualClock()
    scenario = [Rule(action=Stall(after_bytes, 30.0))]
    async with Sandbox(world=WORLD, scenario=scenario, clock=clock) as sandbox:
        received = await ask(sandbox)
    assert (received.status, received.body, clock.slept) == (200, WAV, [30.0])


async def test_stall_until_the_client_leaves() -> None:
    """A silent answer is given up as soon as the client has gone."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=Stall(500))]) as sandbox:
        reader, writer = await start(sandbox)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(500) == WAV[:500]
        assert sandbox.under_way == 1
        writer.close()
        await sandbox.idle()


async def test_closing_ends_silent_answers() -> None:
    """Closing the sandbox does not wait for an answer that would never end."""
    async with Sandbox(world=WORLD, scenario=[Rule(action=Stall(500))]) as sandbox:
        reader, writer = await start(sandbox)
        await reader.readuntil(b"\r\n\r\n")
    with closing(writer), pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(len(WAV))


async def test_closing_ends_slow_readers() -> None:
    """Closing the sandbox does not wait for a client that does not read its recording."""
    world = World(audio=AudioSettings(seconds=(600, 600)))
    async with Sandbox(world=world) as sandbox:
        reader, writer = await start(sandbox)
        await reader.readuntil(b"\r\n\r\n")
        assert sandbox.under_way == 1
    writer.close()


async def test_early_leavers_are_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A client that hangs up in the middle of a long recording leaves no trace in the logs."""
    world = World(audio=AudioSettings(seconds=(600, 600)))
    async with Sandbox(world=world) as sandbox:
        reader, writer = await start(sandbox)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await sandbox.idle()
        assert (await ask(sandbox, key="")).status == 401
    assert caplog.records == []


@pytest.mark.parametrize(
    ("action", "pauses", "length"),
    [
        (Dribble(1000, 0.5), -(-len(WAV) // 1000) - 1, 0.5),
        (Bandwidth(20_000), -(-len(WAV) // 1000) - 1, 0.05),
    ],
)
async def test_slow_lines(action: Action, pauses: int, length: float) -> None:
    """A recording can come drop by drop, whole in the end."""
    clock = ManualClock()
    async with Sandbox(world=WORLD, scenario=[Rule(action=action)], clock=clock) as sandbox:
        received = await ask(sandbox)
    assert (received.status, received.body) == (200, WAV)
    assert clock.slept == [length] * pauses


async def test_latency_and_delay() -> None:
    """Latency precedes every answer, a rule's delay those that it matches."""
    clock = ManualClock()
    scenario = [Rule(match=Match(conversation="CA1"), delay=3.0)]
    limits = Limits(latency=0.25)
    async with Sandbox(world=WORLD, scenario=scenario, limits=limits, clock=clock) as sandbox:
        assert (await ask(sandbox)).body == WAV
        assert (await ask(sandbox, PATH.replace("CA1", "CA2"))).status == 200
    assert clock.slept == [0.25, 3.0, 0.25]


@pytest.mark.parametrize(
    ("style", "told"),
    [
        (RetryAfterStyle.SECONDS, "2"),
        (RetryAfterStyle.DATE, "fri, 15 jan 2027 08:00:02 gmt"),
        (RetryAfterStyle.NONE, None),
    ],
)
async def test_rate_limit(style: RetryAfterStyle, told: str | None) -> None:
    """Past the burst a key is refused and told when to come back; refusals are no attempts."""
    limits = Limits(requests_per_second=0.5, burst=2, retry_after=style)
    async with Sandbox(world=WORLD, limits=limits, clock=ManualClock()) as sandbox:
        answers = [await ask(sandbox) for _ in range(3)]
        assert (await ask(sandbox, key="sandbox-key-no-pii")).status == 200
        assert [request.attempt for request in sandbox.requests] == [1, 2, 0, 3]
    assert [received.status for received in answers] == [200, 200, 429]
    assert answers[2].headers.get("retry-after") == told
    assert answers[2].envelope["error_code"] == "TOO_MANY_REQUESTS"


async def test_concurrency_limit() -> None:
    """While one request is under way another is too many."""
    limits = Limits(max_concurrent=1, concurrency_status=503)
    async with Sandbox(world=WORLD, scenario=[Rule(action=Stall(0))], limits=limits) as sandbox:
        reader, writer = await start(sandbox)
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            assert (await ask(sandbox)).status == 503
            assert sandbox.most_under_way == 2


@pytest.mark.parametrize("framing", Framing)
async def test_framing(framing: Framing) -> None:
    """A whole recording can be told by its length, by chunks, or by the end of the connection."""
    world = World(audio=WORLD.audio, framing=framing)
    async with Sandbox(world=world) as sandbox:
        received = await ask(sandbox)
    chunked = received.headers.get("transfer-encoding") == "chunked"
    assert chunked is (framing is Framing.CHUNKED)
    assert ("content-length" in received.headers) is (framing is Framing.LENGTH)
    assert (unchunked(received.body) if chunked else (received.body, True)) == (WAV, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_only_this_machine(host: str) -> None:
    """The sandbox does not listen where others could connect, unless that is asked for."""
    with pytest.raises(ValueError, match="other machines"):
        Sandbox(host=host)
    assert Sandbox(host=host, allow_any_address=True).base_url.startswith("http://")


async def test_busy_port() -> None:
    """A port that is taken is an OSError, and nothing is left behind."""
    async with Sandbox(world=WORLD) as sandbox:
        port = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await Sandbox(port=port).__aenter__()


async def serving(
    check: Callable[[str], Awaitable[None]], number: int = signal.SIGTERM, **given: object
) -> None:
    """Run `serve`, check it, and end it with a signal."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(announce=ready.set_result, **given))  # type: ignore[arg-type]
        await check(await ready)
        os.kill(os.getpid(), number)


@dataclass
class Elsewhere:
    """Enough of a sandbox for `ask`."""

    base_url: str


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve(tmp_path: Path, number: int) -> None:
    """The program's flags win over the scenario file; either signal ends it cleanly."""
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "world: {audio: {seconds: [9, 9], codec: mulaw, pii_share: 1}}\n"
        "rules: [{match: {conversation: CA2}, respond: 502}]\n"
    )
    settings = AudioSettings(
        seconds=(0.5, 0.5), codec=Codec.MULAW, header_style=HeaderStyle.LIST, pii_share=1.0
    )
    expected = World(audio=settings).call("ws-1", "P", "CA1").wav(redacted=True)

    async def check(base_url: str) -> None:
        server = Elsewhere(base_url)
        assert (await ask(server)).body == expected
        assert (await ask(server, PATH.replace("CA1", "CA2"))).status == 502

    given = {"header_style": HeaderStyle.LIST, "pii_access": False, "scenario": path}
    await serving(check, number, call_seconds=(0.5, 0.5), **given)


async def test_serve_refuses_a_wrong_scenario(tmp_path: Path) -> None:
    """A wrong scenario is told before anything is served."""
    path = tmp_path / "scenario.yaml"
    path.write_text("rulez: []")
    with pytest.raises(ScenarioError, match="rules"):
        await serve(scenario=path)


async def test_serve_as_a_process() -> None:
    """A process prints one line with its address when it is ready, and ends well on SIGTERM."""
    program = "import asyncio; from exporter.sandbox import serve; asyncio.run(serve())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    assert (await ask(Elsewhere(line), key="")).status == 401
    process.terminate()
    assert await process.stdout.read() == b""
    assert await process.wait() == 0


@pytest.mark.parametrize(("text", "expected"), [("20-600", (20.0, 600.0)), ("0.5", (0.5, 0.5))])
def test_call_seconds(text: str, expected: tuple[float, float]) -> None:
    """Lengths are given as a range, or as one length for all."""
    assert parse_call_seconds(text) == expected


def test_wrong_call_seconds() -> None:
    """What is no length is refused with an example of what is."""
    with pytest.raises(ValueError, match="20-600"):
        parse_call_seconds("long")
