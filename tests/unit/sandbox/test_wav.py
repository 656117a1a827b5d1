"""WAV files: header styles and G.711."""

import struct
from array import array

import pytest

from exporter.sandbox import wav
from exporter.sandbox.wav import Codec, HeaderStyle

# (sample, mu-law, A-law) from the tables of ITU-T G.711.
G711 = [
    (0, 0xFF, 0xD5),
    (-32768, 0x00, 0x2A),
    (32767, 0x80, 0xAA),
    (1000, 0xCE, 0xFA),
    (-1000, 0x4E, 0x7A),
]


@pytest.mark.parametrize(("sample", "mulaw", "alaw"), G711)
def test_g711(sample: int, mulaw: int, alaw: int) -> None:
    """Samples are companded as the standard's tables say."""
    assert wav.encode(array("h", [sample]), Codec.MULAW) == bytes([mulaw])
    assert wav.encode(array("h", [sample]), Codec.ALAW) == bytes([alaw])


@pytest.mark.parametrize("codec", Codec)
def test_silence_is_an_encoded_zero(codec: Codec) -> None:
    """What mutes a span is what a sample of zero looks like in that encoding."""
    assert wav.encode(array("h", [0]), codec) == wav.SILENCE[codec]


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("style", [HeaderStyle.NORMAL, HeaderStyle.EXTENSIBLE, HeaderStyle.LIST])
@pytest.mark.parametrize("frames", [3, 4])
def test_true_sizes(codec: Codec, style: HeaderStyle, frames: int) -> None:
    """Where the header tells sizes they are true, the pad byte of odd data among them."""
    data = wav.encode(array("h", range(frames)), codec)
    file = wav.file(data, codec=codec, sample_rate=8000, style=style)
    assert struct.unpack_from("<I", file, 4)[0] == len(file) - 8
    at = file.index(b"data")
    assert struct.unpack_from("<I", file, at + 4)[0] == len(data)
    assert file[at + 8 :].rstrip(b"\0") == data.rstrip(b"\0")
    assert len(file) % 2 == 0


@pytest.mark.parametrize(
    ("style", "size"), [(HeaderStyle.STREAMED, 0xFFFFFFFF), (HeaderStyle.STREAMED_ZERO, 0)]
)
def test_streamed_sizes(style: HeaderStyle, size: int) -> None:
    """Streamed styles claim not to know how long the recording is."""
    file = wav.file(b"\1\2", codec=Codec.PCM, sample_rate=8000, style=style)
    assert struct.unpack_from("<I", file, 4)[0] == size
    assert struct.unpack_from("<I", file, file.index(b"data") + 4)[0] == size


def test_extensible_format() -> None:
    """WAVE_FORMAT_EXTENSIBLE keeps the true format tag in its GUID."""
    file = wav.file(b"\1\2", codec=Codec.MULAW, sample_rate=8000, style=HeaderStyle.EXTENSIBLE)
    assert struct.unpack_from("<IH", file, 16) == (40, 0xFFFE)
    assert file[44:60] == bytes.fromhex("0700000000001000800000aa00389b71")
