"""Stored audio -> numbers: every encoding is brought to the scale of 16-bit PCM.

Everything that touches each sample is one call into C (`bytes.translate`, slices, `array`), for
Python's own loops take fifty times as long.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGN: Final = 0x80


def _mulaw(code: int) -> int:
    """ITU-T G.711 mu-law, as a 16-bit sample."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)
    return 0x84 - magnitude if code & _SIGN else magnitude - 0x84


def _alaw(code: int) -> int:
    """ITU-T G.711 A-law, as a 16-bit sample."""
    code ^= 0x55
    segment = (code >> 4) & 7
    magnitude = ((code & 0x0F) << 4) + (0x108 if segment else 8)
    magnitude <<= max(0, segment - 1)
    return magnitude if code & _SIGN else -magnitude


def _unsigned(code: int) -> int:
    """8-bit PCM, whose silence is 128, as a 16-bit sample."""
    return (code - 128) << 8


def _by_table(sample_of: Callable[[int], int]) -> Callable[[bytes], array[int]]:
    values = [sample_of(code) & 0xFFFF for code in range(256)]
    low = bytes(value & 0xFF for value in values)
    high = bytes(value >> 8 for value in values)

    def decode(stored: bytes) -> array[int]:
        both = bytearray(2 * len(stored))
        both[0::2] = stored.translate(low)
        both[1::2] = stored.translate(high)
        return _pcm_16(both)

    return decode


def _pcm_16(stored: bytes | bytearray) -> array[int]:
    samples = array("h")
    samples.frombytes(stored)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _pcm_24(stored: bytes) -> array[float]:
    widened = bytearray(len(stored) // 3 * 4)
    for place in range(3):
        widened[place + 1 :: 4] = stored[place::3]
    return _pcm_32(widened)


def _pcm_32(stored: bytes | bytearray) -> array[float]:
    return _scaled(array("i"), stored, 1 / 65536)


def _float_32(stored: bytes) -> array[float]:
    return _scaled(array("f"), stored, 32768.0)


def _float_64(stored: bytes) -> array[float]:
    return _scaled(array("d"), stored, 32768.0)


def _scaled(samples: array[Any], stored: bytes | bytearray, factor: float) -> array[float]:
    """Exact, for the factor is a power of two."""
    samples.frombytes(stored)
    if sys.byteorder == "big":
        samples.byteswap()
    return array("d", map(factor.__mul__, samples))


DECODERS: Final[dict[str, Callable[[bytes], array[Any]]]] = {
    "pcm_u8": _by_table(_unsigned),
    "pcm_s16le": _pcm_16,
    "pcm_s24le": _pcm_24,
    "pcm_s32le": _pcm_32,
    "pcm_f32le": _float_32,
    "pcm_f64le": _float_64,
    "pcm_alaw": _by_table(_alaw),
    "pcm_mulaw": _by_table(_mulaw),
}
"""By codec: whole stored frames -> their samples, channels interleaved."""

_16_BIT: Final = frozenset({"pcm_u8", "pcm_s16le", "pcm_alaw", "pcm_mulaw"})


class Common:
    """What two different encodings are both brought to, without loss, to be compared.

    Args:
        codecs: both with a decoder.
    """

    def __init__(self, codecs: tuple[str, str]) -> None:
        self._type: Literal["h", "d"] = "h" if _16_BIT.issuperset(codecs) else "d"
        self.sample_bytes = array(self._type).itemsize

    def convert(self, stored: bytes, codec: str) -> bytes:
        """Stored frames of one of the encodings in the common one."""
        samples = DECODERS[codec](stored)
        if samples.typecode != self._type:
            samples = array(self._type, samples)
        return samples.tobytes()

    def decode(self, converted: bytes) -> array[float]:
        """The samples, of whole frames in the common encoding."""
        samples: array[float] = array(self._type)
        samples.frombytes(converted)
        return samples
