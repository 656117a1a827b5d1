"""Headers as they are met: streamed, sloppy, unusual, refused."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.audio import AudioPlace, WavInspector, inspect
from exporter.errors import ErrorKind, FetchError
from exporter.model import AudioFormat
from tests.riff import (
    ALAW,
    AUDIO,
    EXTENSIBLE,
    FLOAT,
    MULAW,
    PCM,
    PLAIN,
    PLAIN_FORMAT,
    UNKNOWN,
    chunk,
    extension,
    fmt,
    in_pieces,
    refusal,
    rf64,
    riff,
    unhurried,
    verdict,
    wav_files,
)

STREAMED = [
    pytest.param(0, 0, id="libsndfile on a pipe"),
    pytest.param(UNKNOWN, UNKNOWN, id="ffmpeg on a pipe"),
    pytest.param(0x7FFFF024, 0x7FFFF000, id="sox on a pipe"),
    pytest.param(0x7FFFF00E, 0x7FFFEFEA, id="sox, rounded down to frames"),
    pytest.param(0x7FFF0024, 0x7FFF0000, id="GStreamer on a pipe"),
    pytest.param(0x7FFFFFFF, 0x7FFFFFFF, id="largest signed"),
    pytest.param(0x80000024, 0x80000000, id="arecord on a pipe"),
    pytest.param(UNKNOWN, UNKNOWN - 36, id="largest unsigned"),
    pytest.param(UNKNOWN, 0, id="only the RIFF is marked"),
    pytest.param(0, UNKNOWN, id="only the data is marked"),
    pytest.param(36, 0, id="header of an empty file, never mended"),
    pytest.param(36, UNKNOWN, id="RIFF of an empty file"),
]


@pytest.mark.parametrize(("riff_size", "data_size"), STREAMED)
def test_streamed_headers(riff_size: int, data_size: int) -> None:
    """Where the header knows no size, the audio runs to the end of the body."""
    content = riff(fmt(), chunk(b"data", AUDIO, size=data_size), size=riff_size)
    assert inspect(content) == PLAIN_FORMAT
    assert in_pieces(content, range(len(content))) == PLAIN_FORMAT


@pytest.mark.parametrize(("riff_size", "data_size"), STREAMED)
def test_streamed_file_cut_inside_a_frame(riff_size: int, data_size: int) -> None:
    """A stream that ends with half a frame was cut."""
    content = riff(fmt(), chunk(b"data", AUDIO[:-1], size=data_size, pad=b""), size=riff_size)
    error = refusal(content)
    assert error.kind is ErrorKind.TRUNCATED
    assert "1 of 2 bytes" in error.message


def test_streamed_pad_byte_is_no_half_frame() -> None:
    """A stream of an odd number of bytes may bear its pad byte, as sox writes it."""
    content = riff(fmt(bits=24), chunk(b"data", bytes(27), size=0x7FFFF000), size=0x7FFFF024)
    assert inspect(content).duration_seconds == 9 / 8000


def test_streamed_rf64() -> None:
    """A 64-bit header without sizes, as ffmpeg leaves it on a pipe, is a streamed file."""
    wide = chunk(b"data", AUDIO, size=UNKNOWN)
    assert inspect(rf64(fmt(), wide, riff_size=0, data_size=0)) == PLAIN_FORMAT
    endless = (1 << 64) - 1
    assert inspect(rf64(fmt(), wide, riff_size=endless, data_size=endless)) == PLAIN_FORMAT


def test_rf64_may_state_small_sizes_in_the_old_place() -> None:
    """Where a 64-bit file states its data size in 32 bits, that one counts."""
    assert inspect(rf64(fmt(), chunk(b"data", AUDIO), data_size=7)) == PLAIN_FORMAT


def test_empty_recording_is_whole_when_both_sizes_say_so() -> None:
    """A call without audio is a recording of 0 seconds."""
    empty = AudioFormat("pcm_s16le", 8000, 1, 16, 0.0)
    assert inspect(riff(fmt(), chunk(b"data", b""))) == empty
    assert inspect(riff(fmt(), chunk(b"data", b""), chunk(b"LIST", b"INFO"))) == empty


@pytest.mark.parametrize(("riff_size", "data_size"), [(0, 0), (UNKNOWN, UNKNOWN), (36, UNKNOWN)])
def test_streamed_header_alone_is_truncated(riff_size: int, data_size: int) -> None:
    """A streamed header without a byte of audio looks like a stream cut at once: refused."""
    error = refusal(riff(fmt(), chunk(b"data", b"", size=data_size), size=riff_size))
    assert error.kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(riff(fmt(), chunk(b"data", AUDIO), size=0), id="RIFF size 0"),
        pytest.param(riff(fmt(), chunk(b"data", AUDIO), size=UNKNOWN), id="RIFF size unknown"),
        pytest.param(riff(fmt(), chunk(b"data", AUDIO), size=len(AUDIO)), id="only the audio"),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO), size=len(PLAIN) - 24), id="without chunk headers"
        ),
        pytest.param(riff(fmt(), chunk(b"data", AUDIO), size=len(PLAIN)), id="with its own header"),
        pytest.param(
            riff(chunk(b"LIST", bytes(900)), fmt(), chunk(b"data", AUDIO), size=36 + len(AUDIO)),
            id="without the LIST before",
        ),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO), chunk(b"LIST", b"abc"), size=36 + len(AUDIO)),
            id="without the LIST behind",
        ),
        pytest.param(
            riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN), size=36 + len(AUDIO)),
            id="RIFF size real, data size unknown",
        ),
        pytest.param(riff(fmt(byte_rate=7), chunk(b"data", AUDIO)), id="wrong byte rate"),
        pytest.param(
            riff(chunk(b"LIST", b"abc", pad=b""), fmt(), chunk(b"data", AUDIO)),
            id="pad byte left out in the middle",
        ),
        pytest.param(
            riff(chunk(b"LIST", b"abc", pad=b"\x01"), fmt(), chunk(b"data", AUDIO)),
            id="pad byte is not 0",
        ),
        pytest.param(riff(fmt(), chunk(b"data", AUDIO + b"\1")), id="half a frame, sized"),
    ],
)
def test_sloppy_writers_are_forgiven(content: bytes) -> None:
    """Sizes that are wrong in known ways, with every byte of the audio there, are accepted."""
    assert inspect(content) == PLAIN_FORMAT


def test_pad_byte_of_the_last_chunk_may_be_missing() -> None:
    """The pad byte behind odd audio may be left out, unless the RIFF size counts it."""
    header = fmt(MULAW, 8)
    bare = riff(header, chunk(b"data", b"abc", pad=b""))
    assert inspect(bare).duration_seconds == 3 / 8000
    padded = riff(header, chunk(b"data", b"abc"))
    assert inspect(padded).duration_seconds == 3 / 8000
    assert refusal(padded[:-1]).kind is ErrorKind.TRUNCATED
    uncounted = riff(header, chunk(b"data", b"abc"), size=len(bare) - 8)
    assert inspect(uncounted).duration_seconds == 3 / 8000


def test_lost_empty_last_chunk_is_the_price_of_forgiveness() -> None:
    """8 missing bytes are forgiven behind whole audio only: there they can hold nothing."""
    assert inspect(riff(fmt(), chunk(b"data", AUDIO), chunk(b"free", b""))[:-8]) == PLAIN_FORMAT
    assert refusal(PLAIN[:-8]).kind is ErrorKind.TRUNCATED
    assert refusal(riff(fmt(), chunk(b"data", b""))[:-8]).kind is ErrorKind.TRUNCATED


GSM = fmt(0x31, 0, block=65, byte_rate=1625, more=struct.pack("<HH", 2, 320))
IMA = fmt(0x11, 4, block=256, byte_rate=16000, more=struct.pack("<HH", 2, 505))


@pytest.mark.parametrize(
    ("header", "audio_bytes", "expected"),
    [
        pytest.param(GSM, 1626, AudioFormat("gsm_ms", 8000, 1, 0, 1.0), id="GSM, as sox pads it"),
        pytest.param(IMA, 4096, AudioFormat("adpcm_ima_wav", 8000, 1, 4, 1.01), id="IMA ADPCM"),
        pytest.param(
            fmt(0x45, 4, block=1, byte_rate=4000),
            4000,
            AudioFormat("adpcm_g726", 8000, 1, 4, 1.0),
            id="G.726",
        ),
        pytest.param(
            fmt(0x83, 0, block=10, byte_rate=1000),
            1500,
            AudioFormat("g729", 8000, 1, 0, 1.5),
            id="G.729",
        ),
        pytest.param(
            fmt(PCM, 12, block=2), 1600, AudioFormat("pcm_s16le", 8000, 1, 16, 0.1), id="12 in 16"
        ),
        pytest.param(
            fmt(EXTENSIBLE, 24, block=3, more=extension(PCM, 20)),
            2400,
            AudioFormat("pcm_s24le", 8000, 1, 24, 0.1),
            id="20 valid bits in 24",
        ),
    ],
)
def test_unusual_encodings(header: bytes, audio_bytes: int, expected: AudioFormat) -> None:
    """Compressed telephony encodings of a constant rate and odd sample widths are understood."""
    fact = chunk(b"fact", bytes(4))
    assert inspect(riff(header, fact, chunk(b"data", bytes(audio_bytes)))) == expected


DATA = chunk(b"data", AUDIO)
REFUSED = [
    # (what, body, kind, words of the message)
    ("empty", b"", ErrorKind.NOT_AUDIO, "empty"),
    ("JSON", b'{"success": false, "error": "no"}', ErrorKind.NOT_AUDIO, "JSON"),
    ("JSON list", b"\xef\xbb\xbf\n [1, 2]", ErrorKind.NOT_AUDIO, "JSON"),
    ("HTML", b"<!DOCTYPE html><html><body>Bad gateway", ErrorKind.NOT_AUDIO, "looks like HTML"),
    ("XML", b'<?xml version="1.0"?><Error/>', ErrorKind.NOT_AUDIO, "XML"),
    ("text", b"upstream connect error", ErrorKind.NOT_AUDIO, "plain text and begins 'upstream"),
    ("short text", b"no", ErrorKind.NOT_AUDIO, "plain text"),
    ("gzip", gzip.compress(PLAIN), ErrorKind.NOT_AUDIO, "gzip"),
    ("MP3 with tag", b"ID3\4\0\0\0\0\0\0" + bytes(90), ErrorKind.NOT_AUDIO, "MP3"),
    ("MP3", b"\xff\xfb\x90\x64" + bytes(90), ErrorKind.NOT_AUDIO, "MP3"),
    ("Ogg", b"OggS\0\2" + bytes(90), ErrorKind.NOT_AUDIO, "Ogg"),
    ("noise", b"\x00\x01\x02\xfe" * 20, ErrorKind.NOT_AUDIO, "unknown binary data"),
    ("AVI", riff()[:8] + b"AVI " + bytes(90), ErrorKind.NOT_AUDIO, "RIFF file of another type"),
    ("one letter", b"R", ErrorKind.TRUNCATED, "after 1 bytes"),
    ("half a header", PLAIN[:7], ErrorKind.TRUNCATED, "promises at least 12"),
    ("cut in audio", PLAIN[:500], ErrorKind.TRUNCATED, "after 500 bytes"),
    ("cut in audio", PLAIN[:500], ErrorKind.TRUNCATED, "at least 844"),
    ("cut, RIFF unknown", riff(fmt(), DATA, size=0)[:500], ErrorKind.TRUNCATED, "at least 844"),
    ("cut, RIFF too small", riff(fmt(), DATA, size=800)[:-4], ErrorKind.TRUNCATED, "844"),
    (
        "cut, data unknown",
        riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN), size=836)[:-4],
        ErrorKind.TRUNCATED,
        "at least 844",
    ),
    ("cut before data", riff(fmt(), size=0), ErrorKind.TRUNCATED, "after 36 bytes"),
    ("lost LIST", riff(fmt(), DATA, size=900), ErrorKind.TRUNCATED, "at least 908"),
    (
        "cut LIST, RIFF unknown",
        riff(fmt(), DATA, chunk(b"LIST", bytes(9)), size=0)[:-4],
        ErrorKind.TRUNCATED,
        "promises",
    ),
    ("trailing byte", PLAIN + b"\0", ErrorKind.SIZE_MISMATCH, "1 more bytes"),
    ("trailing text", PLAIN + b"\r\n--boundary--", ErrorKind.SIZE_MISMATCH, "more follows"),
    ("trailing JSON", PLAIN + b'{"success": false}', ErrorKind.SIZE_MISMATCH, "844"),
    ("two files", PLAIN + PLAIN, ErrorKind.SIZE_MISMATCH, "'RIFF' at byte 844"),
    ("trailing, unsized", riff(fmt(), DATA, bytes(9), size=0), ErrorKind.SIZE_MISMATCH, "844"),
    (
        "trailing, data unknown",
        riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN), bytes(4), size=836),
        ErrorKind.SIZE_MISMATCH,
        "4 more bytes",
    ),
    ("no chunk", riff(fmt(), bytes(20), DATA), ErrorKind.MALFORMED_AUDIO, "chunk was expected"),
    ("data too small", riff(fmt(), chunk(b"data", AUDIO, size=8)), ErrorKind.MALFORMED_AUDIO, ""),
    ("data too large", riff(fmt(), chunk(b"data", AUDIO, size=900)), ErrorKind.MALFORMED_AUDIO, ""),
    ("nested file", riff(PLAIN), ErrorKind.MALFORMED_AUDIO, "'RIFF' at byte 12"),
    ("no chunks", riff(), ErrorKind.MALFORMED_AUDIO, "no data chunk"),
    ("no data", riff(fmt(), chunk(b"LIST", b"INFO")), ErrorKind.MALFORMED_AUDIO, "no data"),
    ("no fmt", riff(DATA), ErrorKind.MALFORMED_AUDIO, "no fmt chunk"),
    ("fmt behind data", riff(DATA, fmt()), ErrorKind.MALFORMED_AUDIO, "no fmt chunk"),
    ("two fmt", riff(fmt(), fmt(), DATA), ErrorKind.MALFORMED_AUDIO, "second fmt"),
    ("two data", riff(fmt(), DATA, DATA), ErrorKind.MALFORMED_AUDIO, "second data"),
    ("short fmt", riff(chunk(b"fmt ", bytes(14)), DATA), ErrorKind.MALFORMED_AUDIO, "14 bytes"),
    ("no channel", riff(fmt(channels=0, block=2), DATA), ErrorKind.MALFORMED_AUDIO, "0 channels"),
    ("no rate", riff(fmt(rate=0), DATA), ErrorKind.MALFORMED_AUDIO, "0 frames a second"),
    ("absurd rate", riff(fmt(rate=1 << 31), DATA), ErrorKind.MALFORMED_AUDIO, "2147483648 frames"),
    ("absurd channels", riff(fmt(channels=9999), DATA), ErrorKind.MALFORMED_AUDIO, "9999"),
    ("no block", riff(fmt(block=0), DATA), ErrorKind.MALFORMED_AUDIO, "0 bytes a frame"),
    ("wrong block", riff(fmt(block=3), DATA), ErrorKind.MALFORMED_AUDIO, "in 3 bytes"),
    ("no bits", riff(fmt(bits=0, block=1), DATA), ErrorKind.MALFORMED_AUDIO, "0 bits"),
    ("odd float", riff(fmt(FLOAT, 30, block=4), DATA), ErrorKind.MALFORMED_AUDIO, "30 bits"),
    ("short extensible", riff(fmt(EXTENSIBLE), DATA), ErrorKind.MALFORMED_AUDIO, "40 are needed"),
    (
        "too many valid bits",
        riff(fmt(EXTENSIBLE, more=extension(PCM, 24)), DATA),
        ErrorKind.MALFORMED_AUDIO,
        "24 valid bits",
    ),
    ("endless chunks", riff(chunk(b"JUNK", b"") * 2000), ErrorKind.MALFORMED_AUDIO, "1,000 chunks"),
    ("RF64 without ds64", b"RF64" + riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN))[4:],
     ErrorKind.MALFORMED_AUDIO, "no ds64"),
    ("short ds64", riff(chunk(b"ds64", bytes(8)), magic=b"RF64"), ErrorKind.MALFORMED_AUDIO, "8 b"),
    ("GSM without times", riff(fmt(0x31, 0, block=65, byte_rate=0), DATA),
     ErrorKind.MALFORMED_AUDIO, "gsm_ms"),
    ("RIFX", riff(fmt(), DATA, magic=b"RIFX"), ErrorKind.UNSUPPORTED_AUDIO, "big-endian"),
    ("MP3 in WAV", riff(fmt(0x55, 0, block=1), DATA), ErrorKind.UNSUPPORTED_AUDIO, "0x0055 (MP3)"),
    ("unknown tag", riff(fmt(0x1234, block=2), DATA), ErrorKind.UNSUPPORTED_AUDIO, "0x1234"),
    ("64-bit PCM", riff(fmt(bits=64), DATA), ErrorKind.UNSUPPORTED_AUDIO, "0x0001 (64 bits)"),
    ("16-bit A-law", riff(fmt(ALAW, 16), DATA), ErrorKind.UNSUPPORTED_AUDIO, "0x0006 (16 bits)"),
    (
        "foreign sub-format",
        riff(fmt(EXTENSIBLE, more=extension(PCM, 16)[:-1] + b"\0"), DATA),
        ErrorKind.UNSUPPORTED_AUDIO,
        "sub-format 0100",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_refused(content: bytes, kind: ErrorKind, words: str) -> None:
    """Each kind of damage has its kind, and a message that names what was found."""
    error = refusal(content)
    assert error.kind is kind
    assert words in error.message
    assert verdict(content, range(len(content))) == (error.kind, error.message)


def test_refused_before_the_body_has_ended() -> None:
    """What is no WAV file is refused while it arrives, without its end."""
    with pytest.raises(FetchError, match="HTML"):
        WavInspector().feed(b"<html>" + bytes(100))


@unhurried
@given(st.text(max_size=100))
@example("x" * 39 + " 0123456789abcdef0123")
@example("a b c d e f g h i j k l m n o p q r s tuvwxyz0123456789abcdef")
def test_message_shows_a_little_of_the_body_and_no_secret(text: str) -> None:
    """A refusal shows at most 40 characters, and nothing that may be a key or a number."""
    secret = "sk_live_4f9a8b7c6d5e4f3a"
    error = refusal(f"key {secret} call +44 20 7946 0958 {text}".encode())
    assert error.kind is ErrorKind.NOT_AUDIO
    assert "4f9a" not in error.message
    assert "7946" not in error.message
    assert "key …" in error.message
    assert len(error.message) < 160


def test_too_large() -> None:
    """A file over the limit is refused; one that just reaches it is not."""
    size = len(PLAIN)
    WavInspector(max_bytes=size).feed(PLAIN)
    inspector = WavInspector(max_bytes=size - 1)
    with pytest.raises(FetchError, match=f"may have {size - 1}") as caught:
        inspector.feed(PLAIN)
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_too_large_is_known_from_the_header() -> None:
    """A header that promises too much is enough: nothing more is downloaded."""
    with pytest.raises(FetchError) as caught:
        WavInspector(max_bytes=800).feed(PLAIN[:44])
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert "844" in caught.value.message


def test_streamed_file_over_the_limit() -> None:
    """Where the header promises nothing, the bytes that arrive are counted."""
    inspector = WavInspector(max_bytes=1000)
    inspector.feed(riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN), size=UNKNOWN))
    with pytest.raises(FetchError) as caught:
        inspector.feed(AUDIO)
    assert caught.value.kind is ErrorKind.TOO_LARGE


@unhurried
@given(wav_files(), st.integers(1, 200))
def test_place_of_the_audio(wav: tuple[bytes, AudioFormat], size: int) -> None:
    """As soon as the header is known the inspector tells where the audio lies, to the byte."""
    content, expected = wav
    inspector = WavInspector()
    for at in range(0, len(content), size):
        inspector.feed(content[at : at + size])
        if inspector.place:
            break
    place = inspector.place
    assert place is not None
    assert content[place.start - 8 : place.start - 4] == b"data"
    # Only where there is no audio at all the sizes can be those of a streamed file.
    end = len(content) if place.end is None else place.end
    frames = (end - place.start) // place.frame_bytes
    assert frames / place.sample_rate == expected.duration_seconds
    assert (place.codec, place.channels) == (expected.codec, expected.channels)


def test_place_of_streamed_audio() -> None:
    """Audio that runs to the end of the body has no end before."""
    inspector = WavInspector()
    inspector.feed(riff(fmt(), chunk(b"data", AUDIO, size=UNKNOWN), size=UNKNOWN))
    assert inspector.place == AudioPlace(44, None, "pcm_s16le", 8000, 1, 2)
