"""WAV files: sample encodings and the header styles that telephony servers are seen to send."""

from __future__ import annotations

import struct
import sys
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from array import array


class Codec(StrEnum):
    """How a sample is stored."""

    PCM = "pcm"  # signed, 16 bit, little-endian
    MULAW = "mulaw"
    ALAW = "alaw"


class HeaderStyle(StrEnum):
    """How the WAV header is written."""

    NORMAL = "normal"  # the plain one, with true sizes
    STREAMED = "streamed"  # sizes 0xFFFFFFFF: written before the length was known
    STREAMED_ZERO = "streamed-zero"  # sizes 0: likewise
    EXTENSIBLE = "extensible"  # WAVE_FORMAT_EXTENSIBLE
    LIST = "list"  # a LIST chunk of metadata stands before the data


SILENCE: Final = {Codec.PCM: b"\x00\x00", Codec.MULAW: b"\xff", Codec.ALAW: b"\xd5"}
"""One sample of digital silence."""

_FORMAT_TAGS: Final = {Codec.PCM: 1, Codec.ALAW: 6, Codec.MULAW: 7}
_EXTENSIBLE_TAG: Final = 0xFFFE
# The second half of every WAVE_FORMAT_EXTENSIBLE sub-format GUID; the first holds the format tag.
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_FRONT_CENTRE: Final = 4
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_SOFTWARE: Final = b"INFOISFT\x08\x00\x00\x00sandbox\x00"

_MULAW_BIAS: Final = 132
_MULAW_CLIP: Final = 32635


def width(codec: Codec) -> int:
    """Bytes a sample."""
    return 2 if codec is Codec.PCM else 1


def encode(samples: array[int], codec: Codec) -> bytes:
    """16-bit samples as they are stored in a file."""
    if codec is Codec.PCM:
        if sys.byteorder == "big":
            samples = samples[:]
            samples.byteswap()
        return samples.tobytes()
    table = _mulaw_table() if codec is Codec.MULAW else _alaw_table()
    # A negative sample indexes the table from its end: the order of 16-bit two's complement.
    return bytes(map(table.__getitem__, samples))


def file(data: bytes, *, codec: Codec, sample_rate: int, style: HeaderStyle) -> bytes:
    """A whole mono WAV file around encoded samples."""
    pad = b"\x00" * (len(data) % 2)
    before = header(len(data), codec=codec, sample_rate=sample_rate, style=style)
    return b"".join((before, data, pad))


def header(data_bytes: int, *, codec: Codec, sample_rate: int, style: HeaderStyle) -> bytes:
    """Everything that stands before the samples."""
    chunks = [_chunk(b"fmt ", _format(codec, sample_rate, style))]
    if codec is not Codec.PCM:
        chunks.append(_chunk(b"fact", struct.pack("<I", data_bytes // width(codec))))
    if style is HeaderStyle.LIST:
        chunks.append(_chunk(b"LIST", _SOFTWARE))
    between = b"".join(chunks)
    padded = data_bytes + data_bytes % 2
    riff_size, data_size = 4 + len(between) + 8 + padded, data_bytes
    if style is HeaderStyle.STREAMED:
        riff_size = data_size = _UNKNOWN_SIZE
    elif style is HeaderStyle.STREAMED_ZERO:
        riff_size = data_size = 0
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE"),
            between,
            struct.pack("<4sI", b"data", data_size),
        )
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body


def _format(codec: Codec, sample_rate: int, style: HeaderStyle) -> bytes:
    size = width(codec)
    tag = _FORMAT_TAGS[codec]
    stored_tag = _EXTENSIBLE_TAG if style is HeaderStyle.EXTENSIBLE else tag
    basic = struct.pack("<HHIIHH", stored_tag, 1, sample_rate, sample_rate * size, size, 8 * size)
    if style is HeaderStyle.EXTENSIBLE:
        return basic + struct.pack("<HHIH", 22, 8 * size, _FRONT_CENTRE, tag) + _GUID_TAIL
    # Every format but PCM carries the size of its extension, here none.
    return basic if codec is Codec.PCM else basic + struct.pack("<H", 0)


@lru_cache(maxsize=1)
def _mulaw_table() -> list[int]:
    """ITU-T G.711 mu-law for each 16-bit sample, indexed by its two's complement."""
    return [_mulaw(_signed(index)) for index in range(65536)]


@lru_cache(maxsize=1)
def _alaw_table() -> list[int]:
    """ITU-T G.711 A-law, likewise."""
    return [_alaw(_signed(index)) for index in range(65536)]


def _signed(index: int) -> int:
    return index - 65536 if index >= 32768 else index  # noqa: PLR2004


def _mulaw(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _MULAW_CLIP) + _MULAW_BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def _alaw(sample: int) -> int:
    sign = 0x80 if sample >= 0 else 0
    # Negative numbers count from -1 down, so that zero has one code and not two.
    magnitude = (sample if sample >= 0 else ~sample) >> 4
    exponent = max(0, magnitude.bit_length() - 4)
    mantissa = (magnitude >> max(0, exponent - 1)) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55
