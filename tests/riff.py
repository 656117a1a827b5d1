"""WAV files made piece by piece, and what the inspector says of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from exporter.audio import WavInspector, inspect
from exporter.errors import ErrorKind, FetchError
from exporter.model import AudioFormat

if TYPE_CHECKING:
    from collections.abc import Iterable

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
UNKNOWN = 0xFFFFFFFF

# A busy machine is no failure.
unhurried = settings(deadline=None)

CODECS = {
    (PCM, 8): "pcm_u8",
    (PCM, 16): "pcm_s16le",
    (PCM, 24): "pcm_s24le",
    (PCM, 32): "pcm_s32le",
    (FLOAT, 32): "pcm_f32le",
    (FLOAT, 64): "pcm_f64le",
    (ALAW, 8): "pcm_alaw",
    (MULAW, 8): "pcm_mulaw",
}


def chunk(name: bytes, content: bytes, *, size: int | None = None, pad: bytes = b"\0") -> bytes:
    stated = len(content) if size is None else size
    return name + struct.pack("<I", stated) + content + pad * (len(content) % 2)


def fmt(
    tag: int = PCM,
    bits: int = 16,
    channels: int = 1,
    rate: int = 8000,
    *,
    block: int | None = None,
    byte_rate: int | None = None,
    more: bytes = b"",
) -> bytes:
    block = channels * (bits // 8) if block is None else block
    byte_rate = rate * block if byte_rate is None else byte_rate
    return chunk(
        b"fmt ",
        struct.pack("<HHIIHH", tag, channels, rate, byte_rate & UNKNOWN, block, bits) + more,
    )


def extension(tag: int, bits: int) -> bytes:
    return struct.pack("<HHIH", 22, bits, 0, tag) + GUID_TAIL


def riff(*chunks: bytes, size: int | None = None, magic: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def rf64(*chunks: bytes, riff_size: int | None = None, data_size: int) -> bytes:
    total = 4 + 36 + sum(map(len, chunks))
    sizes = struct.pack("<QQQI", total if riff_size is None else riff_size, data_size, 0, 0)
    return riff(chunk(b"ds64", sizes), *chunks, size=UNKNOWN, magic=b"RF64")


AUDIO = bytes(range(200)) * 4  # 400 frames of 16 bits: 0.05 s
PLAIN = riff(fmt(), chunk(b"data", AUDIO))
PLAIN_FORMAT = AudioFormat("pcm_s16le", 8000, 1, 16, 0.05)


def in_pieces(data: bytes, cuts: Iterable[int]) -> AudioFormat:
    inspector = WavInspector()
    before = 0
    for cut in [*sorted(cuts), len(data)]:
        inspector.feed(data[before:cut])
        before = max(before, cut)
    return inspector.finish()


def refusal(data: bytes) -> FetchError:
    with pytest.raises(FetchError) as caught:
        inspect(data)
    return caught.value


def verdict(data: bytes, cuts: Iterable[int] = ()) -> AudioFormat | tuple[ErrorKind, str]:
    try:
        return in_pieces(data, cuts)
    except FetchError as error:
        return error.kind, error.message


other_names = st.sampled_from([b"LIST", b"fact", b"bext", b"JUNK", b"iXML", b"id3 ", b"x y~"])
other_chunks = st.lists(
    st.builds(chunk, other_names, st.binary(min_size=1, max_size=30)), max_size=3
).map(b"".join)


@st.composite
def wav_files(draw: st.DrawFn) -> tuple[bytes, AudioFormat]:
    """A WAV file whose sizes are all true, and what it holds."""
    (tag, bits), codec = draw(st.sampled_from(sorted(CODECS.items())))
    channels = draw(st.integers(1, 4))
    rate = draw(st.sampled_from([8000, 11025, 16000, 44100, 48000]))
    frames = draw(st.integers(0, 25))
    more = draw(st.sampled_from([b"", b"\0\0", b"\4\0abcd"]))
    header = fmt(tag, bits, channels, rate, more=more)
    if draw(st.booleans()):
        header = fmt(
            EXTENSIBLE,
            bits,
            channels,
            rate,
            more=extension(tag, bits) + draw(st.binary(max_size=9)),
        )
    audio = draw(st.binary(min_size=1, max_size=7)) * (frames * channels * bits)
    audio = audio[: frames * channels * (bits // 8)]
    before, between, after = draw(other_chunks), draw(other_chunks), draw(other_chunks)
    if draw(st.booleans()):
        data = riff(before, header, between, chunk(b"data", audio), after)
    else:
        wide = chunk(b"data", audio, size=UNKNOWN)
        data = rf64(before, header, between, wide, after, data_size=len(audio))
    return data, AudioFormat(codec, rate, channels, bits, frames / rate)
