"""The comparison itself: both recordings in lock-step, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from exporter.comparison.reading import AudioReader
from exporter.comparison.samples import DECODERS, Common
from exporter.comparison.spans import Lengths, SpanFinder, join
from exporter.comparison.windows import WindowJudge, unexplained
from exporter.model import RedactionEvidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.audio import AudioPlace

    Source = Iterable[bytes] | IO[bytes]
    Spans = tuple[tuple[float, float], ...]

_WINDOWS_A_SECOND: Final = 50
_BLOCK_BYTES: Final = 64 * 1024  # compared in one step: both blocks stay in the processor's cache
_BRIDGE_WINDOWS: Final = 10  # 200 ms
_JOINT_WINDOWS: Final = 2  # 40 ms
_SHORTEST_WINDOWS: Final = 3  # 60 ms: half a spoken syllable
_SHORTEST_DIGITAL_WINDOWS: Final = 1
_TAIL_SECONDS: Final = 0.1
_UNEXPLAINED_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two recordings of one direction show about each other; all times are in seconds.

    Attributes:
        evidence: the verdict.
        muted_spans: (start, end) where the redacted recording is muted and the raw one is not, to
            the nearest 20 ms. Where `inconsistent` they prove nothing, and there are none if the
            lengths differ.
        raw_muted_spans: the other way round; not empty only where `inconsistent`.
        differing_spans: where they differ and neither is muted; only where `inconsistent`.
        length_difference_seconds: redacted minus raw.
        is_exact: outside the muted spans they are the same, sample for sample.
        problem: a sentence that says what is wrong (`inconsistent`), or why they could not be
            compared (`unpaired`); else None.
    """

    evidence: RedactionEvidence
    muted_spans: Spans = ()
    raw_muted_spans: Spans = ()
    differing_spans: Spans = ()
    length_difference_seconds: float = 0.0
    is_exact: bool = False
    problem: str | None = None


def compare(raw: Source, redacted: Source) -> Comparison:
    """Compare what was asked for as raw with what was asked for as redacted.

    Reads both to their ends; blocks and computes, so call it in a thread.

    Args:
        raw: the WAV file asked for as raw: an open binary file, or its bytes in pieces of any size.
        redacted: likewise.

    Returns:
        What they show.

    Raises:
        FetchError: one of them is no whole WAV file.
        OSError: one of them cannot be read.
    """
    pair = AudioReader(raw), AudioReader(redacted)
    places = pair[0].place, pair[1].place
    shape = [(place.sample_rate, place.channels) for place in places]
    codecs = places[0].codec, places[1].codec
    if shape[0] != shape[1] or (codecs[0] != codecs[1] and not DECODERS.keys() >= {*codecs}):
        return _incomparable(
            f"one is {_described(places[0])}, the other {_described(places[1])}",
            _length_difference(*pair),
        )
    return _Lockstep(*pair).run()


