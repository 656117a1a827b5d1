"""Digests of several contents at once are those of `hashlib`, or are not made like that."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stringzilla import Sha256s

from exporter.sinks.digests import Digests, digest_of, fastest, tried
from exporter.sinks.filesystem import FileSystem
from exporter.sinks.local import LocalSink
from exporter.sinks.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sinks.digests import Digest

contents = st.lists(
    st.lists(st.binary(max_size=200) | st.sampled_from([bytes(5000), b"x" * 70_000]), max_size=4),
    min_size=1,
    max_size=20,
)
ways = st.builds(Digests, st.sampled_from([Sha256s, None]), fewest=st.integers(1, 9))


@given(contents=contents, way=ways)
def test_whole_contents(contents: list[list[bytes]], way: Digests) -> None:
    """However many there are, and however long each is and in how many parts."""
    found = way.advance([(None, parts) for parts in contents])
    assert [digest.hexdigest() for digest in found] == [
        hashlib.sha256(b"".join(parts)).hexdigest() for parts in contents
    ]


@given(contents=contents, way=ways, data=st.data())
def test_contents_that_come_in_pieces(
    contents: list[list[bytes]], way: Digests, data: st.DataObject
) -> None:
    """Beside whole ones, each with others in every step, and begun alone or among others."""
    digests: list[Digest] = [way.begin(side_by_side=data.draw(st.booleans())) for _ in contents]
    left = [list(parts) for parts in contents]
    while any(left):
        these = [number for number, parts in enumerate(left) if parts]
        if len(these) > 1:
            these = data.draw(st.lists(st.sampled_from(these), min_size=1, unique=True))
        work: list[tuple[Digest | None, list[bytes]]] = [
            (digests[number], [left[number].pop(0)]) for number in these
        ]
        *found, whole = way.advance([*work, (None, [b"whole"])])
        assert whole.hexdigest() == hashlib.sha256(b"whole").hexdigest()
        for number, digest in zip(these, found, strict=True):
            digests[number] = digest
    assert [digest.hexdigest() for digest in digests] == [digest_of(parts) for parts in contents]


class Piece(NamedTuple):
    """What a hasher is given for one of its lanes."""

    lane: int
    lanes: int
    size: int


class Faulty:
    """Makes digests that are not always right."""

    def __init__(self, lanes: int, is_wrong: Callable[[Piece], bool]) -> None:
        self._hasher = Sha256s(lanes)
        self._lanes = lanes
        self._is_wrong = is_wrong

    def __getitem__(self, lane: int) -> Any:
        return self._hasher[lane]

    def __setitem__(self, lane: int, digest: Any) -> None:
        self._hasher[lane] = digest

    def update(self, chunks: list[bytes]) -> None:
        self._hasher.update([self._hashed(*each) for each in enumerate(chunks)])

    def _hashed(self, lane: int, chunk: bytes) -> bytes:
        return chunk + b"!" * self._is_wrong(Piece(lane, self._lanes, len(chunk)))


@pytest.mark.parametrize(
    "is_wrong",
    [
        lambda piece: piece.lane == 15,
        lambda piece: piece.lane == 9,
        lambda piece: piece.lanes == 1,
        lambda piece: piece.lanes == 16 and piece.lane == 3,
        lambda piece: piece.size == 55,
        lambda piece: piece.size > 500_000,
        lambda piece: 200_000 < piece.size < 500_000,
    ],
    ids=["last lane", "tenth lane", "one alone", "sixteen", "length", "long", "in pieces"],
)
def test_what_is_wrong_once_is_not_used(is_wrong: Callable[[Piece], bool]) -> None:
    """It is tried first: with few and many contents, short and long ones, whole and in pieces."""
    found = tried(lambda lanes: Faulty(lanes, is_wrong), lambda: 0.0)
    assert (found.side_by_side, found.refused) == (False, "stringzilla makes wrong digests")
    assert not tried(lambda lanes: Faulty(lanes, lambda _: False), lambda: 0.0).refused


@pytest.mark.parametrize(
    ("together", "fewest"), [(1.0, 2), (2.0, 3), (6.0, 8), (6.9, None), (20.0, None)]
)
def test_what_is_not_faster_is_not_used(together: float, fewest: int | None) -> None:
    """Eight at once take so many times as long as one: from how many on it is worth while."""
    took = itertools.cycle([0.0, 1.0] * 3 + [0.0, together] * 3)
    found = tried(Sha256s, lambda: next(took))
    assert (found.fewest if found.side_by_side else None) == fewest


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """One content after the other, with what Python has."""
    monkeypatch.setitem(sys.modules, "stringzilla", None)
    found = fastest.__wrapped__()
    assert (found.side_by_side, found.refused) == (False, "")
    (digest,) = found.advance([(None, [b"a", b"bc"])])
    assert digest.hexdigest() == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        (
            "def Sha256s(lanes): raise OSError('no such instruction')",
            "OSError: no such instruction",
        ),
        ("raise ImportError('not for this machine')", "ImportError: not for this machine"),
        ("", "ImportError: cannot import name 'Sha256s'"),
    ],
)
def test_a_library_that_fails(
    library: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ails it, recordings are hashed without it, and it is said why."""
    (tmp_path / "stringzilla.py").write_text(library)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stringzilla")
    found = fastest.__wrapped__()
    assert not found.side_by_side
    assert found.refused.startswith(f"stringzilla fails: {reason}")


