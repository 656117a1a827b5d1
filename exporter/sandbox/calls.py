"""Calls: what a conversation sounds like, worked out from its identifiers alone.

The same identifiers and settings give the same bytes in every process, so a test can compute what
the server will send without asking it.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from random import Random
from statistics import NormalDist
from typing import Final, NamedTuple

from exporter.sandbox import voice, wav
from exporter.sandbox.voice import SceneKind
from exporter.sandbox.wav import Codec, HeaderStyle

_SIGNATURE_FRAMES: Final = 64
_MOST_SPANS: Final = 3
_SPREAD: Final = 4.0  # standard deviations between the shortest and the longest call


class Direction(StrEnum):
    """Which side of the call is heard."""

    COMBINED = "combined"
    USER = "user"
    AGENT = "agent"


class RedactionStyle(StrEnum):
    """What the redacted variant has in place of private turns."""

    SILENCE = "silence"  # digital silence
    COMFORT_NOISE = "comfort-noise"
    SHORTEN = "shorten"  # nothing: they are cut out, and the call is shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSettings:
    """How calls sound and how they are stored.

    Attributes:
        seconds: shortest and longest call; lengths between are spread log-normally, as real ones.
        pii_share: how many calls of 1 have something to mute in the redacted variant.
        codec: how samples are stored.
        sample_rate: samples a second.
        header_style: how the WAV header is written.
        redaction: what the redacted variant has in place of private turns.
        comfort_noise_dbfs: level of comfort noise: its root mean square, 0 being full scale.
    """

    seconds: tuple[float, float] = (20.0, 600.0)
    pii_share: float = 0.75
    codec: Codec = Codec.PCM
    sample_rate: int = 8000
    header_style: HeaderStyle = HeaderStyle.NORMAL
    redaction: RedactionStyle = RedactionStyle.SILENCE
    comfort_noise_dbfs: float = -60.0

    def __post_init__(self) -> None:
        shortest, longest = self.seconds
        if not 0 < shortest <= longest:
            raise ValueError(f"calls last MIN to MAX seconds, 0 < MIN <= MAX, not {self.seconds}")
        if not 0 <= self.pii_share <= 1:
            raise ValueError(f"pii_share is between 0 and 1, not {self.pii_share}")
        if not 4000 <= self.sample_rate <= 48_000:  # noqa: PLR2004
            raise ValueError(f"sample_rate is between 4000 and 48000, not {self.sample_rate}")
        if not -90 <= self.comfort_noise_dbfs <= -10:  # noqa: PLR2004
            raise ValueError(
                f"comfort_noise_dbfs is between -90 and -10, not {self.comfort_noise_dbfs}"
            )


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `Call.of` makes it from identifiers.

    Attributes:
        settings: how it is stored.
        frames: its length in samples.
        pii_frames: the raw variant's private spans: (first, one past the last) sample. The redacted
            variant is muted there, or lacks them.
    """

    settings: AudioSettings
    frames: int
    pii_frames: tuple[tuple[int, int], ...]
    _cuts: tuple[_Cut, ...] = field(repr=False)
    _signature: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        account: str,
        project: str,
        conversation: str,
        settings: AudioSettings | None = None,
        *,
        seconds: float | None = None,
    ) -> Call:
        """The call of a conversation.

        Args:
            account: its account.
            project: its project.
            conversation: its id.
            settings: how calls sound; the defaults where not given.
            seconds: its length, instead of one worked out from the settings.
        """
        settings = settings or AudioSettings()
        identity = f"{account}\n{project}\n{conversation}".encode()
        random = Random(int.from_bytes(hashlib.sha256(identity).digest()))
        drawn = _length(random, settings.seconds)
        frames = max(1, round((drawn if seconds is None else seconds) * settings.sample_rate))
        cuts = _converse(random, frames, settings.sample_rate)
        return cls(
            settings=settings,
            frames=frames,
            pii_frames=_private_spans(random, cuts, settings),
            _cuts=cuts,
            _signature=hashlib.shake_256(identity).digest(2 * _SIGNATURE_FRAMES),
        )

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.settings.sample_rate

    @property
    def pii_spans(self) -> tuple[tuple[float, float], ...]:
        """Where the raw variant is private, in seconds from the start."""
        rate = self.settings.sample_rate
        return tuple((first / rate, last / rate) for first, last in self.pii_frames)

    def wav(self, direction: str = Direction.COMBINED, redacted: bool = False) -> bytes:
        """The WAV file of one variant."""
        settings = self.settings
        return wav.file(
            self.samples(direction, redacted),
            codec=settings.codec,
            sample_rate=settings.sample_rate,
            style=settings.header_style,
        )

    def samples(self, direction: str = Direction.COMBINED, redacted: bool = False) -> bytes:
        """The encoded samples of one variant, without a header."""
        heard = Direction(direction)
        codec = self.settings.codec
        scenes = _encoded_bank(self.settings.sample_rate, codec, heard)
        width = wav.width(codec)
        raw = b"".join(
            (
                self._opening(heard),
                *(scenes[cut.scene][cut.start * width : cut.stop * width] for cut in self._cuts),
            )
        )
        return self._redact(raw, heard) if redacted else raw

    def with_settings(self, settings: AudioSettings) -> Call:
        """The same call stored or redacted otherwise; the sample rate must be the same."""
        if settings.sample_rate != self.settings.sample_rate:
            raise ValueError("another sample rate makes another call: use Call.of")
        return replace(self, settings=settings)

    def _opening(self, heard: Direction) -> bytes:
        """Faint noise that is this call's alone: no two calls have the same bytes."""
        spread = 2 * voice.LINE_NOISE + 1
        noise = array("h", [byte % spread - voice.LINE_NOISE for byte in self._signature])
        sides = noise[: len(noise) // 2], noise[len(noise) // 2 :]
        sounds = {
            Direction.USER: sides[0],
            Direction.AGENT: sides[1],
            Direction.COMBINED: voice.mix(*sides),
        }
        return wav.encode(sounds[heard][: self.frames], self.settings.codec)

    def _redact(self, raw: bytes, heard: Direction) -> bytes:
        """The raw samples without what is private."""
        width = wav.width(self.settings.codec)
        parts, end = [], 0
        for first, last in self.pii_frames:
            parts += [raw[end * width : first * width], self._instead(first, last, heard)]
            end = last
        return b"".join([*parts, raw[end * width :]])

    def _instead(self, first: int, last: int, heard: Direction) -> bytes:
        """What the redacted variant has in place of a private span."""
        settings, frames = self.settings, last - first
        if settings.redaction is RedactionStyle.SHORTEN:
            return b""
        if settings.redaction is RedactionStyle.SILENCE:
            return wav.SILENCE[settings.codec] * frames
        random = Random(self._signature + heard.encode() + first.to_bytes(8))
        level = (voice.PEAK + 1) * 10 ** (settings.comfort_noise_dbfs / 20)
        noise = (round(random.gauss(0, level)) for _ in range(frames))
        samples = array("h", [max(-voice.PEAK - 1, min(voice.PEAK, each)) for each in noise])
        return wav.encode(samples, settings.codec)


class _Cut(NamedTuple):
    """A slice of a scene of the bank, and whose turn it is."""

    kind: SceneKind
    scene: int
    start: int
    stop: int


def _length(random: Random, bounds: tuple[float, float]) -> float:
    """Seconds: log-normal between the bounds, a few calls at either."""
    shortest, longest = (math.log(seconds) for seconds in bounds)
    middle, deviation = (shortest + longest) / 2, (longest - shortest) / _SPREAD
    # Never exactly 0 or 1, where the inverse has no value.
    drawn = NormalDist().inv_cdf(min(max(random.random(), 1e-9), 1 - 1e-9))
    return math.exp(min(longest, max(shortest, middle + deviation * drawn)))


def _converse(random: Random, frames: int, sample_rate: int) -> tuple[_Cut, ...]:
    """Turns that fill a call after its opening: the agent greets, the user answers, and so on."""
    lengths = _scene_lengths(sample_rate)
    # Nobody talks for longer than a quarter of the call, so that short calls have turns too.
    longest = max(1, frames // 4)
    left = frames - min(frames, _SIGNATURE_FRAMES)
    cuts: list[_Cut] = []
    turn = 0
    while left:
        kind = _TURNS[turn % len(_TURNS)]
        turn += 1
        if kind is SceneKind.BOTH and random.random() < 0.6:  # noqa: PLR2004
            continue  # interruptions are the exception
        scene, whole = lengths[kind][int(random.random() * len(lengths[kind]))]
        start = int(random.random() * whole / 4)
        length = min(whole - start, longest, left)
        cuts.append(_Cut(kind, scene, start, start + length))
        left -= length
    return tuple(cuts)


_TURNS: Final = (
    SceneKind.AGENT,
    SceneKind.PAUSE,
    SceneKind.USER,
    SceneKind.BOTH,
    SceneKind.PAUSE,
)


def _private_spans(
    random: Random, cuts: tuple[_Cut, ...], settings: AudioSettings
) -> tuple[tuple[int, int], ...]:
    """Some turns of the user: a name, a number, an address."""
    has_pii = random.random() < settings.pii_share
    if not has_pii or not cuts:
        return ()
    position = _SIGNATURE_FRAMES
    spans = []
    for cut in cuts:
        length = cut.stop - cut.start
        spans.append((cut.kind, position, position + length))
        position += length
    turns = [(first, last) for kind, first, last in spans if kind is SceneKind.USER]
    # A call too short for the user to get a word in is muted once all the same.
    turns = turns or [(first, last) for _, first, last in spans[:1]]
    wanted = min(len(turns), 1 + int(random.random() * _MOST_SPANS))
    chosen: set[tuple[int, int]] = set()
    while len(chosen) < wanted:
        chosen.add(turns[int(random.random() * len(turns))])
    return tuple(sorted(chosen))


@lru_cache(maxsize=4)
def _scene_lengths(sample_rate: int) -> dict[SceneKind, list[tuple[int, int]]]:
    """Number and length of each scene, by kind."""
    numbered = list(enumerate(voice.bank(sample_rate)))
    return {
        kind: [(number, len(scene.user)) for number, scene in numbered if scene.kind is kind]
        for kind in SceneKind
    }


@lru_cache(maxsize=12)
def _encoded_bank(sample_rate: int, codec: Codec, heard: Direction) -> tuple[memoryview, ...]:
    """Every scene as bytes ready to be copied."""
    return tuple(
        memoryview(wav.encode(getattr(scene, heard), codec)) for scene in voice.bank(sample_rate)
    )
