"""Windows, one after another -> where one of the recordings is muted, and where they just differ.

Two readings are kept side by side, for only the end of the recordings tells which one holds:

*exact*: outside the spans the recordings are the same sample for sample. Then every difference
    that touches a muted window belongs to its span, the quiet ones as well (a breath, a pause, the
    noise of the line), to the sample.
*restless*: they differ a little everywhere, as after encoding once more. Then a quiet window says
    nothing, and a span reaches from its first audible window to its last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.comparison.windows import QUIET_KINDS, Kind

if TYPE_CHECKING:
    from exporter.comparison.windows import Judgement

MOST_SPANS: Final = 1000
"""More are joined to the last one: no recording can fill the memory."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """What counts as long, in frames.

    Attributes:
        bridge: spans so close are one, when nothing is heard between them.
        joint: spans so close are one, whatever is between them; and how long a muted span may take
            to fade in or out.
        shortest: of what is muted.
        shortest_digital: of what is muted to digital silence while the rest is exact.
    """

    bridge: int
    joint: int
    shortest: int
    shortest_digital: int


@dataclass(slots=True)
class Span:
    """A muted span in both readings; frames.

    Attributes:
        outer: bounds when the rest is exact.
        inner: bounds when it is restless; None where nothing audible is muted.
        is_digital: it is all digital silence.
    """

    outer: tuple[int, int]
    inner: tuple[int, int] | None
    is_digital: bool


@dataclass(slots=True)
class MutedSpans:
    """The spans where one of the two recordings is muted, as they are found."""

    lengths: Lengths
    spans: list[Span] = field(default_factory=list)
    is_quiet_since: bool = False  # nothing was heard since the end of the last span

    def add(self, span: Span) -> None:
        """The next span, or more of the last one."""
        last = self.spans[-1] if self.spans else None
        self.is_quiet_since, was_quiet = True, self.is_quiet_since
        if last and self._is_one(last, span, was_quiet=was_quiet):
            last.outer = last.outer[0], span.outer[1]
            if span.inner:
                last.inner = (last.inner or span.inner)[0], span.inner[1]
            last.is_digital &= span.is_digital
        else:
            self.spans.append(span)

    def lengthen(self, last: int) -> None:
        """Let the last span, where the rest is exact, reach to here."""
        span = self.spans[-1]
        span.outer = span.outer[0], max(span.outer[1], last)

    def may_bridge(self, position: int) -> bool:
        """Whether a span that began here could be the same as the last one."""
        if not self.is_quiet_since:
            return False
        return position - self.spans[-1].outer[1] <= self.lengths.bridge

    def _is_one(self, last: Span, span: Span, *, was_quiet: bool) -> bool:
        if len(self.spans) >= MOST_SPANS:
            return True
        gap = span.outer[0] - last.outer[1]
        if last.inner and span.inner:
            # The outer bounds may turn out to mean nothing.
            gap = span.inner[0] - last.inner[1]
        return gap <= (self.lengths.bridge if was_quiet else self.lengths.joint)

    def settle(self, *, is_exact: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The spans that count, and those that are too short to be speech that was muted."""
        lengths = self.lengths
        long: list[tuple[int, int]] = []
        short: list[tuple[int, int]] = []
        for span in self.spans:
            bounds = span.outer if is_exact else span.inner
            if bounds is None:
                continue
            shortest = lengths.shortest
            if is_exact and span.is_digital:
                shortest = lengths.shortest_digital
            is_long = bounds[1] - bounds[0] >= shortest
            join((long if is_long else short), bounds, lengths.joint)
        return long, short


@dataclass(slots=True)
class _Run:
    """Neighbouring windows of one sort, not understood before what follows them is known."""

    first: int
    last: int
    kinds: set[Kind]

    def extend(self, last: int, kind: Kind) -> None:
        self.last = last
        self.kinds.add(kind)

    @property
    def frames(self) -> int:
        return self.last - self.first


