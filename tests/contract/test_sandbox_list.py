"""The sandbox's list of conversations and their descriptions, asked over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from exporter.sandbox import (
    AudioSettings,
    BadPage,
    Cut,
    Endpoint,
    Framing,
    History,
    Match,
    PageFault,
    Respond,
    Rule,
    Sandbox,
    Times,
    World,
    parse_scenario,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NOON = datetime(2026, 5, 21, 12, tzinfo=UTC).timestamp()
HISTORY = History(
    per_day=48,
    first_day=date(2026, 5, 20),
    seconds=(0.2, 0.4),
    text_share=0.2,
    other_env_share=0.2,
    variants=("main", "trial"),
    turns=4,
)
WORLD = World(histories=(HISTORY,), audio=AudioSettings(seconds=(0.2, 0.4)))
LIST = "/v3/ws-1/P/conversations"
ALL = [("start_time", "2026-05-20T00:00:00Z"), ("end_time", "2026-05-21T12:00:00Z")]
FIELDS = {"id", "account_id", "project_id", "environment", "started_at", "channel", "in_progress"}


class FixedClock:
    """It is always the same time, unless somebody sets it."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


class Asking:
    """A sandbox and a session that asks it."""

    def __init__(self, world: World = WORLD, rules: Sequence[Rule] = (), now: float = NOON) -> None:
        self.clock = FixedClock(now)
        self.sandbox = Sandbox(world=world, scenario=rules, clock=self.clock)
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        await self.sandbox.__aenter__()
        self.session = aiohttp.ClientSession(headers={"x-api-key": "sandbox-key"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self.sandbox.__aexit__(None, None, None)

    async def get(
        self, path: str = LIST, query: Sequence[tuple[str, str]] = ()
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self.session.get(
            f"{self.sandbox.base_url}{path}", params=list(query)
        ) as response:
            return response.status, await response.json(), response

    async def pages(self, query: Sequence[tuple[str, str]] = ()) -> list[list[dict[str, Any]]]:
        """All pages, by their cursors."""
        found: list[list[dict[str, Any]]] = []
        cursor: list[tuple[str, str]] = []
        while True:
            status, page, _ = await self.get(query=[*ALL, *query, *cursor])
            assert status == 200, page
            found.append(page["conversations"])
            if page["cursor"] is None:
                return found
            cursor = [("cursor", page["cursor"])]
            assert len(found) < 100

    async def ids(self, *query: tuple[str, str]) -> set[str]:
        return {each["id"] for page in await self.pages(query) for each in page}


async def test_pages_and_offsets_tell_the_same() -> None:
    """The pages by cursor are whole, without repetition, and those by offset agree."""
    async with Asking() as asking:
        pages = await asking.pages([("limit", "10")])
        assert [len(page) for page in pages[:-1]] == [10] * (len(pages) - 1)
        by_cursor = [each["id"] for page in pages for each in page]
        assert len(by_cursor) == len(set(by_cursor)) > 40
        assert all(each.keys() >= FIELDS for each in pages[0])
        by_offset: list[str] = []
        offset: int | None = 0
        while offset is not None:
            _, page, _ = await asking.get(query=[*ALL, ("limit", "10"), ("offset", str(offset))])
            by_offset += [each["id"] for each in page["conversations"]]
            offset = page["next_offset"]
        assert by_offset == by_cursor


async def test_pages_are_streamed() -> None:
    """A page comes in chunks, without a length, unless the world says otherwise."""
    async with Asking() as asking:
        _, _, response = await asking.get(query=ALL)
        assert response.headers["Transfer-Encoding"] == "chunked"
    async with Asking(replace(WORLD, list_framing=Framing.LENGTH)) as asking:
        _, _, response = await asking.get(query=ALL)
        assert "Content-Length" in response.headers


async def test_filters() -> None:
    """Every filter leaves what it should, and together they leave what each of them does."""
    async with Asking() as asking:
        live = await asking.ids()
        sandbox, pre_release = [
            await asking.ids(("client_env", name)) for name in ("sandbox", "pre-release")
        ]
        assert live
        assert sandbox
        assert pre_release
        assert not live & (sandbox | pre_release)
        voice, chat, web = [
            await asking.ids(("channel", name)) for name in ("VOICE-SIP", "CHAT", "WEBCHAT")
        ]
        assert voice | chat | web == live
        assert await asking.ids(("channel", "CHAT"), ("channel", "WEBCHAT")) == chat | web
        main, trial = [await asking.ids(("variant_name", name)) for name in ("main", "trial")]
        assert main | trial == live
        assert not main & trial
        one = next(each for page in await asking.pages() for each in page if each["id"] in main)
        assert await asking.ids(("variant_id", one["variant_id"])) == main
        assert await asking.ids(("query_type", "transcript"), ("query", "booking")) == live
        agent = [("query_type", "transcript"), ("query", "booking"), ("turn_type", "agent")]
        assert await asking.ids(*agent) == set()
        some = await asking.ids(("query_type", "semantic"), ("query", "refunds"))
        assert set() < some < live
        assert set() < await asking.ids(("sample", "random")) < live


async def test_both_bounds_belong_to_the_window() -> None:
    """What begins exactly at either bound is told."""
    history = History(per_day=24, jitter=0, seconds=(1, 1))
    async with Asking(replace(WORLD, histories=(history,))) as asking:
        bounds = [("start_time", "2026-05-20T00:00:00Z"), ("end_time", "2026-05-20T02:00:00+00:00")]
        _, page, _ = await asking.get(query=bounds)
    assert sorted(each["started_at"][11:13] for each in page["conversations"]) == ["00", "01", "02"]


async def test_calls_in_progress() -> None:
    """A call that goes on is told as such, and not at all where only finished ones are wanted."""
    history = History(per_day=24, jitter=0, seconds=(1800, 1800))
    world = replace(WORLD, histories=(history,))
    async with Asking(world, now=NOON + 600) as asking:
        query = [("start_time", "2026-05-21T10:30:00Z")]
        _, everything, _ = await asking.get(query=query)
        _, finished, _ = await asking.get(query=[*query, ("in_progress", "false")])
    assert [each["in_progress"] for each in everything["conversations"]] == [True, False]
    assert finished["conversations"] == everything["conversations"][1:]


async def test_latecomers_and_expiry() -> None:
    """The list gets conversations late and loses them after their retention."""
    history = History(
        per_day=24, jitter=0, seconds=(1, 1), listed_late_share=1, listed_late=7200, retention=86400
    )
    async with Asking(replace(WORLD, histories=(history,))) as asking:
        assert min(await _hours(asking)) == "2026-05-20T13"
        assert max(await _hours(asking)) == "2026-05-21T09"
        asking.clock.now += 3600
        assert min(await _hours(asking)) == "2026-05-20T14"
        assert max(await _hours(asking)) == "2026-05-21T10"


async def _hours(asking: Asking) -> list[str]:
    _, page, _ = await asking.get()
    return [each["started_at"][:13] for each in page["conversations"]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("cursor", "nonsense")], "cursor"),
        ([("cursor", "!!")], "cursor"),
        ([("limit", "0")], "limit"),
        ([("limit", "1001")], "limit"),
        ([("limit", "many")], "limit"),
        ([("offset", "-1")], "offset"),
        ([("start_time", "yesterday")], "start_time"),
        ([("client_env", "prod")], "client_env"),
        ([("in_progress", "maybe")], "in_progress"),
        ([("variant_id", "1"), ("variant_name", "a")], "variant"),
        ([("sample", "random")], "start_time"),
        ([*ALL, ("sample", "first")], "sample"),
        ([*ALL, ("query", "refund")], "query_type"),
    ],
)
async def test_bad_queries(query: list[tuple[str, str]], words: str) -> None:
    """What cannot be understood gets 400 with the documented code, and says what it is."""
    async with Asking() as asking:
        status, answer, _ = await asking.get(query=query)
    assert status == 400
    assert answer["error_code"] == "GET_CONVERSATIONS_FILTER_PARSE_ERROR"
    assert words in answer["error_message"]


