"""What a `fmt ` chunk says: which encoding, and how many bytes make a second.

What is readable
    PCM, float, A-law, mu-law, also as WAVE_FORMAT_EXTENSIBLE; and compressed telephony encodings
    of a constant rate, where the number of bytes tells the duration (to a block). Any other
    encoding, and big-endian RIFX, is `unsupported_audio`: nothing is claimed of it. The byte rate
    that uncompressed audio states is ignored: it adds nothing, and writers get it wrong.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.audio.verdicts import malformed, unsupported
from exporter.model import AudioFormat

_PCM: Final = 0x0001
_EXTENSIBLE: Final = 0xFFFE
EXTENSIBLE_BYTES: Final = 40
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")

# Format tag and bytes of one sample -> ffmpeg's name.
_SAMPLE_CODECS: Final = {
    (_PCM, 1): "pcm_u8",
    (_PCM, 2): "pcm_s16le",
    (_PCM, 3): "pcm_s24le",
    (_PCM, 4): "pcm_s32le",
    (0x0003, 4): "pcm_f32le",
    (0x0003, 8): "pcm_f64le",
    (0x0006, 1): "pcm_alaw",
    (0x0007, 1): "pcm_mulaw",
}
_SAMPLE_TAGS: Final = frozenset(tag for tag, _ in _SAMPLE_CODECS)
# Compressed: the first say in `fmt ` how many frames a block holds, the others a true byte rate.
_BLOCK_CODECS: Final = {0x0002: "adpcm_ms", 0x0011: "adpcm_ima_wav", 0x0031: "gsm_ms"}
_RATE_CODECS: Final = {0x0042: "g723_1", 0x0045: "adpcm_g726", 0x0064: "adpcm_g726", 0x0083: "g729"}
_REFUSED_NAMES: Final = {0x0050: "MPEG", 0x0055: "MP3", 0x00FF: "AAC", 0x0161: "WMA"}

_MAX_CHANNELS: Final = 256
_MAX_SAMPLE_RATE: Final = 1_000_000

FMT: Final = struct.Struct("<HHIIHH")


class Encoding(NamedTuple):
    """What `fmt ` says; `block_frames` is 0 where only the byte rate tells the time."""

    codec: str
    sample_rate: int
    channels: int
    bits: int
    block_align: int
    block_frames: int
    byte_rate: int

    def describe(self, audio_bytes: int) -> AudioFormat:
        """What a file in this encoding holds, with so many bytes of audio."""
        if self.block_frames:
            frames = audio_bytes // self.block_align * self.block_frames
            duration = frames / self.sample_rate
        else:
            duration = audio_bytes / self.byte_rate
        return AudioFormat(self.codec, self.sample_rate, self.channels, self.bits, duration)


@lru_cache(maxsize=64)
def parse_fmt(fmt: bytes) -> Encoding:
    """Understand a `fmt ` chunk, given up to its first 40 bytes: the same in most calls."""
    tag, channels, sample_rate, byte_rate, block_align, bits = FMT.unpack_from(fmt)
    if tag == _EXTENSIBLE:
        tag = _wrapped_tag(fmt, bits)
    is_sane = 0 < channels <= _MAX_CHANNELS and 0 < sample_rate <= _MAX_SAMPLE_RATE
    if not is_sane or not block_align:
        raise malformed(
            f"{channels} channels, {sample_rate} frames a second, {block_align} bytes a frame"
        )
    width = (bits + 7) // 8
    if tag in _SAMPLE_TAGS:
        if not bits or block_align != channels * width or (tag != _PCM and bits % 8):
            raise malformed(f"{channels} channels of {bits} bits in {block_align} bytes a frame")
        codec, bits, block_frames = _SAMPLE_CODECS.get((tag, width)), width * 8, 1
    elif tag in _BLOCK_CODECS:
        # At the same place in ADPCM's, in GSM's and in the extensible form.
        codec, block_frames = _BLOCK_CODECS[tag], int.from_bytes(fmt[18:20], "little")
    else:
        codec, block_frames = _RATE_CODECS.get(tag), 0
    if codec is None:
        name = _REFUSED_NAMES.get(tag, f"{bits} bits")
        raise unsupported(f"format tag 0x{tag:04X} ({name})")
    if not (block_frames or byte_rate):
        raise malformed(f"the fmt chunk does not tell the duration of a block of {codec}")
    return Encoding(codec, sample_rate, channels, bits, block_align, block_frames, byte_rate)


def _wrapped_tag(fmt: bytes, bits: int) -> int:
    """The format tag inside a WAVE_FORMAT_EXTENSIBLE."""
    if len(fmt) < EXTENSIBLE_BYTES:
        raise malformed(
            f"an extensible fmt chunk of {len(fmt)} bytes, {EXTENSIBLE_BYTES} are needed"
        )
    if fmt[26:40] != _GUID_TAIL:
        raise unsupported(f"sub-format {fmt[24:40].hex()}")
    tag = int.from_bytes(fmt[24:26], "little")
    valid_bits = int.from_bytes(fmt[18:20], "little")
    if tag in _SAMPLE_TAGS and valid_bits > bits:
        raise malformed(f"{valid_bits} valid bits in samples of {bits} bits")
    return tag
