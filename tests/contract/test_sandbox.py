"""The sandbox on the wire, asked over a bare socket: no HTTP client smooths anything over."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from exporter.sandbox import (
    AudioSettings,
    Codec,
    Framing,
    HeaderStyle,
    Limits,
    Match,
    Respond,
    RetryAfterStyle,
    Rule,
    Sandbox,
    ScenarioError,
    Stall,
    World,
    parse_call_seconds,
    serve,
)
from tests.wire import (
    PATH,
    WAV,
    WORLD,
    ManualClock,
    ask,
    start,
    unchunked,
)


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
