"""What the ledger remembers of what is not archived, and the order in which it hands out work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.errors import ErrorKind
from exporter.ledger import KEPT, Ledger
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    ErrorInfo,
    Order,
    Outcome,
    Recording,
    Redaction,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.ledger import Planned

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
HERE = "https://api.example.com"
AUDIO = AudioFormat("pcm_s16le", 8000, 1, 16, 1.5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def recording(name: str, started_at: datetime | None = NOW, **changes: bool) -> Recording:
    return Recording("acme", "shop", name, Direction.USER, Redaction.RAW, started_at, **changes)


def run(
    ledger: Ledger,
    name: str,
    outcomes: dict[str, Status],
    *,
    now: datetime = NOW,
    origin: str = HERE,
    in_progress: bool = False,
) -> None:
    """A whole run in which each recording ends so."""
    ledger.begin_run(name, now, "{}", origin=origin)
    wanted = [recording(each, in_progress=in_progress) for each in outcomes]
    ledger.plan([(looked, "new", None) for looked in ledger.look_up(wanted)])
    ledger.planning_ended(0, now)
    planned = ledger.planned(0, 1000)
    ledger.record(
        [(one.seq, outcome(outcomes[one.recording.conversation_id], one)) for one in planned], now
    )
    ledger.end_run("partial", 1, now, "{}")


def outcome(status: Status, planned: Planned) -> Outcome:
    if status is Status.EXPORTED:
        name = planned.recording.conversation_id
        path = f"acme/shop/2026-05-21/{name}/user.raw.wav"
        return Outcome(status, Archived(path, 9, "aa" * 32, AUDIO, NOW, None), attempts=1)
    error = ErrorInfo(ErrorKind.RECORDING_NOT_FOUND, "not there", 404, "CODE", "corr-1")
    return Outcome(status, error=error, attempts=1)


def pending(ledger: Ledger, *, origin: str = HERE, fresh: datetime = NOW) -> list[Recording]:
    found: list[Recording] = []
    after = None
    while True:
        after, page = ledger.pending(after, 2, origin=origin, fresh=fresh)
        if after is None:
            return found
        found += page


def test_everything_that_is_not_archived_is_kept_until_it_is(ledger: Ledger) -> None:
    """Statuses, first and last time, number of runs and the last error; exported ones go."""
    run(ledger, "r1", {"CA1": Status.PENDING, "CA2": Status.FAILED, "CA3": Status.EXPORTED})
    later = NOW + timedelta(hours=1)
    run(ledger, "r2", {"CA1": Status.NOT_FOUND, "CA4": Status.GONE}, now=later)
    rows = {one.recording.conversation_id: one for page in ledger.missing(KEPT) for one in page}
    assert {name: row.status for name, row in rows.items()} == {
        "CA1": Status.NOT_FOUND,
        "CA2": Status.FAILED,
        "CA4": Status.GONE,
    }
    assert (rows["CA1"].since, rows["CA1"].asked_at, rows["CA1"].runs) == (NOW, later, 2)
    assert rows["CA1"].error == ErrorInfo(
        ErrorKind.RECORDING_NOT_FOUND, "not there", 404, "CODE", "corr-1"
    )
    run(ledger, "r3", dict.fromkeys(rows, Status.EXPORTED), now=later)
    assert list(ledger.missing(KEPT)) == []
    assert ledger.missing_groups() == []
    assert ledger.recordings() == 4


def test_what_was_pending_and_fails_is_asked_for_again(ledger: Ledger) -> None:
    """A bad night of the server loses no late recording, though its window has passed."""
    run(ledger, "r1", {"CA1": Status.PENDING, "CA2": Status.FAILED})
    run(ledger, "r2", {"CA1": Status.FAILED, "CA2": Status.FAILED})
    assert [one.conversation_id for one in pending(ledger)] == ["CA1"]
    run(ledger, "r3", {"CA1": Status.NOT_FOUND})
    assert pending(ledger) == []


def test_pending_ones_come_page_by_page_for_their_own_address(ledger: Ledger) -> None:
    """All of them, each once; none for another address of the API."""
    names = [f"CA{number}" for number in range(7)]
    run(ledger, "r1", dict.fromkeys(names, Status.PENDING))
    assert [one.conversation_id for one in pending(ledger)] == names
    assert pending(ledger, origin="https://other.example.com") == []
    assert ledger.pending_projects(HERE) == [("acme", "shop")]
    assert ledger.pending_projects("https://other.example.com") == []


def test_a_call_is_believed_to_go_on_for_some_time_only(ledger: Ledger) -> None:
    """What was in progress when it was first missed is so still, unless that is long ago."""
    run(ledger, "r1", {"CA1": Status.PENDING}, in_progress=True)
    (still,) = pending(ledger, fresh=NOW - timedelta(seconds=1))
    (over,) = pending(ledger, fresh=NOW)
    assert (still.in_progress, over.in_progress) == (True, False)


def test_what_is_carried_over_is_told_as_such(ledger: Ledger) -> None:
    """It is counted, marked in the results, and never planned twice."""
    run(ledger, "r1", {"CA1": Status.PENDING, "CA2": Status.PENDING})
    ledger.begin_run("r2", NOW, "{}", origin=HERE)
    ledger.plan([(one, "new", None) for one in ledger.look_up([recording("CA2")])])
    carried = ledger.look_up(pending(ledger))
    assert ledger.plan([(one, "new", None) for one in carried], carried_over=True) == 1
    ledger.planning_ended(0, NOW)
    told = [(one.conversation_id, each.carried_over) for _, one, each in ledger.results(0, 10)]
    assert told == [("CA2", False), ("CA1", True)]
    assert ledger.totals().carried_over == 1


def test_work_is_handed_out_in_the_order_asked_for(ledger: Ledger) -> None:
    """Oldest first, undated last, ties as named; and the results stay as named."""
    ages = {"CA1": 1, "CA2": 3, "CA3": None, "CA4": 3, "CA5": 2}
    wanted = [
        recording(name, None if age is None else NOW - timedelta(days=age))
        for name, age in ages.items()
    ]
    for order, names in (
        (Order.OLDEST_FIRST, ["CA2", "CA4", "CA5", "CA1", "CA3"]),
        (Order.MANIFEST, list(ages)),
    ):
        ledger.begin_run(order, NOW, "{}")
        ledger.plan([(one, "new", None) for one in ledger.look_up(wanted)])
        ledger.planning_ended(0, NOW, order=order)
        pages = [ledger.planned(0, 2)]
        while page := ledger.planned(pages[-1][-1].turn, 2):
            pages.append(page)
        assert [one.recording.conversation_id for page in pages for one in page] == names
        assert [one.conversation_id for _, one, _ in ledger.results(0, 10)] == list(ages)
        # A killed run may have been at those that come first in this order.
        at_work = ledger.perhaps_under_way(1)
        assert [one.conversation_id for one in at_work] == names[:2]
        ledger.record([(pages[0][1].seq, outcome(Status.FAILED, pages[0][1]))], NOW)
        assert [one.conversation_id for one in ledger.perhaps_under_way(1)] == [names[0], names[2]]


def test_what_expires_is_counted(ledger: Ledger) -> None:
    """Expiring: not archived, still to be had, soon deleted. Expired: gone, or too old."""
    ends = {
        "CA1": (85, Status.FAILED),
        "CA2": (85, Status.EXPORTED),
        "CA3": (85, Status.NOT_FOUND),
        "CA4": (20, Status.FAILED),
        "CA5": (95, Status.PENDING),
        "CA6": (10, Status.GONE),
        "CA7": (86, None),
    }
    ledger.begin_run("r1", NOW, "{}")
    wanted = [recording(name, NOW - timedelta(days=age)) for name, (age, _) in ends.items()]
    ledger.plan([(one, "new", None) for one in ledger.look_up(wanted)])
    ledger.planning_ended(0, NOW)
    planned = {one.recording.conversation_id: one for one in ledger.planned(0, 10)}
    ledger.record(
        [
            (planned[name].seq, outcome(status, planned[name]))
            for name, (_, status) in ends.items()
            if status
        ],
        NOW,
    )
    gone = NOW - timedelta(days=90)
    assert ledger.expiry(gone, gone + timedelta(days=7)) == (2, 2)