async def test_a_cursor_with_other_filters() -> None:
    """A cursor goes with the filters that it was made for, and with any limit."""
    async with Asking() as asking:
        _, page, _ = await asking.get(query=[*ALL, ("limit", "5")])
        cursor = ("cursor", page["cursor"])
        assert (await asking.get(query=[*ALL, ("limit", "9"), cursor]))[0] == 200
        assert (await asking.get(query=[*ALL, ("channel", "CHAT"), cursor]))[0] == 400


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [(LIST, "", 401), (LIST, "sandbox-key-no-access", 403), ("/v3/ws-2/P/conversations", "", 404)],
)
async def test_keys_and_places(path: str, key: str, status: int) -> None:
    """The list needs a key that opens the project, as recordings do."""
    world = replace(WORLD, projects=frozenset({("ws-1", "P")}))
    async with Asking(world) as asking:
        headers = {"x-api-key": key or ("" if status == 401 else "sandbox-key")}
        url = f"{asking.sandbox.base_url}{path}"
        async with asking.session.get(url, headers=headers) as response:
            assert response.status == status


async def test_the_audio_of_what_is_listed() -> None:
    """Voice has the recording that the world tells; chats have none, nor has what is not ready."""
    history = replace(HISTORY, recorded_after=(3600, 3600))
    world = replace(WORLD, histories=(history,))
    async with Asking(world) as asking:
        for each in [each for page in await asking.pages() for each in page]:
            url = f"{asking.sandbox.base_url}{LIST}/{each['id']}/audio"
            async with asking.session.get(url) as response:
                is_ready = (
                    each["channel"] == "VOICE-SIP" and each["started_at"] < "2026-05-21T10:59"
                )
                if each["started_at"] > "2026-05-21T10:58":
                    continue  # seconds decide
                if is_ready:
                    audio = world.call("ws-1", "P", each["id"])
                    assert await response.read() == audio.wav()
                    assert audio.duration == pytest.approx(each["total_duration"], abs=1e-3)
                else:
                    answer = await response.json()
                    assert answer["error_code"] == "CONVERSATIONS_RECORDING_NOT_FOUND"


