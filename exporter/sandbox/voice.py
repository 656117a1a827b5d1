"""Synthetic speech: a small bank of scenes from which every call is cut.

Synthesis in pure Python is slow, copying bytes is fast. So a few dozen *scenes* (a second or three
of a conversation: the agent talks, the user talks, nobody does, both do) are synthesized once, each
heard three ways: the user's side, the agent's side, and both mixed. A call is then nothing but
slices of scenes laid end to end, the same slices whichever way it is listened to.

The sound is made the way a throat makes it: a train of glottal pulses, each ringing at the formant
frequencies of a vowel, grouped into syllables, words and phrases, over faint line noise.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import add
from random import Random
from typing import Final

PEAK: Final = 32767
"""The largest 16-bit sample; mixing saturates there."""

LINE_NOISE: Final = 6
"""The largest sample of the noise under everything: some -75 dB."""

_LEVELS: Final = 8
_PITCHES: Final = (0.94, 0.98, 1.02, 1.07)
_BANDWIDTH_HERTZ: Final = 95.0
_NOISE_SECONDS: Final = 4
# First three formants in hertz, roughly of the vowels in: father, bed, see, law, boot, bird.
_VOWELS: Final = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (490, 1350, 1690),
)


class SceneKind(StrEnum):
    """Who talks in a scene."""

    AGENT = "agent"
    USER = "user"
    PAUSE = "pause"
    BOTH = "both"


# Kind, how many scenes of it, shortest and longest in seconds.
_SCENES: Final = (
    (SceneKind.AGENT, 9, 2.0, 3.6),
    (SceneKind.USER, 9, 1.0, 2.6),
    (SceneKind.PAUSE, 4, 0.4, 0.9),
    (SceneKind.BOTH, 3, 0.7, 1.2),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A moment of a conversation, heard three ways; all three are equally long."""

    kind: SceneKind
    user: array[int]
    agent: array[int]
    combined: array[int]


def mix(user: array[int], agent: array[int]) -> array[int]:
    """The saturating sum of two sides, sample by sample."""
    sums = list(map(add, user, agent))
    if sums and (max(sums) > PEAK or min(sums) < -PEAK - 1):
        sums = [min(PEAK, max(-PEAK - 1, value)) for value in sums]
    return array("h", sums)


@lru_cache(maxsize=4)
def bank(sample_rate: int) -> tuple[Scene, ...]:
    """All scenes at one sample rate; made once, always the same."""
    random = Random(f"scenes at {sample_rate}")
    agent = _Voice(sample_rate, pitch_hertz=118.0, loudness=30000, random=random)
    user = _Voice(sample_rate, pitch_hertz=186.0, loudness=33000, random=random)
    scenes = []
    for kind, count, shortest, longest in _SCENES:
        for _ in range(count):
            frames = int((shortest + (longest - shortest) * random.random()) * sample_rate)
            hear_user = user.talk if kind in {SceneKind.USER, SceneKind.BOTH} else user.listen
            hear_agent = agent.talk if kind in {SceneKind.AGENT, SceneKind.BOTH} else agent.listen
            sides = hear_user(frames), hear_agent(frames)
            scenes.append(Scene(kind, *sides, mix(*sides)))
    return tuple(scenes)


class _Voice:
    """One speaker on one telephone line."""

    def __init__(
        self, sample_rate: int, *, pitch_hertz: float, loudness: int, random: Random
    ) -> None:
        self._rate = sample_rate
        self._random = random
        # _pulses[vowel][pitch][level]: one period of the voice, ready to be strung together.
        self._pulses = [
            [_pulse(sample_rate, pitch_hertz * pitch, vowel, loudness) for pitch in _PITCHES]
            for vowel in _VOWELS
        ]
        spread = 2 * LINE_NOISE + 1
        values = [byte % spread - LINE_NOISE for byte in range(256)]
        self._noise = array(
            "h", map(values.__getitem__, random.randbytes(sample_rate * _NOISE_SECONDS))
        )

    def listen(self, frames: int) -> array[int]:
        """Say nothing: line noise."""
        start = int(self._random.random() * (len(self._noise) // 2))
        noise = self._noise[start : start + frames]
        while len(noise) < frames:
            noise += self._noise[: frames - len(noise)]
        return noise

    def talk(self, frames: int) -> array[int]:
        """Say a phrase that fills so many frames, over line noise."""
        phrase = array("h")
        while len(phrase) < frames:
            for _ in range(self._count(1, 4)):
                self._syllable(phrase)
            phrase.extend([0] * self._frames(0.04, 0.22))
        return array("h", map(add, phrase[:frames], self.listen(frames)))

    def _syllable(self, phrase: array[int]) -> None:
        """Append perhaps a consonant, and a vowel that swells and fades."""
        if self._random.random() < 0.6:  # noqa: PLR2004
            hiss = self._frames(0.02, 0.06)
            start = int(self._random.random() * (len(self._noise) - hiss - 1))
            noise = self._noise[start : start + hiss + 1]
            # The difference of neighbours takes away the low tones: an "s", not a rumble.
            phrase.extend(90 * (noise[i + 1] - noise[i]) for i in range(hiss))
        pitches = self._pulses[self._count(0, len(self._pulses) - 1)]
        pitch = self._count(0, len(pitches) - 1)
        periods = self._count(10, 26)
        for period in range(periods):
            level = round((_LEVELS - 1) * math.sin(math.pi * (period + 0.5) / periods))
            falling = max(0, pitch - 2 * period // periods)
            phrase.extend(pitches[falling][level])

    def _count(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def _frames(self, shortest: float, longest: float) -> int:
        return int((shortest + (longest - shortest) * self._random.random()) * self._rate)


def _pulse(
    sample_rate: int, pitch_hertz: float, vowel: tuple[int, int, int], loudness: int
) -> list[array[int]]:
    """One glottal period of a vowel at each loudness level, the quietest first."""
    frames = round(sample_rate / pitch_hertz)
    shape = []
    for frame in range(frames):
        seconds = frame / sample_rate
        ring = sum(
            math.sin(2 * math.pi * formant * seconds) / (order + 1)
            for order, formant in enumerate(vowel)
        )
        # The last factor ends the period at zero, so that any two periods join without a click.
        damping = math.exp(-math.pi * _BANDWIDTH_HERTZ * seconds) * (1 - (frame / frames) ** 4)
        shape.append(ring * damping / 1.9)
    steps = [loudness * (level + 1) / _LEVELS for level in range(_LEVELS)]
    return [array("h", [round(step * value) for value in shape]) for step in steps]
