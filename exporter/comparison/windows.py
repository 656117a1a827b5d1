"""One window of 20 ms that is not the same in both recordings: what is the difference?

The level of a window is the root mean square of its samples around their mean, on the scale of
16-bit PCM: a constant offset, which nobody hears, is silence.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SILENCE_DBFS: Final = -50.0
"""A window below this level is quiet: digital silence, dither, or comfort noise."""

_SILENCE: Final = 32768 * 10 ** (SILENCE_DBFS / 20)  # 104
# The steps of 8-bit PCM are 256: a sample that wavers between two of them is at -48 dBFS.
_COARSE_SILENCE: Final = {"pcm_u8": 192.0}
_COARSE_TOLERANCE: Final = {"pcm_u8": 150.0}
_MUTED_SHARE: Final = 0.5  # of the other recording's level: a muted window is at least 6 dB quieter
_TOLERANCE: Final = 0.1  # of the level, -20 dB: what encoding once more may change
_SHORTEST_PART: Final = 0.25  # of a window (5 ms): so little sound has no level to speak of


class Kind(IntEnum):
    """What became of a window; of two channels the higher counts."""

    NEUTRAL = 0  # quiet and constant in both, or the recording's last few samples
    FAINT_MUTED = 1  # quiet in both, but only the redacted one is digital silence
    FAINT_RAW_MUTED = 2  # the other way round
    QUIET = 3  # quiet in both, and noise in both
    TOLERATED = 4  # audible, and no more changed than encoding changes it
    MUTED = 5  # audible in the raw recording only
    RAW_MUTED = 6  # audible in the redacted recording only
    DIFFERENT = 7  # none of these


QUIET_KINDS: Final = frozenset({Kind.NEUTRAL, Kind.FAINT_MUTED, Kind.FAINT_RAW_MUTED, Kind.QUIET})


class Judgement(NamedTuple):
    """What a window shows.

    Attributes:
        kind: of the window.
        first: frame of the window where the difference begins.
        last: one past the frame where it ends.
        is_digital: where one is muted, it is digital silence: one value only.
        is_partial: the recordings are the same at the window's beginning or end.
    """

    kind: Kind
    first: int
    last: int
    is_digital: bool
    is_partial: bool


def unexplained(frames: int) -> Judgement:
    """Of a window of so many frames that is not looked into."""
    return Judgement(Kind.DIFFERENT, 0, frames, is_digital=False, is_partial=False)


class WindowJudge:
    """Judges windows of two recordings with the same sample rate and channels.

    Args:
        decode: stored frames -> samples.
        frame_bytes: bytes of a stored frame.
        channels: samples a frame.
        window: frames of a whole window; only the last of a recording has fewer.
        codecs: of the two recordings: the coarser decides what is quiet.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Sequence[float]],
        *,
        frame_bytes: int,
        channels: int,
        window: int,
        codecs: tuple[str, str],
    ) -> None:
        self._decode = decode
        self._frame_bytes = frame_bytes
        self._channels = channels
        self._shortest_part = _SHORTEST_PART * window
        self._silence = max(_COARSE_SILENCE.get(codec, _SILENCE) for codec in codecs)
        self._tolerance = max(_COARSE_TOLERANCE.get(codec, 0.0) for codec in codecs)

    def is_quiet(self, stored: bytes) -> bool:
        """Whether nothing is heard in a window."""
        return all(_level(samples) <= self._silence for samples in self._channels_of(stored))

    def judge(self, raw: bytes, redacted: bytes) -> Judgement | None:
        """What the difference is between two windows that are as long, and not stored the same.

        None if they sound the same all the same: mu-law has two zeros.
        """
        size = self._frame_bytes
        frames = len(raw) // size
        first, last = 0, frames
        if raw[:size] == redacted[:size] or raw[-size:] == redacted[-size:]:
            first, last = _bounds(raw, redacted, size)
        pairs = zip(self._channels_of(raw), self._channels_of(redacted), strict=True)
        found = [self._judge_channel(*pair, first, last) for pair in pairs if pair[0] != pair[1]]
        if not found:
            return None
        kind, is_digital = max(found)
        if frames < self._shortest_part:
            kind = Kind.NEUTRAL
        return Judgement(kind, first, last, is_digital, last - first < frames)

    def _channels_of(self, stored: bytes) -> Sequence[tuple[float, ...]]:
        samples = tuple(self._decode(stored))
        count = self._channels
        return [samples] if count == 1 else [samples[channel::count] for channel in range(count)]

    def _judge_channel(
        self, raw: tuple[float, ...], redacted: tuple[float, ...], first: int, last: int
    ) -> tuple[Kind, bool]:
        raw_is_constant = _is_constant(raw, first, last)
        redacted_is_constant = _is_constant(redacted, first, last)
        raw_level = _level(raw)
        raw_is_quiet = raw_level <= self._silence
        is_silent = redacted_is_constant and last - first == len(raw)
        if not (raw_is_quiet or is_silent) and self._is_tolerated(raw, redacted, raw_level):
            return Kind.TOLERATED, False
        redacted_level = 0.0 if is_silent else _level(redacted)
        redacted_is_quiet = redacted_level <= self._silence
        kind, is_digital = Kind.DIFFERENT, False
        if raw_is_quiet and redacted_is_quiet:
            kind, is_digital = _faint(raw_is_constant, redacted_is_constant)
        elif redacted_is_quiet and redacted_level <= _MUTED_SHARE * raw_level:
            kind, is_digital = Kind.MUTED, redacted_is_constant
        elif raw_is_quiet and raw_level <= _MUTED_SHARE * redacted_level:
            kind, is_digital = Kind.RAW_MUTED, raw_is_constant
        elif raw_is_quiet or redacted_is_quiet:
            kind = Kind.QUIET
        elif last - first >= self._shortest_part and raw_is_constant != redacted_is_constant:
            # Digital silence that begins or ends inside the window shows in its part alone.
            kind, is_digital = (Kind.MUTED if redacted_is_constant else Kind.RAW_MUTED), True
        return kind, is_digital

    def _is_tolerated(
        self, raw: tuple[float, ...], redacted: tuple[float, ...], level: float
    ) -> bool:
        tolerated = max(self._tolerance, _TOLERANCE * level)
        count = len(raw)
        distance = math.dist(raw, redacted)
        square = distance * distance / count
        # A constant offset is no change, but only where it matters is it worth looking for.
        offset = (sum(raw) - sum(redacted)) / count if square > tolerated * tolerated else 0.0
        return square - offset * offset <= tolerated * tolerated