async def passes(turns: int = 8) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_nobody_waits_for_those_who_have_ended() -> None:
    """Of two long ones the first waits for the second, and alone for nobody."""
    turns = Turns(Digests(Sha256s, fewest=1))
    first, second = turns.begin(), turns.begin()
    waiting = asyncio.create_task(turns.hashed([b"a"], digest=first))
    await passes()
    assert not waiting.done()
    other = asyncio.create_task(turns.hashed([b"b"], digest=second))
    await passes()
    assert (waiting.done(), other.done()) == (True, True)
    turns.end(await other)
    alone = asyncio.create_task(turns.hashed([b"c"], digest=await waiting))
    await passes()
    assert alone.result().hexdigest() == hashlib.sha256(b"ac").hexdigest()


async def test_who_was_begun_alone_waits_for_nobody() -> None:
    """It would gain nothing; and those who wait for each other are not disturbed by it."""
    turns = Turns(Digests(Sha256s, fewest=2))
    alone, first, second = turns.begin(), turns.begin(), turns.begin()
    waiting = asyncio.create_task(turns.hashed([b"a"], digest=first))
    await passes()
    hashed = asyncio.create_task(turns.hashed([b"b"], digest=alone))
    await passes()
    assert (waiting.done(), hashed.done()) == (False, True)
    other = asyncio.create_task(turns.hashed([b"c"], digest=second))
    await passes()
    assert [task.result().hexdigest() for task in (hashed, waiting, other)] == [
        hashlib.sha256(content).hexdigest() for content in (b"b", b"a", b"c")
    ]


class Exhausted(Digests):
    """Has no memory for more than one content."""

    def advance(self, work: Any) -> list[Digest]:
        if len(work) > 1:
            raise MemoryError
        return super().advance(work)


async def test_nobody_waits_for_what_could_not_be_hashed() -> None:
    """Those of the batch are told, and the next ones are hashed."""
    turns = Turns(Exhausted())
    tasks = [
        asyncio.create_task(turns.ended([content], lambda digest: digest.hexdigest()))
        for content in (b"a", b"b", b"c")
    ]
    ends = [(await task)[0] for task in tasks]
    assert [type(end.exception()) for end in ends[:2]] == [MemoryError] * 2
    assert ends[2].result() == hashlib.sha256(b"c").hexdigest()


async def test_an_upload_that_ended_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was committed or given up, and however often that is said."""
    monkeypatch.setattr("exporter.sinks.turns._PATIENCE", 3600)
    sink = LocalSink(
        tmp_path,
        run_id="20260521T000000Z-0001",
        dir_mode=0o700,
        file_mode=0o600,
        system=FileSystem(),
        turns=Turns(Digests(Sha256s, fewest=2)),
    )
    kept, given_up, last = [await sink.begin(f"a/p/{name}.wav") for name in "kgl"]
    await asyncio.gather(*(each.write(b"RIFF", b"more") for each in (kept, given_up, last)))
    await kept.commit()
    await kept.abort()
    await given_up.abort()
    await given_up.abort()
    await last.write(b"!")
    await last.commit()
    assert last.sha256 == hashlib.sha256(b"RIFFmore!").hexdigest()
    assert (tmp_path / "a/p/l.wav").read_bytes() == b"RIFFmore!"
