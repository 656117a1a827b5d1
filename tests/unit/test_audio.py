"""WAV structure: what is a whole recording, what is not, and why."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.audio import WavInspector, inspect
from exporter.errors import ErrorKind, FetchError
from tests.riff import (
    PLAIN,
    PLAIN_FORMAT,
    UNKNOWN,
    chunk,
    fmt,
    in_pieces,
    refusal,
    riff,
    unhurried,
    verdict,
    wav_files,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import AudioFormat


@settings(deadline=None, max_examples=50)
@given(wav_files(), st.data())
def test_any_layout_in_any_pieces(wav: tuple[bytes, AudioFormat], data: st.DataObject) -> None:
    """However chunks are laid out and pieces arrive, the same format comes out."""
    content, expected = wav
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=8))
    assert inspect(content) == expected
    assert in_pieces(content, cuts) == expected
    assert in_pieces(content, range(len(content))) == expected


@settings(deadline=None, max_examples=50)
@given(wav_files())
def test_no_sized_file_passes_when_cut(wav: tuple[bytes, AudioFormat]) -> None:
    """A file with true sizes is refused as truncated wherever it is cut."""
    content, _ = wav
    assert refusal(b"").kind is ErrorKind.NOT_AUDIO
    for length in range(1, len(content)):
        assert refusal(content[:length]).kind is ErrorKind.TRUNCATED, length


@settings(deadline=None, max_examples=300)
@given(
    riff_size=st.sampled_from([0, 1, 36, 37, 8 << 20, 0x7FFEEFFF, 0x7FFEF000, UNKNOWN])
    | st.integers(30, 80),
    data_size=st.sampled_from([0, 1, 0x7FFEEFFF, 0x7FFEF000, UNKNOWN]) | st.integers(0, 30),
    rate=st.sampled_from([0, 8000]),
    behind=st.binary(max_size=12),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    max_bytes=st.none() | st.integers(56, 80),
)
def test_the_usual_header_at_once_or_byte_by_byte(
    *,
    riff_size: int,
    data_size: int,
    rate: int,
    behind: bytes,
    cuts: list[int],
    max_bytes: int | None,
) -> None:
    """The header that is read in one step means what it means when it is read bit by bit."""
    body = riff(fmt(rate=rate), chunk(b"data", b"", size=data_size), behind, size=riff_size)

    def heard(cuts: Iterable[int]) -> tuple[object, ...]:
        inspector = WavInspector(max_bytes=max_bytes)
        before = 0
        try:
            for cut in [*sorted(cuts), len(body)]:
                inspector.feed(body[before:cut])
                before = max(before, cut)
            place = inspector.place
            return place, inspector.finish()
        except FetchError as error:
            # How large a body is at least depends on when it is told.
            is_large = error.kind is ErrorKind.TOO_LARGE
            return error.kind, "" if is_large else error.message

    assert heard([]) == heard(range(len(body))) == heard(cuts)


@unhurried
@given(st.binary(max_size=300), st.sampled_from([b"", b"RIFF\xff\xff\xff\xffWAVE", PLAIN[:36]]))
def test_noise_is_judged_and_never_crashes(noise: bytes, start: bytes) -> None:
    """Random bytes, also behind a true beginning, raise nothing but a FetchError."""
    whole = verdict(start + noise)
    assert verdict(start + noise, range(len(start + noise))) == whole


@unhurried
@given(wav_files(), st.data())
def test_damaged_headers_are_judged_alike_in_any_pieces(
    wav: tuple[bytes, AudioFormat], data: st.DataObject
) -> None:
    """Any damage ends in a format or a FetchError, the same one for any pieces."""
    damaged = bytearray(wav[0])
    places = st.integers(0, min(len(damaged) - 1, 120))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(places)] = data.draw(st.sampled_from([0, 1, 0x20, 0x7F, 0xFF, 0x64]))
    if data.draw(st.booleans()):
        del damaged[data.draw(places)]
    cuts = data.draw(st.lists(st.integers(0, len(damaged)), max_size=5))
    assert verdict(bytes(damaged), cuts) == verdict(bytes(damaged))


@unhurried
@given(
    st.integers(1, 2),
    st.integers(1, 4),
    st.sampled_from([8000, 16000, 44100]),
    st.integers(0, 50),
)
def test_agrees_with_the_standard_library(
    channels: int, width: int, rate: int, frames: int
) -> None:
    """What the `wave` module writes and reads back is understood in the same way."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(bytes(frames * channels * width))
    with wave.open(io.BytesIO(file.getvalue()), "rb") as reader:
        found = inspect(file.getvalue())
        assert found.channels == reader.getnchannels()
        assert found.bits_per_sample == 8 * reader.getsampwidth()
        assert found.sample_rate == reader.getframerate()
        assert found.duration_seconds == reader.getnframes() / reader.getframerate()


@pytest.mark.parametrize(
    "piece",
    [bytes(PLAIN), bytearray(PLAIN), memoryview(PLAIN)],
    ids=["bytes", "bytearray", "memoryview"],
)
def test_takes_any_bytes(piece: bytes | bytearray | memoryview) -> None:
    """Bytes, bytearray and memoryview are all understood."""
    assert inspect(piece) == PLAIN_FORMAT


class Untouchable(bytes):
    """Bytes that may be counted but not read."""

    __slots__ = ()

    def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
        raise AssertionError(key)


def test_audio_is_counted_and_not_looked_at() -> None:
    """A piece inside the audio is neither read nor copied, and nothing of it is held."""
    piece = Untouchable(1 << 20)
    inspector = WavInspector()
    inspector.feed(riff(fmt(), chunk(b"data", b"", size=64 << 20), size=36 + (64 << 20)))
    for _ in range(64):
        inspector.feed(piece)
    assert not inspector._held
    assert inspector.finish().duration_seconds == (64 << 20) / 16000


def test_skipped_chunks_are_not_held() -> None:
    """A large chunk that is no audio costs no memory either."""
    inspector = WavInspector()
    inspector.feed(riff(chunk(b"JUNK", b"", size=1 << 20), size=UNKNOWN))
    for _ in range(15):
        inspector.feed(bytes(1 << 16))
        assert len(inspector._held) == 0
