"""Made-up calls, with known spans muted, in any encoding."""

from __future__ import annotations

import math
import random
import struct
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

from hypothesis import settings

from exporter.model import RedactionEvidence
from exporter.sandbox import Codec, HeaderStyle
from exporter.sandbox import wav as sandbox_wav

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONFIRMED = RedactionEvidence.CONFIRMED
IDENTICAL = RedactionEvidence.IDENTICAL
INCONSISTENT = RedactionEvidence.INCONSISTENT
GRID = 0.02
FULL_SCALE = 32768


# Name -> format tag, bits, how a 16-bit sample is stored.
STORED: dict[str, tuple[int, int, Callable[[int], bytes]]] = {
    "pcm_u8": (1, 8, lambda v: struct.pack("<B", (v >> 8) + 128)),
    "pcm_s16le": (1, 16, lambda v: struct.pack("<h", v)),
    "pcm_s24le": (1, 24, lambda v: struct.pack("<i", v << 8)[:3]),
    "pcm_s32le": (1, 32, lambda v: struct.pack("<i", v << 16)),
    "pcm_f32le": (3, 32, lambda v: struct.pack("<f", v / FULL_SCALE)),
    "pcm_f64le": (3, 64, lambda v: struct.pack("<d", v / FULL_SCALE)),
    "pcm_alaw": (6, 8, lambda v: sandbox_wav.encode(array("h", [v]), Codec.ALAW)),
    "pcm_mulaw": (7, 8, lambda v: sandbox_wav.encode(array("h", [v]), Codec.MULAW)),
}

few = settings(max_examples=20)


def file(samples: Sequence[int], *, rate: int = 8000, codec: Codec = Codec.PCM) -> bytes:
    return sandbox_wav.file(
        sandbox_wav.encode(array("h", samples), codec),
        codec=codec,
        sample_rate=rate,
        style=HeaderStyle.NORMAL,
    )


def any_file(
    samples: Sequence[int], codec: str = "pcm_s16le", *, channels: int = 1, rate: int = 8000
) -> bytes:
    tag, bits, store = STORED[codec]
    stored = {value: store(value) for value in set(samples)}
    data = b"".join(stored[value] for value in samples)
    size = channels * bits // 8
    header = struct.pack("<HHIIHH", tag, channels, rate, rate * size, size, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", len(data))
    body += data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@lru_cache(maxsize=8)
def voice(rate: int) -> tuple[int, ...]:
    """Two seconds that are nowhere quiet for as long as a window."""
    sound = []
    for frame in range(2 * rate):
        seconds = frame / rate
        swell = 0.6 + 0.4 * math.sin(2 * math.pi * 3 * seconds)
        tones = (170, 430, 1210, 2330)
        wave = sum(math.sin(2 * math.pi * tone * seconds) / (n + 1) for n, tone in enumerate(tones))
        sound.append(round(4000 * swell * wave))
    return tuple(sound)


def noise(frames: int, amplitude: int, seed: int = 0) -> list[int]:
    source = random.Random(f"{seed} {amplitude}")
    bank = [source.randint(-amplitude, amplitude) for _ in range(4001)]
    return [bank[(frame * 7 + frame // 4001) % 4001] for frame in range(frames)]


def speech(frames: int, rate: int, *, seed: int = 0, line: int = 20) -> list[int]:
    sound = voice(rate)
    return [
        sound[(frame + seed) % len(sound)] + hiss
        for frame, hiss in enumerate(noise(frames, line, seed))
    ]


def muted(
    samples: Sequence[int], spans: Sequence[tuple[int, int]], *, comfort: int = 0
) -> list[int]:
    quiet = list(samples)
    for number, (first, last) in enumerate(spans):
        length = last - first
        quiet[first:last] = noise(length, comfort, 99 + number) if comfort else [0] * length
    return quiet


def assert_spans(found: Sequence[tuple[float, float]], true: Sequence[tuple[float, float]]) -> None:
    """Each span is found within 20 ms, and none is invented."""
    assert len(found) == len(true), (found, true)
    for span, truth in zip(found, true, strict=True):
        for ours, theirs in zip(span, truth, strict=True):
            assert abs(ours - theirs) <= GRID + 1e-9, (found, true)