class SpanFinder:
    """Is told of every window in order, and finds the spans."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self.muted = MutedSpans(lengths)
        self.raw_muted = MutedSpans(lengths)
        self.different: list[tuple[int, int]] = []
        self.is_restless = False
        self._different_frames = 0
        # The list whose last span reaches to the present window, quiet windows included.
        self._before: MutedSpans | None = None
        # Behind it, in this order; both open until something else comes.
        self._odd: _Run | None = None  # neither muted nor quiet: a transition, or a difference
        self._quiet: _Run | None = None

    @property
    def different_frames(self) -> int:
        """How much differs that is not explained."""
        return self._different_frames + (self._odd.frames if self._odd else 0)

    def may_bridge(self, position: int) -> bool:
        """Whether it matters, here, if a window that is the same in both is quiet."""
        return self.muted.may_bridge(position) or self.raw_muted.may_bridge(position)

    def same(self, *, is_quiet: bool) -> None:
        """One or more windows are the same in both."""
        self.close()
        self._before = None
        if not is_quiet:
            self._heard()

    def differs(self, start: int, found: Judgement) -> None:
        """A window differs.

        Args:
            start: frame where the window begins.
            found: what it shows.
        """
        first, last, kind = start + found.first, start + found.last, found.kind
        if kind is Kind.MUTED:
            self._mute(self.muted, first, last, is_digital=found.is_digital)
        elif kind is Kind.RAW_MUTED:
            self._mute(self.raw_muted, first, last, is_digital=found.is_digital)
        elif kind in QUIET_KINDS:
            self._quieten(first, last, kind)
        elif kind is Kind.DIFFERENT or found.is_partial:
            self._wonder(first, last, kind)
        else:
            self.same(is_quiet=False)
            self.is_restless = True

    def close(self) -> None:
        """Understand what is open; also at the end of the recordings."""
        odd, quiet = self._odd, self._quiet
        self._odd = self._quiet = None
        is_transition = odd is not None and self._is_transition(odd)
        if self._before and (is_transition or not odd):
            for run in filter(None, (odd, quiet)):
                self._before.lengthen(run.last)
            if odd and not quiet:
                self._before = None  # one transition ends a span
            return
        self._before = None
        if quiet:
            owner = self._owner_of(quiet)
            if owner:
                # Silence that only one of them has proves as much as speech that only one has.
                first = odd.first if odd and is_transition else quiet.first
                owner.add(Span((first, quiet.last), None, is_digital=True))
                self._before = owner
            self.is_restless |= owner is None
            if owner and is_transition:
                odd = None
        if odd:
            self._resolve(odd)

    def _mute(self, owner: MutedSpans, first: int, last: int, *, is_digital: bool) -> None:
        odd, quiet = self._odd, self._quiet
        self._odd = self._quiet = None
        outer_first = quiet.first if quiet else first
        if odd and not self._is_transition(odd):
            self._resolve(odd)
            self._before = None
        elif odd:
            outer_first = odd.first
        if self._before is owner:
            outer_first = owner.spans[-1].outer[1]
        owner.add(Span((outer_first, last), (first, last), is_digital))
        other = self.raw_muted if owner is self.muted else self.muted
        other.is_quiet_since = False
        self._before = owner

    def _quieten(self, first: int, last: int, kind: Kind) -> None:
        if self._before and not self._odd:
            self._before.lengthen(last)
        elif self._quiet:
            self._quiet.extend(last, kind)
        else:
            self._quiet = _Run(first, last, {kind})

    def _wonder(self, first: int, last: int, kind: Kind) -> None:
        odd = self._odd
        # By chance a sample may be the same while all others are a little off: a window that looks
        # like the edge of a span must not lengthen a true one, nor the other way round.
        is_long = odd is not None and last - odd.first > self._lengths.joint
        if self._quiet or (odd and is_long and odd.kinds != {kind}):
            self.close()
        if self._odd:
            self._odd.extend(last, kind)
        else:
            self._odd = _Run(first, last, {kind})

    def _owner_of(self, quiet: _Run) -> MutedSpans | None:
        """Which recording is digital silence in a quiet run; None when neither is throughout."""
        kinds = quiet.kinds - {Kind.NEUTRAL}
        if kinds == {Kind.FAINT_MUTED}:
            return self.muted
        return self.raw_muted if kinds == {Kind.FAINT_RAW_MUTED} else None

    def _is_transition(self, odd: _Run) -> bool:
        return odd.frames <= self._lengths.joint

    def _resolve(self, odd: _Run) -> None:
        """No transition: a difference of its own, or one that is tolerated."""
        self._heard()
        if Kind.DIFFERENT in odd.kinds:
            self._different_frames += odd.frames
            join(self.different, (odd.first, odd.last), self._lengths.joint)
        else:
            self.is_restless = True

    def _heard(self) -> None:
        self.muted.is_quiet_since = self.raw_muted.is_quiet_since = False


def join(spans: list[tuple[int, int]], span: tuple[int, int], joint: int) -> None:
    """Append a span, or lengthen the last one if they are close."""
    if spans and (span[0] - spans[-1][1] <= joint or len(spans) >= MOST_SPANS):
        spans[-1] = spans[-1][0], max(span[1], spans[-1][1])
    else:
        spans.append(span)
