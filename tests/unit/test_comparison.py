"""Raw against redacted: muted spans are found, none is invented, and doubt is said."""

from __future__ import annotations

import io
import math
import random
import struct
import tracemalloc
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.comparison import Comparison, compare
from exporter.comparison.samples import DECODERS
from exporter.comparison.spans import MOST_SPANS
from exporter.errors import ErrorKind, FetchError
from exporter.model import RedactionEvidence
from exporter.sandbox import AudioSettings, Call, Codec, Direction, HeaderStyle, RedactionStyle
from exporter.sandbox import wav as sandbox_wav

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONFIRMED = RedactionEvidence.CONFIRMED
IDENTICAL = RedactionEvidence.IDENTICAL
INCONSISTENT = RedactionEvidence.INCONSISTENT
UNPAIRED = RedactionEvidence.UNPAIRED

GRID = 0.02
FULL_SCALE = 32768
CODEC_NAMES = {Codec.PCM: "pcm_s16le", Codec.MULAW: "pcm_mulaw", Codec.ALAW: "pcm_alaw"}
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


def seconds(spans: Sequence[tuple[int, int]], rate: int) -> list[tuple[float, float]]:
    return [(first / rate, last / rate) for first, last in spans]


def assert_spans(found: Sequence[tuple[float, float]], true: Sequence[tuple[float, float]]) -> None:
    """Each span is found within 20 ms, and none is invented."""
    assert len(found) == len(true), (found, true)
    for span, truth in zip(found, true, strict=True):
        for ours, theirs in zip(span, truth, strict=True):
            assert abs(ours - theirs) <= GRID + 1e-9, (found, true)


@dataclass(frozen=True)
class Made:
    """A made-up call with muted spans, in frames."""

    rate: int
    codec: Codec
    raw: list[int]
    spans: list[tuple[int, int]]

    @property
    def true_spans(self) -> list[tuple[float, float]]:
        return seconds(self.spans, self.rate)

    def pair(self, *, comfort: int = 0) -> tuple[bytes, bytes]:
        redacted = muted(self.raw, self.spans, comfort=comfort)
        return (
            file(self.raw, rate=self.rate, codec=self.codec),
            file(redacted, rate=self.rate, codec=self.codec),
        )


