"""Every fault of the sandbox, seen from the wire."""

import asyncio
import gzip
import struct
from contextlib import closing
from email.utils import parsedate_to_datetime

import pytest

from exporter.sandbox import (
    Action,
    AudioSettings,
    Bandwidth,
    Cut,
    Damage,
    Dribble,
    Framing,
    Gzip,
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
    WrongBody,
    WrongType,
)
from tests.wire import (
    PATH,
    WAV,
    WORLD,
    ManualClock,
    Received,
    ask,
    start,
    unchunked,
)

HEADER_BYTES = 44


async def with_action(action: Action, *, world: World = WORLD) -> Received:
    async with Sandbox(world=world, scenario=[Rule(action=action)], clock=ManualClock()) as sandbox:
        return await ask(sandbox)


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
