"""Where a comparison begins and ends a muted span, and what it does not compare."""

from __future__ import annotations

import math
import random
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comparison import compare
from exporter.comparison.spans import MOST_SPANS
from exporter.errors import ErrorKind, FetchError
from exporter.model import RedactionEvidence
from exporter.sandbox import AudioSettings, Call, Codec, HeaderStyle
from exporter.sandbox import wav as sandbox_wav
from tests.memory import peak_of
from tests.speech import (
    CONFIRMED,
    IDENTICAL,
    INCONSISTENT,
    any_file,
    assert_spans,
    few,
    file,
    muted,
    speech,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPAIRED = RedactionEvidence.UNPAIRED


def test_one_channel_is_muted() -> None:
    """In stereo one side may be muted while the other goes on."""
    left, right = speech(16000, 8000, seed=1), speech(16000, 8000, seed=2)
    quiet = muted(right, [(4000, 9000)])
    raw, redacted = (
        any_file([value for frame in zip(left, side, strict=True) for value in frame], channels=2)
        for side in (right, quiet)
    )
    found = compare([raw], [redacted])
    assert (found.evidence, found.is_exact) == (CONFIRMED, True)
    assert_spans(found.muted_spans, [(0.5, 1.125)])
    assert compare([redacted], [raw]).evidence is INCONSISTENT


def test_muting_of_silence_is_not_seen() -> None:
    """Where the raw audio is digital silence nothing tells that it was muted."""
    raw = muted(speech(16000, 8000), [(4000, 8000)])
    assert compare([file(raw)], [file(muted(raw, [(5000, 7000)]))]).evidence is IDENTICAL


def test_pauses_inside_a_span_are_bridged() -> None:
    """Words that were muted with silence between them are one span, unless it is long."""
    raw = muted(speech(24000, 8000), [(6000, 7500), (12000, 14000)])
    redacted = muted(raw, [(4000, 18000)])
    found = compare([file(raw)], [file(redacted)])
    assert_spans(found.muted_spans, [(0.5, 1.5), (1.75, 2.25)])


@pytest.mark.parametrize(
    ("frames", "comfort", "evidence"),
    [(160, 0, CONFIRMED), (120, 0, INCONSISTENT), (480, 30, CONFIRMED), (300, 30, INCONSISTENT)],
)
def test_shortest_span(frames: int, comfort: int, evidence: RedactionEvidence) -> None:
    """Muted is nothing shorter than 20 ms of digital silence, or 60 ms of comfort noise."""
    raw = speech(8000, 8000, seed=11)
    redacted = muted(raw, [(3200, 3200 + frames)], comfort=comfort)
    assert compare([file(raw)], [file(redacted)]).evidence is evidence


def test_click() -> None:
    """A single sample that differs audibly is told, and a quiet one is not muting."""
    raw = speech(8000, 8000)
    click, faint = list(raw), list(raw)
    click[4000], faint[4000] = 30000, raw[4000] + 1
    found = compare([file(raw)], [file(click)])
    assert (found.evidence, found.differing_spans) == (INCONSISTENT, ((0.5, 0.52),))
    found = compare([file(raw)], [file(faint)])
    assert (found.evidence, found.is_exact) == (IDENTICAL, False)


def test_fades_belong_to_no_difference() -> None:
    """A span may fade in and out for 40 ms."""
    raw = speech(16000, 8000)
    redacted = muted(raw, [(4000, 8000)])
    for step in range(240):
        redacted[3760 + step] = round(raw[3760 + step] * (1 - step / 240))
        redacted[8000 + step] = round(raw[8000 + step] * step / 240)
    found = compare([file(raw)], [file(redacted)])
    assert found.evidence is CONFIRMED
    ((start, end),) = found.muted_spans
    assert 0.46 <= start <= 0.5
    assert 1.0 <= end <= 1.04


def test_beeps_are_not_silence() -> None:
    """A tone in place of what is private is a difference: this was not documented as redaction."""
    raw = speech(16000, 8000)
    redacted = list(raw)
    redacted[4000:8000] = [round(8000 * math.sin(n * math.pi / 4)) for n in range(4000)]
    assert compare([file(raw)], [file(redacted)]).evidence is INCONSISTENT


def test_another_call() -> None:
    """A long stranger is inconsistent to its end, though only its beginning is explained."""
    audio = AudioSettings(seconds=(60, 60))
    strangers = (Call.of("ws-1", "P", name, audio).wav() for name in ("CA1", "CA2"))
    found = compare(*([stranger] for stranger in strangers))
    assert found.evidence is INCONSISTENT
    assert found.differing_spans[-1][1] == pytest.approx(60, abs=0.5)


def test_no_end_of_spans() -> None:
    """However many spans there are, only so many are kept: the others are joined to the last."""
    piece = speech(480, 8000)
    raw = piece * (MOST_SPANS + 200)
    spans = [(480 * n + 160, 480 * n + 320) for n in range(MOST_SPANS + 200)]
    loud = [value or 1 for value in raw]
    # 40 ms between them would join them: every second one is left out.
    redacted = muted(loud, spans[::2])
    found = compare([file(loud)], [file(redacted)])
    assert found.evidence is CONFIRMED
    assert len(found.muted_spans) == len(spans[::2])
    found = compare([file(loud * 2)], [file(redacted * 2)])
    assert len(found.muted_spans) == MOST_SPANS
    assert found.muted_spans[-1][1] == pytest.approx(len(loud) * 2 / 8000, abs=0.2)


@pytest.mark.parametrize(
    "kind",
    ["same", "muted", "dithered", "strange"],
)
def test_constant_memory(kind: str) -> None:
    """A call ten times as long takes no more memory, however it differs."""
    second = speech(8000, 8000)
    others = {
        "same": second,
        "muted": muted(second, [(1000, 5000)]),
        "dithered": [value + 1 - 2 * (n % 2) for n, value in enumerate(second)],
        "strange": speech(8000, 8000, seed=4000),
    }
    raw, redacted = (struct.pack("<8000h", *sound) for sound in (second, others[kind]))

    def recording(stored: bytes, length: int) -> Iterator[bytes]:
        yield sandbox_wav.header(
            length * len(stored), codec=Codec.PCM, sample_rate=8000, style=HeaderStyle.NORMAL
        )
        for _ in range(length):
            yield stored

    def peak(length: int) -> int:
        return peak_of(lambda: compare(recording(raw, length), recording(redacted, length)))

    peak(2)  # what is made once is made
    # A span takes some 300 bytes: the results, not the audio.
    assert peak(100) < peak(10) + 100 * 400


def test_not_whole() -> None:
    """A damaged file is not compared but refused."""
    whole = file(speech(8000, 8000))
    for damaged in (whole[:-100], b"", whole[:20], b"{}"):
        with pytest.raises(FetchError):
            compare([whole], [damaged])
    with pytest.raises(FetchError) as caught:
        compare([whole + b"more of it"], [whole])
    assert caught.value.kind is ErrorKind.SIZE_MISMATCH


def test_incomparable() -> None:
    """Other rates or channels cannot be compared: neither a proof nor an alarm."""
    mono = file(speech(8000, 8000))
    for other in (file(speech(16000, 16000), rate=16000), any_file([0] * 8000, channels=2)):
        found = compare([mono], [other])
        assert found.evidence is UNPAIRED
        assert found.problem is not None
        assert found.problem.startswith("one is pcm_s16le at 8000 Hz in 1 channels")


def test_what_cannot_be_decoded() -> None:
    """Compressed audio is compared as it is stored: the same is the same, the rest is unknown."""
    blocks = random.Random(1).randbytes(65 * 300)
    fmt = struct.pack("<HHIIHHHH", 0x31, 1, 8000, 1625, 65, 0, 2, 320)

    def gsm(data: bytes) -> bytes:
        body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
        body += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    assert compare([gsm(blocks)], [gsm(blocks)]).evidence is IDENTICAL
    found = compare([gsm(blocks)], [gsm(blocks[:650] + bytes(650) + blocks[1300:])])
    assert found.evidence is UNPAIRED
    assert found.problem == "they differ, and gsm_ms cannot be decoded"
    assert compare([gsm(blocks)], [file([0] * 8000)]).evidence is UNPAIRED
    found = compare([gsm(blocks)], [gsm(blocks[: 65 * 290])])
    assert (found.evidence, found.length_difference_seconds) == (INCONSISTENT, -0.4)


@few
@given(st.lists(st.floats(width=32), min_size=1, max_size=500), st.integers(1, 500))
def test_any_float_is_judged(values: list[float], length: int) -> None:
    """Floats that are no numbers, infinite or huge lead to a verdict, never to a crash."""

    def floats(samples: list[float]) -> bytes:
        data = struct.pack(f"<{len(samples)}f", *samples)
        fmt = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
        body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data"
        body += struct.pack("<I", len(data)) + data
        return b"RIFF" + struct.pack("<I", len(body)) + body

    found = compare([floats(values)], [floats([0.1] * length)])
    assert found.evidence in RedactionEvidence


@pytest.mark.parametrize("length", [0, 1, 2])
def test_hardly_any_audio(length: int) -> None:
    """Recordings of next to nothing are compared like others."""
    assert compare([file([5] * length)], [file([5] * length)]).evidence is IDENTICAL