@st.composite
def calls(draw: st.DrawFn, *, pauses: bool, least_spans: int = 1) -> Made:
    """Speech over line noise, perhaps with pauses, and where it is muted, at any sample."""
    rate = draw(st.sampled_from([8000, 16000]))
    codec = draw(st.sampled_from(list(Codec)))
    seed, line = draw(st.integers(0, 10_000)), draw(st.integers(9, 60))
    position, spans = 0, []
    for _ in range(draw(st.integers(least_spans, 3))):
        position += draw(st.integers(rate * 26 // 100, rate))
        length = draw(st.integers(rate // 10, rate))
        spans.append((position, position + length))
        position += length
    frames = position + draw(st.integers(rate // 4, rate))
    raw = speech(frames, rate, seed=seed, line=line)
    if pauses:
        for _ in range(draw(st.integers(0, 4))):
            first = draw(st.integers(0, max(0, frames - 1)))
            last = min(frames, first + draw(st.integers(1, rate)))
            raw[first:last] = noise(last - first, line, seed + 1)
    return Made(rate, codec, raw, spans)


@few
@given(calls(pauses=True))
def test_muted_spans_are_found(made: Made) -> None:
    """Digital silence is found to 20 ms, over speech and over pauses, and nothing else is."""
    found = compare([made.pair()[0]], [made.pair()[1]])
    assert (found.evidence, found.is_exact, found.problem) == (CONFIRMED, True, None)
    assert_spans(found.muted_spans, made.true_spans)
    assert found.differing_spans == found.raw_muted_spans == ()


@few
@given(calls(pauses=False), st.integers(4, 150))
def test_comfort_noise_is_silence(made: Made, amplitude: int) -> None:
    """Comfort noise of up to -52 dBFS is as good as silence."""
    raw, redacted = made.pair(comfort=amplitude)
    found = compare([raw], [redacted])
    assert (found.evidence, found.problem) == (CONFIRMED, None)
    assert_spans(found.muted_spans, made.true_spans)


@few
@given(calls(pauses=True), st.data())
def test_swapped(made: Made, data: st.DataObject) -> None:
    """Where the raw recording is the muted one the pair is inconsistent, and says so."""
    comfort = data.draw(st.sampled_from([0, 0, 60]))
    raw, redacted = made.pair(comfort=comfort)
    if comfort and not compare([raw], [redacted]).muted_spans:
        return  # every span lies in a pause: too quiet to tell
    found = compare([redacted], [raw])
    assert found.evidence is INCONSISTENT
    assert found.problem is not None
    assert "swapped" in found.problem
    assert found.muted_spans == found.differing_spans == ()
    if not comfort:
        assert_spans(found.raw_muted_spans, made.true_spans)


@few
@given(calls(pauses=True, least_spans=0))
def test_identical(made: Made) -> None:
    """The same samples are identical, whatever stands around them in the files."""
    raw = file(made.raw, rate=made.rate, codec=made.codec)
    data = sandbox_wav.encode(array("h", made.raw), made.codec)
    for style in HeaderStyle:
        again = sandbox_wav.file(data, codec=made.codec, sample_rate=made.rate, style=style)
        found = compare([raw], [again])
        # Behind a streamed header the pad byte cannot be told from a sample.
        shift = found.length_difference_seconds
        assert shift in {0.0, round(len(data) % 2 / made.rate, 9)}
        expected = Comparison(IDENTICAL, length_difference_seconds=shift, is_exact=not shift)
        assert found == expected


@few
@given(calls(pauses=True, least_spans=0), st.sampled_from([Codec.MULAW, Codec.ALAW]))
def test_encoding_once_more_is_no_redaction(made: Made, codec: Codec) -> None:
    """What telephone codecs do to audio is neither muting nor a difference."""
    raw = file(made.raw, rate=made.rate)
    coded = sandbox_wav.encode(array("h", made.raw), codec)
    decoded = DECODERS[CODEC_NAMES[codec]](coded)
    for redacted in (file(made.raw, rate=made.rate, codec=codec), file(decoded, rate=made.rate)):
        found = compare([raw], [redacted])
        assert (found.evidence, found.is_exact, found.muted_spans) == (IDENTICAL, False, ())


@few
@given(calls(pauses=True, least_spans=0), st.integers(1, 3))
def test_dither_is_no_redaction(made: Made, amplitude: int) -> None:
    """New dither on the same audio, pauses and all, is neither muting nor a difference."""
    fresh = noise(len(made.raw), amplitude, 5)
    dithered = [sample + hiss for sample, hiss in zip(made.raw, fresh, strict=True)]
    found = compare([file(made.raw, rate=made.rate)], [file(dithered, rate=made.rate)])
    assert (found.evidence, found.is_exact, found.muted_spans) == (IDENTICAL, False, ())


@few
@given(calls(pauses=False), st.sampled_from([Codec.MULAW, Codec.ALAW]), st.booleans())
def test_muted_and_encoded_once_more(made: Made, codec: Codec, stays_coded: bool) -> None:
    """Muted spans are found to 20 ms also where every other sample is a little off."""
    redacted = muted(made.raw, made.spans)
    second = file(redacted, rate=made.rate, codec=codec)
    if not stays_coded:
        coded = sandbox_wav.encode(array("h", redacted), codec)
        second = file(DECODERS[CODEC_NAMES[codec]](coded), rate=made.rate)
    found = compare([file(made.raw, rate=made.rate)], [second])
    assert (found.evidence, found.is_exact) == (CONFIRMED, False)
    assert_spans(found.muted_spans, made.true_spans)


@few
@given(calls(pauses=True), st.data())
def test_any_pieces(made: Made, data: st.DataObject) -> None:
    """The result does not depend on how the files arrive."""
    raw, redacted = made.pair(comfort=data.draw(st.sampled_from([0, 40])))

    def pieces(content: bytes) -> Iterator[bytes]:
        cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=8))
        edges = [0, *sorted(cuts), len(content)]
        return (content[a:b] for a, b in pairwise(edges))

    expected = compare([raw], [redacted])
    assert compare(pieces(raw), pieces(redacted)) == expected
    assert compare(io.BytesIO(raw), io.BytesIO(redacted)) == expected
    every_byte = ([content[at : at + 1] for at in range(len(content))] for content in made.pair())
    assert compare(*every_byte) == compare(*([content] for content in made.pair()))


@few
@given(calls(pauses=False), st.data())
def test_what_is_not_muted_is_told(made: Made, data: st.DataObject) -> None:
    """Other audio in place of some is inconsistent, and the place is named."""
    first = data.draw(st.integers(0, len(made.raw) - made.rate // 5))
    last = first + made.rate // 5
    altered = list(made.raw)
    altered[first:last] = [
        sample // 2 + 3000 * (-1) ** (n // 9) for n, sample in enumerate(made.raw[first:last])
    ]
    found = compare([file(made.raw, rate=made.rate)], [file(altered, rate=made.rate)])
    assert found.evidence is INCONSISTENT
    assert_spans(found.differing_spans, seconds([(first, last)], made.rate))
    assert found.muted_spans == found.raw_muted_spans == ()


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_calls_of_the_sandbox(direction: Direction, codec: Codec, rate: int) -> None:
    """In synthetic calls every private turn is found, heard from each side and through each codec.

    Comfort noise in the place of line noise is the exception: the agent's side tells nothing.
    """
    for style in (RedactionStyle.SILENCE, RedactionStyle.COMFORT_NOISE):
        audio = AudioSettings(
            seconds=(2, 20), codec=codec, sample_rate=rate, pii_share=0.7, redaction=style
        )
        for number in range(4):
            call = Call.of("ws-1", "P", f"CA{number}", audio)
            found = compare([call.wav(direction)], [call.wav(direction, redacted=True)])
            is_told = direction is not Direction.AGENT or style is RedactionStyle.SILENCE
            true = call.pii_spans if is_told else ()
            assert found.evidence is (CONFIRMED if true else IDENTICAL)
            assert_spans(found.muted_spans, true)


@pytest.mark.parametrize("direction", Direction)
def test_shortened(direction: Direction) -> None:
    """A redaction that cuts out what is private is inconsistent: nothing behind it is aligned."""
    audio = AudioSettings(seconds=(5, 20), pii_share=1, redaction=RedactionStyle.SHORTEN)
    call = Call.of("ws-1", "P", "CA1", audio)
    missing = sum(last - first for first, last in call.pii_spans)
    found = compare([call.wav(direction)], [call.wav(direction, redacted=True)])
    assert found.evidence is INCONSISTENT
    assert found.problem is not None
    assert "shorter" in found.problem
    assert found.length_difference_seconds == pytest.approx(-missing)
    assert found.muted_spans == found.raw_muted_spans == ()
    assert found.differing_spans[0][0] == pytest.approx(call.pii_spans[0][0], abs=GRID)


@pytest.mark.parametrize("change", [-801, -800, -1, 0, 1, 800, 801])
def test_length_at_the_end(change: int) -> None:
    """Up to 100 ms more or less at the end mean nothing; the difference is told all the same."""
    raw = speech(16000, 8000)
    redacted = muted(raw, [(4000, 8000)])
    redacted = redacted[:change] if change < 0 else redacted + [500] * change
    found = compare([file(raw)], [file(redacted)])
    assert found.length_difference_seconds == pytest.approx(change / 8000, abs=1e-6)
    assert found.evidence is (INCONSISTENT if abs(change) > 800 else CONFIRMED)
    assert found.is_exact is (change == 0)


def test_shifted() -> None:
    """Audio that lies elsewhere is inconsistent: what was taken away to shift it is unknown."""
    raw = speech(16000, 8000)
    found = compare([file(raw)], [file([*raw[40:], *raw[:40]])])
    assert found.evidence is INCONSISTENT
    assert found.differing_spans == ((0.0, 2.0),)


@pytest.mark.parametrize("codec", STORED)
@pytest.mark.parametrize("other", STORED)
def test_encodings(codec: str, other: str) -> None:
    """Muted spans are found in every encoding, and between any two of them."""
    raw = speech(8000, 8000, seed=3)
    redacted = muted(raw, [(2400, 5600)])
    found = compare([any_file(raw, codec)], [any_file(redacted, other)])
    assert found.evidence is CONFIRMED
    assert_spans(found.muted_spans, [(0.3, 0.7)])
    again = compare([any_file(raw, codec)], [any_file(raw, other)])
    is_lossless = {codec, other}.isdisjoint({"pcm_u8", "pcm_alaw", "pcm_mulaw"})
    assert (again.evidence, again.is_exact) == (IDENTICAL, is_lossless or codec == other)


@pytest.mark.parametrize("codec", [Codec.MULAW, Codec.ALAW])
def test_decoders_undo_the_encoders(codec: Codec) -> None:
    """Decoding and encoding leads back to each code, but for the second zero of mu-law."""
    codes = bytes(range(256))
    decoded = array("h", DECODERS[CODEC_NAMES[codec]](codes))
    expected = codes.replace(b"\x7f", b"\xff") if codec is Codec.MULAW else codes
    assert sandbox_wav.encode(decoded, codec) == expected


def test_two_zeros_are_one_silence() -> None:
    """Where only the sign of mu-law's zero differs the audio is the same."""
    zeros = [
        sandbox_wav.file(code * 4000, codec=Codec.MULAW, sample_rate=8000, style=HeaderStyle.NORMAL)
        for code in (b"\xff", b"\x7f")
    ]
    assert compare([zeros[0]], [zeros[1]]) == Comparison(IDENTICAL, is_exact=True)


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
        tracemalloc.start()
        try:
            compare(recording(raw, length), recording(redacted, length))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

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
