"""The equation of a window: what it is made of, what it says, and what speaks against it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.certificate import (
    REASONS,
    certificate,
    equation,
    listed_text,
    objections,
    query_text,
    stands,
    window_text,
)
from exporter.discovery import LeftOut
from exporter.errors import ErrorKind
from exporter.model import ErrorInfo, Status
from exporter.results import WindowInfo
from exporter.window import Filters, Query, window_of
from tests.unit.test_queries import NOW

WINDOW = window_of(
    Query("ws-1", "P", "2026-05-20", "2026-05-21", "Europe/London"), timezone="UTC", now=NOW
)
counts = st.dictionaries(st.sampled_from(Status), st.integers(0, 50))
reasons = st.dictionaries(st.sampled_from([each.value for each in LeftOut]), st.integers(1, 50))


def told(found: int, left_out: dict[str, int] | None = None, error: ErrorInfo | None = None) -> str:
    return listed_text(found=found, left_out=left_out or {}, pages=1, error=error)


def window(
    found: int = 0,
    ended: dict[Status, int] | None = None,
    left_out: dict[str, int] | None = None,
    missing: int | None = 0,
    error: ErrorInfo | None = None,
) -> WindowInfo:
    return certificate(
        window_text(WINDOW),
        told(found, left_out, error),
        conversations=ended or {},
        recordings=ended or {},
        missing=missing,
        expired=0,
    )


@given(counts, reasons, st.integers(-3, 3))
def test_the_equation(ended: dict[Status, int], left_out: dict[str, int], lost: int) -> None:
    """It balances exactly when every conversation that was found is accounted for."""
    found = max(0, sum(ended.values()) + sum(left_out.values()) + lost)
    one = window(found, ended, left_out)
    settled = msgspec.to_builtins(one.conversations)
    assert sum(settled.values()) == sum(ended.values())
    assert one.balances == (found == sum(ended.values()) + sum(left_out.values()))
    assert stands(one) == (one.balances and not left_out.get("unusable_id"))
    assert msgspec.convert(msgspec.to_builtins(one), WindowInfo) == one


def test_the_equation_in_words() -> None:
    """Only terms that count something are told, and archived always."""
    one = window(
        7,
        {Status.EXPORTED: 2, Status.SKIPPED: 2, Status.PENDING: 1},
        {"channel": 1, "in_progress": 1},
    )
    assert equation(one) == (
        "7 found = 4 archived + 1 pending + 2 left out"
        f" (1 {REASONS['channel']}, 1 {REASONS['in_progress']})"
    )
    assert equation(window(0)) == "0 found = 0 archived"
    assert equation(window(3, {Status.FAILED: 1})) == "3 found is not 0 archived + 1 failed"


def test_what_speaks_against_a_window() -> None:
    """Each trouble is told in its own words; what was not compared is no trouble."""
    cut = ErrorInfo(ErrorKind.UNREADABLE, "the page was no page")
    assert list(objections(window())) == []
    assert list(objections(window(missing=None))) == []
    assert list(objections(window(error=cut))) == [
        "the list was not read to its end: the page was no page"
    ]
    (words,) = objections(window(missing=1))
    assert "shrank: it lacks 1 conversation " in words
    (words,) = objections(window(2, left_out={"unusable_id": 2}))
    assert words.startswith("2 found with an identifier")
    assert "does not balance" in next(objections(window(1)))


def test_a_run_that_ended_first() -> None:
    """A window that was never listed to its end is incomplete, whatever was found."""
    one = certificate(
        window_text(WINDOW), None, conversations={}, recordings={}, missing=None, expired=None
    )
    assert not one.complete
    assert one.error is not None
    assert one.error.kind is ErrorKind.CANCELLED
    assert not stands(one)


def test_windows_of_one_query() -> None:
    """The same question has the same text whatever its time; other filters are another question."""
    later = window_of(Query("ws-1", "P", "2026-05-01", "today"), timezone="UTC", now=NOW)
    other = window_of(
        Query("ws-1", "P", "-1d", "today", filters=Filters(channels=("any",))),
        timezone="UTC",
        now=NOW,
    )
    assert query_text(WINDOW) == query_text(later)
    assert query_text(WINDOW) != query_text(other)
    assert (window().start, window().end) == ("2026-05-19T23:00:00Z", "2026-05-20T23:00:00Z")
