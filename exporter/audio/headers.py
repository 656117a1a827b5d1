"""The headers of a WAV file and of its chunks, as bytes."""

from __future__ import annotations

import struct
from typing import Final

FILE_HEADER: Final = struct.Struct("<4sI4s")
CHUNK_HEADER: Final = struct.Struct("<4sI")
DS64: Final = struct.Struct("<QQ")
FILE_IDS: Final = frozenset({b"RIFF", b"RF64", b"BW64", b"RIFX"})
SIZE_IS_IN_DS64: Final = 0xFFFFFFFF

_HALF_RANGE: Final = 1 << 31  # of a 32-bit size
_LEAST_PLACEHOLDER: Final = _HALF_RANGE - 0x11000

# The header that most files have: "RIFF" and a size; this; a `fmt ` chunk; "data" and a size.
_USUAL: Final = struct.Struct("<4sI12s16s4sI")
_USUAL_FORM: Final = b"WAVEfmt \x10\x00\x00\x00"
USUAL_BYTES: Final = _USUAL.size


def is_placeholder(size: int) -> bool:
    """Whether a 32-bit size is what writers to a pipe leave; 0 has more than one meaning."""
    return _LEAST_PLACEHOLDER <= size <= _HALF_RANGE + 0x1000 or size >= 2 * _HALF_RANGE - 0x11000


def is_chunk_name(name: bytes) -> bool:
    """Whether a chunk can have this name, or one that begins so."""
    return name.isascii() and name.decode("ascii").isprintable()


def usual_header(data: bytes | bytearray | memoryview) -> tuple[int, bytes, int] | None:
    """Read the header of a file that begins as most do, with sizes that need no second thought.

    Args:
        data: the beginning of the file, at least `USUAL_BYTES`.

    Returns:
        The size of the RIFF, the content of `fmt `, and the size of the audio behind the header.
    """
    magic, riff_size, form, fmt, name, audio_size = _USUAL.unpack_from(data)
    is_usual = magic == b"RIFF" and form == _USUAL_FORM and name == b"data"
    if is_usual and 0 < riff_size < _LEAST_PLACEHOLDER and 0 < audio_size < _LEAST_PLACEHOLDER:
        return riff_size, fmt, audio_size
    return None
