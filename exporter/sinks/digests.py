"""SHA-256 of several contents at once, where that is faster than of one after the other.

Each step of a digest needs the one before, so no processor can do two steps of one side by side. It
can do those of independent ones: with vectors of 512 bits sixteen digests take as long as one. On a
processor without instructions for SHA that is five times as fast as OpenSSL (measured: 1,500
against 240 MB/s; eight: 860). `stringzilla` does it, where it is installed (extra `fast`). It is
tried before it is used: what fails or differs from `hashlib` once, or is not faster, is not used.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.model import Piece

    Parts = Sequence[Piece]

_ALONE: Final = 2  # contents, one after the other: a turn costs a tenth of a small file
_LANES: Final = 16  # contents at once
_TRIED: Final = 8  # contents at once, when it is found out how fast that is
_TRIED_BYTES: Final = 64 * 1024
_TIMES: Final = 3  # the best counts: others use the processor, too
_WORTH_IT: Final = 1.2  # times as fast
_SMALL: Final = 256 * 1024  # bytes
_FEW: Final = 2  # parts
_LONG: Final = 1024 * 1024 + 1
_LENGTHS: Final = (_LONG, 0, 1, 55, 56, 63, 64, 65, 119, 128, 1000, 4095, 4097, 65535, 65536, 4096)
_COUNTS: Final = (1, 2, _LANES - 1, _LANES)


class Digest(Protocol):
    """Of a content so far."""

    def update(self, data: Piece, /) -> object:
        """Go on with these bytes."""

    def hexdigest(self) -> str:
        """Hexadecimal, of all so far."""


class Digests:
    """Makes them, in whichever way is faster.

    Args:
        lanes: makes a hasher of so many contents at once; None: one after the other.
        fewest: contents for which it is worth while.
        refused: why lanes that are there cannot be used.

    Attributes:
        at_once: contents to give it, where there are more than that.
        fewest, refused: as above.
    """

    def __init__(
        self, lanes: Callable[[int], Any] | None = None, *, fewest: int = 2, refused: str = ""
    ) -> None:
        self._lanes = lanes
        self.fewest = fewest
        self.refused = refused
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

    def goes_alone(self, digest: Digest) -> bool:
        """Whether it was begun alone, and so gains nothing from others."""
        return isinstance(digest, _ALONE_TYPE)

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
            hasher.update([in_one_piece(work[number][1]) for number in together])
            for lane, number in enumerate(together):
                found[number] = hasher[lane]
        return [digest for digest in found if digest is not None]


_ALONE_TYPE: Final = type(hashlib.sha256())


@cache
def fastest() -> Digests:
    """What is fastest on this machine. Takes some milliseconds, once."""
    try:
        from stringzilla import Sha256s  # noqa: PLC0415 (only couriers need it)

        return tried(Sha256s, time.perf_counter)
    except ModuleNotFoundError:
        return Digests()
    except Exception as error:  # noqa: BLE001 (whatever ails it, there is another way)
        return Digests(refused=f"stringzilla fails: {type(error).__name__}: {error}")


def tried(lanes: Callable[[int], Any], clock: Callable[[], float]) -> Digests:
    """With these lanes where they are right and faster, else without."""
    many = Digests(lanes, fewest=1)
    if not all(_is_right(many, count) for count in _COUNTS):
        return Digests(refused="stringzilla makes wrong digests")
    content = [bytes(_TRIED_BYTES)]
    alone = _seconds(clock, lambda: digest_of(content))
    together = _seconds(clock, lambda: many.advance([(None, content)] * _TRIED))
    # What is done side by side takes the same time, however much it is.
    worth = _WORTH_IT * together / alone if alone > 0 else _TRIED
    return Digests(lanes, fewest=int(worth) + 1) if worth < _TRIED else Digests()


def is_small(parts: Parts) -> bool:
    """Whether a file is written faster than a thread is woken; others go their own way."""
    return sum(map(len, parts)) <= _SMALL


def few(parts: Parts) -> Parts:
    """The parts, joined where they are many: a thread waits for the interpreter after each."""
    return parts if len(parts) <= _FEW else [b"".join(parts)]


def in_one_piece(parts: Parts) -> Piece:
    """All of them; copied only where there are several."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def hashed(parts: Parts) -> Digest:
    """The digest of one whole content."""
    return _updated(hashlib.sha256(), parts)


def digest_of(parts: Parts) -> str:
    """The same, hexadecimal."""
    return hashed(parts).hexdigest()


def _updated(digest: Digest, parts: Parts) -> Digest:
    for part in parts:
        digest.update(part)
    return digest


def _is_right(many: Digests, count: int) -> bool:
    """For so many contents of odd lengths beside each other, whole and in three pieces."""
    noise = hashlib.shake_128(b"noise").digest(_LONG)
    contents = [noise[:length] for length in _LENGTHS[-count:]]
    digests: list[Digest] = [many.begin(side_by_side=True) for _ in contents]
    for third in range(3):
        pieces = [
            content[len(content) * third // 3 : len(content) * (third + 1) // 3]
            for content in contents
        ]
        work = zip(digests, pieces, strict=True)
        digests = many.advance([(digest, [piece]) for digest, piece in work])
    digests += many.advance([(None, [content]) for content in contents])
    wanted = [digest_of([content]) for content in contents]
    return [digest.hexdigest() for digest in digests] == wanted * 2


def _seconds(clock: Callable[[], float], work: Callable[[], object]) -> float:
    took = []
    for _ in range(_TIMES):
        begun = clock()
        work()
        took.append(clock() - begun)
    return min(took)
