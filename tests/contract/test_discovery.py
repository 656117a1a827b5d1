"""Discovery over HTTP: pages that go wrong cost no conversation and double none."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest

from exporter.api import Api
from exporter.credentials import Credentials
from exporter.discovery import Discovered, Discovery, LeftOut
from exporter.errors import ErrorKind, ExporterError
from exporter.sandbox import (
    AudioSettings,
    BadPage,
    Cut,
    Endpoint,
    Framing,
    History,
    Match,
    PageFault,
    Reset,
    Respond,
    Rule,
    Sandbox,
    Stall,
    Times,
    World,
    WrongType,
)
from exporter.settings import Settings
from exporter.stopping import Stop, StopReason
from exporter.window import ClientEnv, Filters, Query, QueryType, Sample, window_of

if TYPE_CHECKING:
    from exporter.model import Conversation
    from exporter.sandbox import Action

NOON = datetime(2026, 5, 21, 12, tzinfo=UTC)
KEY = "sandbox-key"
HISTORY = History(per_day=120, text_share=0.2, seconds=(20, 600), turns=1)
WORLD = World(histories=(HISTORY,), audio=AudioSettings(seconds=(0.2, 0.4)))
PAGE = 50
PAGES = 3  # of a day


class Noon:
    """The sandbox's time stands still."""

    def time(self) -> float:
        return NOON.timestamp()

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


async def discover(
    sandbox: Sandbox,
    filters: Filters | None = None,
    *,
    start: str = "yesterday",
    end: str = "today",
    zone: str = "UTC",
    key: str = KEY,
    **settings: Any,
) -> tuple[Discovered, list[Conversation]]:
    """One window, and what was handed on."""
    settings = {
        "api": {"base_url": sandbox.base_url, **settings.pop("api", {})},
        "retry": {"max_delay": 0.01, **settings.pop("retry", {})},
    }
    checked = Settings.model_validate(settings)
    stop = Stop()

    def give_up(error: ExporterError) -> None:
        stop.request(StopReason.of(error))

    query = Query("ws-1", "P", start, end, zone, filters or Filters())
    window = window_of(query, timezone="UTC", now=NOON)
    taken: list[Conversation] = []
    credentials = Credentials(checked.credentials, {"POLYAI_API_KEY": key})
    async with Api(
        checked, credentials, projects=[("ws-1", "P")], stop=stop, give_up=give_up
    ) as api:
        found = await Discovery(api.asker, api.listing, page_size=PAGE).discover(
            window, taken.extend
        )
    return found, taken


def sandbox_of(*rules: Rule, world: World = WORLD) -> Sandbox:
    return Sandbox(world=world, scenario=rules, clock=Noon())


def on_page(page: int, action: Action, attempts: Times | None = None) -> Rule:
    match = Match(endpoint=Endpoint.LIST, pages=Times(page, page), attempts=attempts or Times(1, 1))
    return Rule(match=match, action=action)