class _Lockstep:
    """Two recordings of the same sample rate and channels, read side by side."""

    def __init__(self, raw: AudioReader, redacted: AudioReader) -> None:
        self._raw, self._redacted = raw, redacted
        place, other = raw.place, redacted.place
        codecs = place.codec, other.codec
        # Two encodings are brought to what they have in common; one is compared as it is stored.
        self._common = Common(codecs) if codecs[0] != codecs[1] else None
        self._rate = place.sample_rate
        self._window = max(1, self._rate // _WINDOWS_A_SECOND)
        self._finder = SpanFinder(
            Lengths(
                bridge=_BRIDGE_WINDOWS * self._window,
                joint=_JOINT_WINDOWS * self._window,
                shortest=_SHORTEST_WINDOWS * self._window,
                shortest_digital=_SHORTEST_DIGITAL_WINDOWS * self._window,
            )
        )
        decode = self._common.decode if self._common else DECODERS.get(place.codec)
        self._frame_bytes = (
            self._common.sample_bytes * place.channels if self._common else place.frame_bytes
        )
        self._judge = decode and WindowJudge(
            decode,
            frame_bytes=self._frame_bytes,
            channels=place.channels,
            window=self._window,
            codecs=codecs,
        )
        self._patience = _UNEXPLAINED_SECONDS * self._rate
        self._is_same = True

    def run(self) -> Comparison:
        # Whole windows, so that they lie the same however the files arrive.
        windows = max(1, _BLOCK_BYTES // (self._window * self._frame_bytes))
        frames = windows * self._window
        at = 0
        is_going_on = True
        while is_going_on:
            raw, redacted = self._raw.take(frames), self._redacted.take(frames)
            if self._common:
                raw = self._common.convert(raw, self._raw.place.codec)
                redacted = self._common.convert(redacted, self._redacted.place.codec)
            common = min(len(raw), len(redacted))
            is_going_on = len(raw) == len(redacted) > 0
            if common:
                self._compare_block(at, raw[:common], redacted[:common])
                at += common // self._frame_bytes
        return self._conclude(_length_difference(self._raw, self._redacted))

    def _compare_block(self, at: int, raw: bytes, redacted: bytes) -> None:
        finder = self._finder
        if raw == redacted and not finder.may_bridge(at):
            finder.same(is_quiet=False)
            return
        self._is_same &= raw == redacted
        if self._judge is None:
            return
        size = self._window * self._frame_bytes
        for start in range(0, len(raw), size):
            ours, theirs = raw[start : start + size], redacted[start : start + size]
            here = at + start // self._frame_bytes
            if ours != theirs and finder.different_frames > self._patience:
                finder.differs(here, unexplained(len(ours) // self._frame_bytes))
            elif ours != theirs and (found := self._judge.judge(ours, theirs)):
                finder.differs(here, found)
            else:
                finder.same(is_quiet=finder.may_bridge(here) and self._judge.is_quiet(ours))

    def _conclude(self, length_difference: float) -> Comparison:
        if self._judge is None and not self._is_same:
            return _incomparable(
                f"they differ, and {self._raw.place.codec} cannot be decoded", length_difference
            )
        finder = self._finder
        finder.close()
        is_exact = not finder.is_restless
        muted, short = finder.muted.settle(is_exact=is_exact)
        raw_muted, raw_short = finder.raw_muted.settle(is_exact=is_exact)
        different: list[tuple[int, int]] = []
        for span in sorted([*finder.different, *short, *raw_short]):
            join(different, span, joint=0)
        is_shifted = abs(length_difference) > _TAIL_SECONDS
        if is_shifted and (differences := [*muted, *raw_muted, *different]):
            # Something is missing, nobody knows where: behind it nothing is compared with its like.
            different = [(min(differences)[0], max(last for _, last in differences))]
            muted, raw_muted = [], []
        problem = _problem(
            self._seconds(muted),
            self._seconds(raw_muted),
            self._seconds(different),
            length_difference if is_shifted else 0.0,
        )
        evidence = RedactionEvidence.CONFIRMED if muted else RedactionEvidence.IDENTICAL
        return Comparison(
            evidence=RedactionEvidence.INCONSISTENT if problem else evidence,
            muted_spans=self._seconds(muted),
            raw_muted_spans=self._seconds(raw_muted),
            differing_spans=self._seconds(different),
            length_difference_seconds=length_difference,
            is_exact=is_exact and not problem and not length_difference,
            problem=problem,
        )

    def _seconds(self, spans: list[tuple[int, int]]) -> Spans:
        """To the nearest 20 ms, and never nothing."""
        grid = _WINDOWS_A_SECOND
        rounded: list[tuple[int, int]] = []
        for first, last in spans:
            start, end = round(first / self._rate * grid), round(last / self._rate * grid)
            if start == end:
                start = first * grid // self._rate
                end = start + 1
            join(rounded, (start, end), joint=0)
        return tuple((start / grid, end / grid) for start, end in rounded)


def _problem(
    muted: Spans, raw_muted: Spans, different: Spans, length_difference: float
) -> str | None:
    """What is wrong with a pair, for people; None if nothing is."""
    problems = []
    if length_difference:
        longer = "longer" if length_difference > 0 else "shorter"
        problems.append(
            f"the redacted recording is {abs(length_difference):.2f} s {longer} than the raw one"
        )
    if raw_muted:
        swapped = "" if muted or different else ": perhaps the two were swapped"
        problems.append(
            "the recording asked for as raw is muted where the redacted one is not, first at"
            f" {raw_muted[0][0]:.2f} s{swapped}"
        )
    if different:
        what = "" if length_difference else " and neither is muted"
        problems.append(
            f"they differ{what}, between {different[0][0]:.2f} s and {different[-1][1]:.2f} s"
        )
    return "; ".join(problems) or None


def _incomparable(problem: str, length_difference: float) -> Comparison:
    return Comparison(
        RedactionEvidence.UNPAIRED, length_difference_seconds=length_difference, problem=problem
    )


def _length_difference(raw: AudioReader, redacted: AudioReader) -> float:
    """Redacted minus raw, in seconds; reads both to their ends."""
    lengths = [reader.finish().duration_seconds for reader in (raw, redacted)]
    return round(lengths[1] - lengths[0], 9)


def _described(place: AudioPlace) -> str:
    return f"{place.codec} at {place.sample_rate} Hz in {place.channels} channels"
