"""How the sandbox redacts: silence, comfort noise, shortening; and what stays the same."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from array import array

import pytest

from exporter.sandbox import (
    AudioSettings,
    Call,
    Codec,
    Direction,
    RedactionStyle,
    Sandbox,
    ScenarioError,
    World,
    parse_scenario,
    serve,
)
from exporter.sandbox import wav as sandbox_wav


def call(style: RedactionStyle, codec: Codec = Codec.PCM, *, level: float = -60.0) -> Call:
    audio = AudioSettings(
        seconds=(5, 20), pii_share=1, codec=codec, redaction=style, comfort_noise_dbfs=level
    )
    return Call.of("ws-1", "P", "CA1", audio)


def outside(samples: bytes, made: Call, width: int) -> bytes:
    """The samples that are not private."""
    edges = [0, *(edge for span in made.pii_frames for edge in span), made.frames]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return b"".join(samples[first * width : last * width] for first, last in pairs)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("codec", Codec)
def test_only_private_spans_change(codec: Codec, direction: Direction) -> None:
    """Whatever stands in private spans, the rest of the redacted variant is the raw one's."""
    width = sandbox_wav.width(codec)
    raw = call(RedactionStyle.SILENCE, codec).samples(direction)
    for style in RedactionStyle:
        made = call(style, codec)
        redacted = made.samples(direction, redacted=True)
        assert made.samples(direction) == raw
        assert made.pii_spans == call(RedactionStyle.SILENCE).pii_spans != ()
        if style is RedactionStyle.SHORTEN:
            assert redacted == outside(raw, made, width)
        else:
            assert len(redacted) == len(raw)
            assert outside(redacted, made, width) == outside(raw, made, width)


@pytest.mark.parametrize("level", [-75.0, -60.0, -30.0])
def test_comfort_noise_has_its_level(level: float) -> None:
    """Comfort noise is as loud as was asked for, in every direction anew, the same each time."""
    made = call(RedactionStyle.COMFORT_NOISE, level=level)
    heard = [made.samples(direction, redacted=True) for direction in Direction]
    assert heard == [made.samples(direction, redacted=True) for direction in Direction]
    spans = []
    for redacted in heard:
        first, last = made.pii_frames[0]
        noise = array("h", redacted[first * 2 : last * 2])
        found = math.hypot(*noise) / math.sqrt(len(noise)) / 32768
        assert 20 * math.log10(found) == pytest.approx(level, abs=0.5)
        spans.append(bytes(noise))
    assert len(set(spans)) == len(Direction)


async def test_over_the_wire() -> None:
    """A world's redaction is what its server sends, also to a key without PII access."""
    text = (
        "world: {audio: {seconds: [3, 3], pii_share: 1, redaction: comfort-noise,"
        " comfort_noise_dbfs: -55}}"
    )
    world = parse_scenario(text).world
    expected = world.call("ws-1", "P", "CA1").wav("user", redacted=True)
    assert expected != World(audio=AudioSettings(seconds=(3, 3), pii_share=1)).call(
        "ws-1", "P", "CA1"
    ).wav("user", redacted=True)
    async with Sandbox(world=world) as sandbox:
        host, port = sandbox.base_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /v3/ws-1/P/conversations/CA1/audio?direction=user HTTP/1.1\r\nHost: x\r\n"
            b"Connection: close\r\nx-api-key: sandbox-key-no-pii\r\n\r\n"
        )
        answer = await reader.read(-1)
        writer.close()
    assert answer.partition(b"\r\n\r\n")[2] == expected


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ("redaction: beep", "silence, comfort-noise, shorten"),
        ("comfort_noise_dbfs: 0", "between -90 and -10"),
    ],
)
def test_wrong_redaction(audio: str, message: str) -> None:
    """A scenario with a redaction that does not exist is refused."""
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(f"world: {{audio: {{{audio}}}}}")


async def test_serve_takes_it(capfd: pytest.CaptureFixture[str]) -> None:
    """The program's arguments win over the scenario's."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    expected = call(RedactionStyle.SHORTEN).wav(redacted=True)

    async def check() -> None:
        host, port = (await ready).removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /v3/ws-1/P/conversations/CA1/audio?redacted=true HTTP/1.1\r\nHost: x\r\n"
            b"Connection: close\r\nx-api-key: sandbox-key\r\n\r\n"
        )
        answer = await reader.read(-1)
        writer.close()
        assert answer.partition(b"\r\n\r\n")[2] == expected
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            serve(
                announce=ready.set_result,
                call_seconds=(5, 20),
                pii_share=1,
                redaction=RedactionStyle.SHORTEN,
            )
        )
        tasks.create_task(check())
    assert capfd.readouterr().out == ""
