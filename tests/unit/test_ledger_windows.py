"""What the ledger remembers of windows: finds of the latest run, and what lists ever held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from exporter.errors import ErrorKind
from exporter.ledger import Ledger
from exporter.model import Direction, ErrorInfo, Outcome, Recording, Redaction, Status

if TYPE_CHECKING:
    from pathlib import Path

MIDNIGHT = datetime(2026, 5, 20, tzinfo=UTC)
DAY = timedelta(days=1)
FAILED = Outcome(Status.FAILED, error=ErrorInfo(ErrorKind.TIMEOUT, "no answer"))
NOT_FOUND = Outcome(Status.NOT_FOUND, error=ErrorInfo(ErrorKind.RECORDING_NOT_FOUND, "none"))


def call(hour: int, direction: Direction = Direction.COMBINED) -> Recording:
    started = MIDNIGHT + timedelta(hours=hour)
    return Recording("a", "p", f"CA{hour}", direction, Redaction.REDACTED, started)


def night(
    ledger: Ledger,
    name: str,
    found: list[Recording],
    *,
    query: str = "voice",
    start: datetime = MIDNIGHT,
    end: datetime = MIDNIGHT + DAY,
    outcomes: list[Outcome] | None = None,
) -> int:
    """A run with one window that finds these."""
    ledger.begin_run(name, MIDNIGHT)
    number = ledger.begin_window(f"{{{name}}}", query, start, end)
    ledger.window_listed(number, "told")
    looked = ledger.look_up(found)
    ledger.plan([(one, "new", None) for one in looked])
    ledger.note_found(number, {one.conversation for one in looked})
    ledger.planning_ended(0, MIDNIGHT)
    if outcomes:
        seqs = [each.seq for each in ledger.planned(0, 100)]
        ledger.record(list(zip(seqs, outcomes, strict=True)), MIDNIGHT)
    return number


def test_a_conversation_is_its_worst_recording(tmp_path: Path) -> None:
    """Conversations and recordings are counted apart; what has no outcome is cancelled."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    found = [call(1), call(1, Direction.USER), call(2), call(3), call(3, Direction.AGENT)]
    outcomes = [NOT_FOUND, FAILED, NOT_FOUND]
    ledger.begin_run("r1", MIDNIGHT)
    number = ledger.begin_window("{w}", "voice", MIDNIGHT, MIDNIGHT + DAY)
    looked = ledger.look_up(found)
    ledger.plan([(one, "new", None) for one in looked])
    ledger.note_found(number, {one.conversation for one in looked})
    seqs = [each.seq for each in ledger.planned(0, 100)]
    ledger.record(list(zip(seqs[:3], outcomes, strict=True)), MIDNIGHT)
    (finds,) = ledger.finds()
    assert finds.conversations == {Status.FAILED: 1, Status.NOT_FOUND: 1, Status.CANCELLED: 1}
    assert finds.recordings == {Status.FAILED: 1, Status.NOT_FOUND: 2, Status.CANCELLED: 2}
    assert (finds.window, finds.told, finds.shrinkage) == ("{w}", None, None)
    ledger.close()


def test_a_list_that_shrinks(tmp_path: Path) -> None:
    """What an earlier list of the query held in the window's time is missed, or has expired."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    first = night(ledger, "r1", [call(hour) for hour in range(6)])
    assert ledger.compare_window(first, expired_before=None).missing == 0
    second = night(ledger, "r2", [call(hour) for hour in (3, 5)])
    shrunk = ledger.compare_window(second, expired_before=MIDNIGHT + timedelta(hours=2))
    assert (shrunk.missing, shrunk.expired) == (2, 2)
    assert sorted(shrunk.named) == ["CA2", "CA4"]
    (finds,) = ledger.finds()
    assert finds.shrinkage is not None
    assert (finds.shrinkage.missing, finds.shrinkage.expired) == (2, 2)
    third = night(ledger, "r3", [call(4)], start=MIDNIGHT + timedelta(hours=4))
    assert ledger.compare_window(third, expired_before=None).named == ("CA5",)
    ledger.close()


def test_another_question_is_not_compared(tmp_path: Path) -> None:
    """Other filters have another list; a window that does not touch the time misses nothing."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    number = night(ledger, "r1", [call(1), call(2)])
    ledger.compare_window(number, expired_before=None)
    other = night(ledger, "r2", [call(1)], query="any")
    assert ledger.compare_window(other, expired_before=None).missing == 0
    apart = night(ledger, "r3", [], start=MIDNIGHT + DAY, end=MIDNIGHT + 2 * DAY)
    assert ledger.compare_window(apart, expired_before=None).missing == 0
    ledger.close()


def test_windows_that_overlap(tmp_path: Path) -> None:
    """A conversation that two windows hold belongs to both, and is planned once."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.begin_run("r1", MIDNIGHT)
    for name in ("{1}", "{2}"):
        number = ledger.begin_window(name, "voice", MIDNIGHT, MIDNIGHT + DAY)
        looked = ledger.look_up([call(1)])
        ledger.plan([(one, "new", None) for one in looked])
        ledger.note_found(number, {one.conversation for one in looked})
    assert [each.conversations for each in ledger.finds()] == [{Status.CANCELLED: 1}] * 2
    ledger.begin_run("r2", MIDNIGHT)
    assert ledger.finds() == []
    ledger.close()


def test_starts_that_are_known(tmp_path: Path) -> None:
    """A start that any run was told is known, for exactly that conversation."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    night(ledger, "r1", [call(1)])
    asked = [("a", "p", "CA1"), ("a", "p", "ca1"), ("a", "q", "CA1"), ("a", "p", "CA2")]
    assert ledger.starts_of(asked) == [call(1).started_at, None, None, None]
    ledger.close()