def _faint(raw_is_constant: bool, redacted_is_constant: bool) -> tuple[Kind, bool]:
    """Both are quiet: is only one of them digital silence?"""
    if raw_is_constant == redacted_is_constant:
        return (Kind.NEUTRAL if raw_is_constant else Kind.QUIET), False
    return (Kind.FAINT_MUTED if redacted_is_constant else Kind.FAINT_RAW_MUTED), True


def _level(samples: Sequence[float]) -> float:
    """Root mean square around the mean; NaN where there is one."""
    count = len(samples)
    mean = sum(samples) / count
    length = math.hypot(*samples)
    variance = length * length / count - mean * mean
    return 0.0 if variance <= 0 else math.sqrt(variance)


def _is_constant(samples: tuple[float, ...], first: int, last: int) -> bool:
    value = samples[first]
    # Most windows are not, and three looks tell.
    if value != samples[last - 1] or value != samples[(first + last) // 2]:
        return False
    return samples[first:last].count(value) == last - first


def _bounds(raw: bytes, redacted: bytes, frame_bytes: int) -> tuple[int, int]:
    """The first frame that differs, and one past the last."""
    bits = int.from_bytes(raw, "little") ^ int.from_bytes(redacted, "little")
    first_bit = (bits & -bits).bit_length() - 1
    return first_bit // 8 // frame_bytes, (bits.bit_length() - 1) // 8 // frame_bytes + 1