async def test_the_description_of_a_conversation() -> None:
    """It agrees with the list, in camelCase; what does not exist has none."""
    world = replace(WORLD, default_account="ws-1")
    async with Asking(world) as asking:
        _, page, _ = await asking.get(query=ALL)
        listed = page["conversations"][0]
        path = f"/v1/agents/P/conversations/{listed['id']}"
        status, found, _ = await asking.get(path)
        assert status == 200
        assert found["conversationId"] == listed["id"]
        assert found["startedAt"] == listed["started_at"]
        assert found["inProgress"] is False
        assert found["accountId"] == "ws-1"
        status, answer, _ = await asking.get("/v1/agents/P/conversations/CA1")
        assert (status, answer["error_code"]) == (404, "CONVERSATIONS_NOT_FOUND")


async def test_an_agent_is_the_project_that_was_asked_for_before() -> None:
    """The surface that names no account describes what the other one listed, of any account."""
    async with Asking(replace(WORLD)) as asking:
        _, page, _ = await asking.get(query=ALL)
        listed = page["conversations"][0]
        status, found, _ = await asking.get(f"/v1/agents/P/conversations/{listed['id']}")
        assert (status, found["accountId"]) == (200, "ws-1")


def rule(fault: PageFault, pages: Times | None = None, share: float = 0.5) -> Rule:
    match = Match(endpoint=Endpoint.LIST, pages=pages or Times())
    return Rule(match=match, action=BadPage(fault, share))


async def test_bad_pages() -> None:
    """Each fault spoils the page that it is for, and no other."""
    query = [*ALL, ("limit", "10")]
    second = Times(2, 2)
    async with Asking() as asking:
        whole = await asking.pages([("limit", "10")])
    async with Asking(rules=[rule(PageFault.EMPTY, second)]) as asking:
        pages = await asking.pages([("limit", "10")])
        assert pages == [whole[0], [], *whole[1:]]
    async with Asking(rules=[rule(PageFault.LAST, second)]) as asking:
        assert await asking.pages([("limit", "10")]) == whole[:2]
    async with Asking(rules=[rule(PageFault.DOUBLED, second)]) as asking:
        assert (await asking.pages([("limit", "10")]))[1] == [*whole[1], *whole[1]]
    async with Asking(rules=[rule(PageFault.SHRUNK, second, 0.3)]) as asking:
        assert (await asking.pages([("limit", "10")]))[1] == whole[1][:7]
    async with Asking(rules=[rule(PageFault.REPEATED_CURSOR)]) as asking:
        _, first, _ = await asking.get(query=query)
        cursor = ("cursor", first["cursor"])
        assert (await asking.get(query=[*query, cursor]))[1] == first
    async with Asking(rules=[rule(PageFault.UNREADABLE)]) as asking:
        with pytest.raises(ValueError, match=r"."):
            await asking.get(query=query)


async def test_rules_are_for_one_endpoint() -> None:
    """A rule that does not say otherwise leaves the list alone; one for the list, recordings."""
    async with Asking(rules=[Rule(action=Respond(503))]) as asking:
        assert (await asking.get(query=ALL))[0] == 200
    rules = [
        Rule(match=Match(endpoint=Endpoint.LIST, attempts=Times(1, 1)), action=Respond(503)),
        Rule(match=Match(endpoint=Endpoint.LIST), action=Cut(framing=Framing.CHUNKED)),
    ]
    async with Asking(rules=rules) as asking:
        assert (await asking.get(query=ALL))[0] == 503
        with pytest.raises(aiohttp.ClientPayloadError):
            await asking.get(query=ALL)
        async with asking.session.get(f"{asking.sandbox.base_url}{LIST}/CA1/audio") as response:
            assert response.status == 200
        requests = asking.sandbox.requests
    assert [each.endpoint for each in requests] == ["list", "list", "audio"]
    assert [each.attempt for each in requests] == [1, 2, 1]


def test_a_history_in_a_scenario() -> None:
    """A scenario file describes histories and faults of pages; dates may stand without quotes."""
    scenario = parse_scenario(
        "world:\n  histories:\n    - {per_day: 7, first_day: 2026-05-01, order: oldest}\n"
        "rules:\n  - {match: {endpoint: list, pages: 2..}, bad_page: shrunk}\n"
    )
    history = scenario.world.histories[0]
    assert (history.per_day, history.first_day, history.order) == (7, date(2026, 5, 1), "oldest")
    assert scenario.rules[0].action == BadPage(PageFault.SHRUNK)
    with pytest.raises(ValueError, match=r"2:27: expected a date such as 2026-05-21"):
        parse_scenario("world:\n  histories: [{first_day: soon}]")
