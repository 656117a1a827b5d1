"""A month of nights in simulated time, against recordings that come late, fail and expire.

What must have come of it is worked out from the sandbox's own history and its log of requests,
which share no code with what is tested.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from exporter.credentials import Credentials
from exporter.export import export
from exporter.job import Job
from exporter.model import Status
from exporter.queries import windows_of
from exporter.sandbox import (
    Cut,
    Endpoint,
    Environment,
    Framing,
    History,
    Match,
    Respond,
    Rule,
    Times,
    World,
)
from exporter.settings import Settings
from exporter.spool import Spool
from exporter.stopping import Stop
from exporter.window import Query
from tests.conftest import KEY, SHORT_CALLS
from tests.sandboxes import SandboxThread

if TYPE_CHECKING:
    from exporter.job import Report
    from exporter.sandbox import Happening, Sandbox

pytestmark = pytest.mark.in_process

LONDON = ZoneInfo("Europe/London")
FIRST_NIGHT = datetime(2026, 3, 4, 2, 15, tzinfo=LONDON)  # the clocks change on the 29th
NIGHTS = 31
LOOK_BACK = 3
GRACE = timedelta(days=4)
RETENTION = timedelta(hours=62)
HOUR = 3600.0
ATTEMPTS = 2
OUTAGE = 12  # the night in which the list cannot be had

HISTORY = History(
    per_day=8,
    first_day=date(2026, 2, 20),
    seconds=(0.2, 0.6),
    text_share=0.15,
    other_env_share=0.1,
    listed_late_share=0.25,
    listed_late=30 * HOUR,
    recorded_after=(0, 66 * HOUR),
    unrecorded_share=0.05,
    retention=RETENTION.total_seconds(),
    seed=6,
)


class SimulatedClock:
    """The time of the night; waits are as long as they are."""

    def __init__(self) -> None:
        self.now = FIRST_NIGHT

    def time(self) -> float:
        return self.now.timestamp()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Month:
    """The nights so far.

    Attributes:
        reports: of each night.
        hit: (night, conversation) where the script let requests fail.
        heard: how often each recording was sent whole.
    """

    clock: SimulatedClock
    sandbox: Sandbox
    folder: Path
    reports: list[Report] = field(default_factory=list)
    hit: set[tuple[int, str]] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def night(self, number: int) -> None:
        self.clock.now = _night(number)
        settings = Settings.model_validate(
            {
                "api": {"base_url": self.sandbox.base_url},
                "output": {"url": str(self.folder), "timezone": LONDON.key},
                "export": {"pending_grace": "4d", "retention": "62h"},
                "retry": {"attempts": ATTEMPTS, "max_delay": 0.01},
                "limits": {"min_free_bytes": 0},
            }
        )
        query = Query("ws-1", "P", f"-{LOOK_BACK}d", "today")
        now = self.clock.now.astimezone(UTC)
        with Spool() as spool:
            job = Job(
                spool=spool,
                manifest_path="nightly.yaml",
                manifest_sha256=None,
                settings=settings,
                credentials=Credentials(settings.credentials, {"POLYAI_API_KEY": KEY}),
                windows=windows_of([query], settings, now=now),
                allow_missing=True,
                now=lambda: now,
            )
            self.reports.append(asyncio.run(_run(job)))
        for request in self.sandbox.requests[self.asked :]:
            if request.endpoint == "audio" and request.conversation:
                if request.rule is not None:
                    self.hit.add((number, request.conversation))
                elif request.status == 200:
                    self.heard[request.conversation] += 1
        self.asked = len(self.sandbox.requests)

    @property
    def archived(self) -> list[str]:
        """The conversations of all recordings in the archive."""
        return [file.parent.name for file in self.folder.rglob("*.wav")]


async def _run(job: Job) -> Report:
    return await export(job, Stop())


def _night(number: int) -> datetime:
    return FIRST_NIGHT + timedelta(days=number)  # the same local time, whatever the clocks do


def calls() -> list[Happening]:
    """All live calls that any night may look for."""
    first = FIRST_NIGHT.timestamp() - 10 * 24 * HOUR
    last = _night(NIGHTS).timestamp()
    positions = HISTORY.positions(first, last, first)
    step = range(positions.start, int(last // (24 * HOUR / HISTORY.per_day)))
    found = [HISTORY.happening("ws-1", "P", position) for position in step]
    return [
        each for each in found if each and each.is_voice and each.environment is Environment.LIVE
    ]


def is_listed_tonight(call: Happening, number: int) -> bool:
    """The night's window has it, as a finished call."""
    night = _night(number)
    today = night.replace(hour=0, minute=0)
    start, end = (today - timedelta(days=LOOK_BACK)).timestamp(), today.timestamp()
    now = night.timestamp()
    return (
        number != OUTAGE
        and start <= call.started_at < end
        and call.is_listed(now)
        and not call.in_progress(now)
    )


