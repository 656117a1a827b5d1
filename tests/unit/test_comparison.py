"""Raw against redacted: muted spans are found, none is invented, and doubt is said."""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comparison import Comparison, compare
from exporter.comparison.samples import DECODERS
from exporter.sandbox import AudioSettings, Call, Codec, Direction, HeaderStyle, RedactionStyle
from exporter.sandbox import wav as sandbox_wav
from tests.speech import (
    CONFIRMED,
    GRID,
    IDENTICAL,
    INCONSISTENT,
    STORED,
    any_file,
    assert_spans,
    few,
    file,
    muted,
    noise,
    speech,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CODEC_NAMES = {Codec.PCM: "pcm_s16le", Codec.MULAW: "pcm_mulaw", Codec.ALAW: "pcm_alaw"}


def seconds(spans: Sequence[tuple[int, int]], rate: int) -> list[tuple[float, float]]:
    return [(first / rate, last / rate) for first, last in spans]


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
    if comfort and compare([raw], [redacted]).evidence is not CONFIRMED:
        return  # a span lies in a pause, or a part of it does: too quiet to tell
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
