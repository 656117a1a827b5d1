"""SHA-256 of several contents at once, where that is faster than of one after the other.

Each step of a digest needs the one before, so no processor can do two steps of one side by side. It
can do those of independent ones: with vectors of 512 bits sixteen digests take as long as one. On a
processor without instructions for SHA that is five times as fast as OpenSSL (measured: 1,500
against 240 MB/s; eight: 860). `stringzilla` does it, where it is installed (extra `fast`). It is
tried before it is used: what differs once from `hashlib`, or is not faster, is not used.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Parts = Sequence[bytes | bytearray]

_ALONE: Final = 2  # contents, one after the other: a turn costs a tenth of a small file
_LANES: Final = 16  # contents at once
_TRIED: Final = 8  # contents at once, when it is found out how fast that is
_TRIED_BYTES: Final = 64 * 1024
_TIMES: Final = 3  # the best counts: others use the processor, too
_WORTH_IT: Final = 1.2  # times as fast
_ODD_LENGTHS: Final = (0, 1, 55, 56, 63, 64, 65, 119, 128, 1000, 4095, 4096, 4097, 65535, 65536)

_log = structlog.get_logger()


class Digest(Protocol):
    """Of a content so far."""

    def update(self, data: bytes | bytearray, /) -> object:
        """Go on with these bytes."""

    def hexdigest(self) -> str:
        """Hexadecimal, of all so far."""


class Digests:
    """Makes them, in whichever way is faster.

    Args:
        lanes: makes a hasher of so many contents at once; None: one after the other.
        fewest: contents for which it is worth while.

    Attributes:
        at_once: contents to give it, where there are more than that.
        fewest: as above.
    """

    def __init__(self, lanes: Callable[[int], Any] | None = None, *, fewest: int = 2) -> None:
        self._lanes = lanes
        self.fewest = fewest
        self.at_once = _ALONE if lanes is None else _LANES

    @property
    def side_by_side(self) -> bool:
        """Whether it is worth while to wait for others."""
        return self._lanes is not None

    def begin(self, *, side_by_side: bool) -> Digest:
        """Of a content that comes in several pieces, while others do, or alone."""
        if side_by_side and self._lanes is not None:
            digest: Digest = self._lanes(1)[0]
            return digest
        return hashlib.sha256()

    def advance(self, work: Sequence[tuple[Digest | None, Parts]]) -> list[Digest]:
        """Each digest with its next parts; None: the parts are a whole content."""
        found: list[Digest | None] = [None] * len(work)
        together = []
        for number, (digest, parts) in enumerate(work):
            if isinstance(digest, _ALONE_TYPE) or self._lanes is None:
                found[number] = _updated(digest or hashlib.sha256(), parts)
            elif digest is None and len(work) < self.fewest:
                found[number] = _updated(hashlib.sha256(), parts)
            else:
                together.append(number)
        if together and self._lanes is not None:
            hasher = self._lanes(len(together))
            for lane, number in enumerate(together):
                if (begun := work[number][0]) is not None:
                    hasher[lane] = begun
            hasher.update([b"".join(work[number][1]) for number in together])
            for lane, number in enumerate(together):
                found[number] = hasher[lane]
        return [digest for digest in found if digest is not None]


_ALONE_TYPE: Final = type(hashlib.sha256())


@cache
def fastest() -> Digests:
    """What is fastest on this machine. Takes some milliseconds, once."""
    try:
        from stringzilla import Sha256s  # noqa: PLC0415 (only couriers need it)
    except ImportError:
        return Digests()
    return tried(Sha256s, time.perf_counter)


def tried(lanes: Callable[[int], Any], clock: Callable[[], float]) -> Digests:
    """With these lanes where they are right and faster, else without."""
    many = Digests(lanes, fewest=1)
    if not _is_right(many):
        _log.error("digests.wrong", consequence="stringzilla is not used; it should be upgraded")
        return Digests()
    content = [bytes(_TRIED_BYTES)]
    alone = _seconds(clock, lambda: digest_of(content))
    together = _seconds(clock, lambda: many.advance([(None, content)] * _TRIED))
    # What is done side by side takes the same time, however much it is.
    worth = _WORTH_IT * together / alone if alone > 0 else _TRIED
    return Digests(lanes, fewest=int(worth) + 1) if worth < _TRIED else Digests()


def digest_of(parts: Parts) -> str:
    """The hexadecimal digest of one whole content."""
    return _updated(hashlib.sha256(), parts).hexdigest()


def _updated(digest: Digest, parts: Parts) -> Digest:
    for part in parts:
        digest.update(part)
    return digest


def _is_right(many: Digests) -> bool:
    """For many lengths, whole and in two pieces, each beside other ones."""
    noise = hashlib.shake_128(b"noise").digest(max(_ODD_LENGTHS))
    contents = [noise[:length] for length in _ODD_LENGTHS]
    wanted = [digest_of([content]) for content in contents]
    whole = many.advance([(None, [content]) for content in contents])
    begun = many.advance(
        [(many.begin(side_by_side=True), [each[: len(each) // 3]]) for each in contents]
    )
    rests = [[content[len(content) // 3 :]] for content in contents]
    pieces = many.advance(list(zip(begun, rests, strict=True)))
    return all([each.hexdigest() for each in found] == wanted for found in (whole, pieces))


def _seconds(clock: Callable[[], float], work: Callable[[], object]) -> float:
    took = []
    for _ in range(_TIMES):
        begun = clock()
        work()
        took.append(clock() - begun)
    return min(took)