def within_reach(call: Happening, hit: set[tuple[int, str]]) -> bool:
    """Some night had to get it: it was listed or pending, recorded, and nothing failed.

    What fails when it has left the window is not pending any more: `exporter retry` asks for it.
    """
    is_pending = False
    for number in range(NIGHTS):
        now = _night(number).timestamp()
        is_asked_for = is_listed_tonight(call, number) or is_pending
        is_hit = (number, call.id) in hit
        if is_asked_for and call.is_recorded(now) and not is_hit:
            return True
        is_young = now - call.started_at < GRACE.total_seconds()
        is_pending = is_asked_for and is_young and not is_hit
    return False


@pytest.mark.timeout(400)
def test_a_month(tmp_path: Path) -> None:
    """Every night balances; whatever was within reach is archived, and was fetched exactly once."""
    clock = SimulatedClock()
    rules = [
        Rule(  # fails for a whole night
            match=Match(probability=0.15, seed=1, attempts=Times(1, ATTEMPTS)), action=Respond(500)
        ),
        Rule(match=Match(probability=0.1, seed=2), action=Cut(framing=Framing.LENGTH)),
        Rule(
            match=Match(endpoint=Endpoint.LIST, requests=Times(OUTAGE + 1, OUTAGE + ATTEMPTS)),
            action=Respond(502),
        ),
    ]
    world = World(histories=(HISTORY,), audio=SHORT_CALLS)
    with SandboxThread(world=world, scenario=rules, clock=clock) as sandbox:
        month = Month(clock, sandbox, tmp_path / "archive")
        for number in range(NIGHTS):
            month.night(number)
            _check_night(month.reports[-1], number)

    archived = month.archived
    assert len(archived) == len(set(archived))
    assert set(archived) == set(month.heard)
    assert set(month.heard.values()) == {1}
    reachable = {call.id for call in calls() if within_reach(call, month.hit)}
    assert reachable <= set(archived)
    ever = {call.id for call in calls() if call.recorded_at is not None}
    assert set(archived) <= ever
    _check_that_it_was_no_easy_month(month, reachable)


def _check_night(report: Report, number: int) -> None:
    (window,) = report.run.discovered
    assert window.balances
    assert window.complete == (number != OUTAGE)
    counts = window.conversations
    settled = counts.archived + counts.pending + counts.not_found + counts.gone + counts.failed
    assert window.found == settled + sum(window.left_out.values())
    assert not window.missing
    failed = report.summary.failed > 0
    assert report.run.exit_code == int(failed or not window.complete), report.run
    assert report.results_path
    document = json.loads(Path(report.results_path).read_bytes())
    assert document["run"]["discovered"][0]["balances"]


def _check_that_it_was_no_easy_month(month: Month, reachable: set[str]) -> None:
    """There were late lists, late recordings, failures, expiry, and the outage."""
    everything = calls()
    assert len(reachable) > 60
    late = [each for each in everything if each.listed_at > each.ended_at and each.id in reachable]
    assert late
    assert month.hit
    statuses = Counter[str]()
    for report in month.reports:
        for status in Status:
            statuses[status] += getattr(report.summary, status)
    assert all(statuses[each] for each in (Status.EXPORTED, Status.SKIPPED, Status.PENDING))
    assert statuses[Status.FAILED]
    assert statuses[Status.NOT_FOUND]
    assert any(window.expired for report in month.reports for window in report.run.discovered)