def expected(day: int = 20) -> dict[str, bool]:
    """The ids of a day of May 2026, and whether each is a call."""
    midnight = datetime(2026, 5, day, tzinfo=UTC).timestamp()
    positions = range(int(midnight // 86400) * 120, (int(midnight // 86400) + 1) * 120)
    found = [HISTORY.happening("ws-1", "P", position) for position in positions]
    return {each.id: each.is_voice for each in found if each}


VOICE = {name for name, is_voice in expected().items() if is_voice}


async def test_a_day() -> None:
    """Every call of the day is handed on once; chats are counted as left out."""
    async with sandbox_of() as sandbox:
        found, taken = await discover(sandbox)
    assert {one.conversation_id for one in taken} == VOICE
    assert len(taken) == len(VOICE) == found.taken
    assert (found.found, found.pages, found.repeated, found.error) == (120, PAGES, 0, None)
    assert found.left_out == {LeftOut.CHANNEL: 120 - len(VOICE)}
    assert all(one.started_at in found.window for one in taken if one.started_at)


TROUBLE: dict[str, Action] = {
    "error": Respond(500),
    "gateway": Respond(502, body="<h1>Bad gateway</h1>"),
    "rate limit": Respond(429, retry_after=0.01),
    "cut": Cut(framing=Framing.CHUNKED),
    "cut silently": Cut(framing=Framing.CLOSE),
    "cut short": Cut(framing=Framing.LENGTH),
    "reset": Reset(after_bytes=5000),
    "no answer": Reset(),
    "no JSON": BadPage(PageFault.UNREADABLE),
    "a page of HTML": WrongType(),
    "other JSON": Respond(200, body='{"success": true}', content_type="application/json"),
}


@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_page_that_fails_is_asked_for_again(name: str, page: int) -> None:
    """Nothing of it is used before it came whole: no conversation is lost, none comes twice."""
    async with sandbox_of(on_page(page, TROUBLE[name])) as sandbox:
        found, taken = await discover(sandbox)
        assert len(sandbox.requests) == PAGES + 1
    assert found.error is None
    assert sorted(one.conversation_id for one in taken) == sorted(VOICE)


async def test_a_page_that_stalls_is_asked_for_again() -> None:
    """Silence in the middle of a page ends by the read timeout."""
    rule = on_page(2, Stall(after_bytes=5000))
    async with sandbox_of(rule) as sandbox:
        found, taken = await discover(sandbox, api={"timeout": {"read": 0.2}})
    assert found.error is None
    assert len(taken) == len(VOICE)


async def test_a_page_that_never_comes() -> None:
    """After so many attempts the listing is incomplete and says why; what came before stays."""
    async with sandbox_of(on_page(2, BadPage(PageFault.UNREADABLE), Times())) as sandbox:
        found, taken = await discover(sandbox, retry={"attempts": 3})
        assert len(sandbox.requests) == 1 + 3
    assert found.error is not None
    assert found.error.kind is ErrorKind.UNREADABLE
    assert found.error.correlation_id
    assert found.pages == 1
    assert 0 < len(taken) < 50


async def test_an_empty_page_with_a_cursor() -> None:
    """It is followed: the list goes on behind it."""
    async with sandbox_of(on_page(2, BadPage(PageFault.EMPTY))) as sandbox:
        found, taken = await discover(sandbox)
    assert found.error is None
    assert {one.conversation_id for one in taken} == VOICE


async def test_empty_pages_without_end() -> None:
    """They end as an error after a hundred, and are not waited for for ever."""
    rule = Rule(
        match=Match(endpoint=Endpoint.LIST, pages=Times(2)), action=BadPage(PageFault.EMPTY)
    )
    async with sandbox_of(rule) as sandbox:
        found, _ = await discover(sandbox)
        assert len(sandbox.requests) == 101
    assert found.error is not None
    assert found.error.kind is ErrorKind.BAD_PAGING
    assert "100 pages in a row" in found.error.message


@pytest.mark.parametrize("page", [1, 2])
async def test_a_cursor_that_repeats(page: int) -> None:
    """A circle is left when its cursor comes a second time, and nothing comes out doubled."""
    async with sandbox_of(on_page(page, BadPage(PageFault.REPEATED_CURSOR), Times())) as sandbox:
        found, taken = await discover(sandbox)
        assert len(sandbox.requests) <= 4
    assert found.error is not None
    assert found.error.kind is ErrorKind.BAD_PAGING
    assert len({one.conversation_id for one in taken}) == len(taken)


async def test_doubled_conversations_count_once() -> None:
    """What a page tells twice is one conversation."""
    async with sandbox_of(on_page(2, BadPage(PageFault.DOUBLED))) as sandbox:
        found, taken = await discover(sandbox)
    assert (found.found, found.repeated) == (120, 50)
    assert sorted(one.conversation_id for one in taken) == sorted(VOICE)


async def test_both_bounds() -> None:
    """The first moment belongs to the window and the last does not, whatever the server thinks."""
    world = World(histories=(History(per_day=24, jitter=0, seconds=(1, 1)),))
    async with sandbox_of(world=world) as sandbox:
        found, taken = await discover(sandbox, zone="Europe/London")
    starts = [one.started_at.isoformat() for one in taken if one.started_at]
    assert min(starts) == "2026-05-19T23:00:00+00:00"
    assert max(starts) == "2026-05-20T22:00:00+00:00"
    assert found.found == 24


async def test_the_days_of_a_daylight_saving_change() -> None:
    """The day with 23 hours has 23 hourly calls, the one with 25 has 25; none is in two days."""
    world = World(
        histories=(History(per_day=24, jitter=0, seconds=(1, 1), first_day=date(2025, 1, 1)),)
    )
    seen: set[str] = set()
    async with sandbox_of(world=world) as sandbox:
        for start, end, zone, hours in (
            ("2026-03-29", "2026-03-30", "Europe/London", 23),
            ("2025-10-26", "2025-10-27", "Europe/London", 25),
            ("2026-03-08", "2026-03-09", "America/New_York", 23),
            ("2025-11-02", "2025-11-03", "America/New_York", 25),
            ("2025-10-05", "2025-10-06", "Australia/Lord_Howe", 23),  # and a half
            ("2026-04-05", "2026-04-06", "Australia/Lord_Howe", 25),  # 24 and a half
        ):
            found, taken = await discover(sandbox, start=start, end=end, zone=zone)
            assert found.found == len(taken) == hours
            local = {
                one.started_at.astimezone(ZoneInfo(zone)).date() for one in taken if one.started_at
            }
            assert local == {date.fromisoformat(start)}
            seen |= {one.conversation_id for one in taken}
    assert len(seen) == 3 * (23 + 25)


async def test_calls_in_progress() -> None:
    """They are left out and counted, or taken along with a mark."""
    world = World(histories=(History(per_day=24, jitter=0, seconds=(5000, 5000)),))
    async with sandbox_of(world=world) as sandbox:
        without, finished = await discover(sandbox, start="today", end="2026-05-22")
        asked = Filters(include_in_progress=True)
        found, taken = await discover(sandbox, asked, start="today", end="2026-05-22")
    assert without.left_out == {LeftOut.IN_PROGRESS: 2}
    assert not any(one.in_progress for one in finished)
    assert found.found == without.found == len(taken)
    assert [one.in_progress for one in taken] == [True, True, *[False] * len(finished)]


@pytest.mark.parametrize(
    ("filters", "sent"),
    [
        (Filters(), {"client_env": "live"}),
        (Filters(client_env=ClientEnv.SANDBOX), {"client_env": "sandbox"}),
        (Filters(channels=("VOICE-SIP", "CHAT")), {"channel": ["VOICE-SIP", "CHAT"]}),
        (Filters(channels=("any",)), {"channel": []}),
        (Filters(variant_id="V1"), {"variant_id": "V1"}),
        (
            Filters(query_type=QueryType.TRANSCRIPT, query="a & b=c"),
            {"query_type": "transcript", "query": "a & b=c"},
        ),
        (Filters(sample=Sample.RANDOM), {"sample": "random"}),
    ],
)
async def test_filters_are_sent(filters: Filters, sent: dict[str, Any]) -> None:
    """Each filter is the API's parameter; both bounds and a limit always go along."""
    async with sandbox_of() as sandbox:
        found, _ = await discover(sandbox, filters)
        assert found.error is None
        query = parse_qs(sandbox.requests[0].query)
    assert query["start_time"] == ["2026-05-19T23:59:59Z"]
    assert query["end_time"] == ["2026-05-21T00:00:01Z"]
    assert query["limit"] == ["50"]
    assert "cursor" not in query
    for name, value in sent.items():
        assert query.get(name, []) == (value if isinstance(value, list) else [value])


async def test_named_channels_are_checked_here_too() -> None:
    """Should the server not know the filter, what was not asked for is left out all the same."""
    page = {
        "conversations": [
            {"id": "CA1", "channel": "VOICE-SIP", "started_at": "2026-05-20T08:00:00Z"},
            {"id": "CA2", "channel": "CHAT", "started_at": "2026-05-20T08:00:00Z"},
            {"id": "CA3", "started_at": "2026-05-20T08:00:00Z"},
        ],
        "cursor": None,
    }
    answer = Respond(200, body=json.dumps(page), content_type="application/json")
    async with sandbox_of(on_page(1, answer, Times())) as sandbox:
        for channels, ids in (
            (("CHAT",), ["CA2"]),
            ((), ["CA1"]),
            (("any",), ["CA1", "CA2", "CA3"]),
        ):
            _, taken = await discover(sandbox, Filters(channels=channels))
            assert [one.conversation_id for one in taken] == ids


async def test_odd_conversations() -> None:
    """No start: taken as undated. No identifier, or none that an archive can hold: counted."""
    rows: list[dict[str, Any]] = [
        {"id": "CA1", "channel": "VOICE"},
        {"id": "CA2", "channel": "VOICE", "started_at": "soon"},
        {"id": "CA3", "channel": "VOICE", "started_at": 5},
        {"id": "CA4", "channel": "VOICE", "started_at": "2026-05-20T23:30:00-05:00"},
        {"id": "CA5", "channel": "VOICE", "started_at": "2026-05-20T08:00:00"},
        {"id": "../etc", "channel": "VOICE"},
        {"id": None, "channel": "VOICE"},
        {"channel": "VOICE"},
        {"id": "x" * 400, "channel": "VOICE"},
    ]
    body = json.dumps({"conversations": rows, "cursor": ""})
    answer = Respond(200, body=body, content_type="application/json")
    async with sandbox_of(on_page(1, answer)) as sandbox:
        found, taken = await discover(sandbox)
    assert [one.conversation_id for one in taken] == ["CA1", "CA2", "CA3", "CA5"]
    assert [one.started_at for one in taken] == [None] * 3 + [datetime(2026, 5, 20, 8, tzinfo=UTC)]
    assert (found.found, found.left_out) == (8, {LeftOut.UNUSABLE_ID: 4})


@pytest.mark.parametrize(
    ("key", "status", "kind"),
    [
        ("nobody", 401, ErrorKind.UNAUTHORIZED),
        ("sandbox-key-no-access", 403, ErrorKind.FORBIDDEN),
    ],
)
async def test_a_refused_key(key: str, status: int, kind: ErrorKind) -> None:
    """It is asked once, and the answer is the reason."""
    async with sandbox_of() as sandbox:
        found, taken = await discover(sandbox, key=key)
        assert len(sandbox.requests) == 1
    assert found.error is not None
    assert (found.error.kind, found.error.http_status) == (kind, status)
    assert not taken
