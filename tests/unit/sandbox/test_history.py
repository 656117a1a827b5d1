"""Histories: computed, reproducible, and seen as the clock allows."""

import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sandbox import Happening, History, Order, World, answers, listing
from exporter.sandbox.answers import Place
from exporter.sandbox.history import iso

DAY = 86_400.0
NOON = datetime(2026, 5, 21, 12, tzinfo=UTC).timestamp()
MIXED = History(
    per_day=200,
    text_share=0.2,
    other_env_share=0.2,
    unrecorded_share=0.1,
    listed_late_share=0.2,
    recorded_after=(60, 600),
    variants=("main", "trial"),
    seconds=(20.0, 600.0),
)


def day_of(history: History, now: float = NOON) -> list[Happening]:
    """What the list has of the last 24 hours."""
    positions = history.positions(now - DAY, now, now)
    return [found for _, found in history.walk("ws-1", "P", positions, now)]


def test_the_same_seed_gives_the_same_history() -> None:
    """Everything follows from seed, account and project, and each of them changes it."""
    ids = {each.id for each in day_of(MIXED)}
    assert ids == {each.id for each in day_of(replace(MIXED))}
    assert not ids & {each.id for each in day_of(replace(MIXED, seed=1))}
    positions = MIXED.positions(NOON - DAY, NOON, NOON)
    assert not ids & {each.id for _, each in MIXED.walk("ws-2", "P", positions, NOON)}


def test_there_is_some_of_everything() -> None:
    """Shares are kept: chats, other environments, late ones, unrecorded ones, both variants."""
    found = day_of(MIXED)
    assert 150 < len(found) <= 200
    assert {each.channel for each in found} == {"VOICE-SIP", "WEBCHAT", "CHAT"}
    assert len({each.environment for each in found}) == 3
    assert len({each.variant_id for each in found}) == 2
    assert any(each.is_voice and each.recorded_at is None for each in found)
    assert all(each.recorded_at is None for each in found if not each.is_voice)
    assert [each.started_at for each in found] == sorted(
        (each.started_at for each in found), reverse=True
    )


@given(position=st.integers(0, 200 * 40_000))
def test_an_id_tells_its_conversation(position: int) -> None:
    """Whatever has an id is found by it, and by no other account's or altered one."""
    found = MIXED.happening("ws-1", "P", position)
    assert found is not None
    assert MIXED.find("ws-1", "P", found.id) == found
    assert MIXED.find("ws-2", "P", found.id) is None
    assert MIXED.find("ws-1", "P", f"{found.id[:-1]}{'0' if found.id[-1] != '0' else '1'}") is None


@pytest.mark.parametrize("identifier", ["CA1", "CAabcd1234567abcdef1250065d4fc7389", ""])
def test_other_ids_are_of_no_history(identifier: str) -> None:
    """Ids that people make up are not taken for conversations of a history."""
    assert MIXED.find("ws-1", "P", identifier) is None


def test_a_conversation_and_its_recording_come_and_go() -> None:
    """In progress, listed, recorded, expired: each from its own moment on."""
    history = History(
        per_day=1, jitter=0, seconds=(60, 60), recorded_after=(30, 30), retention=10 * DAY
    )
    found = history.find("ws-1", "P", day_of(history)[0].id)
    assert found is not None
    start = found.started_at
    assert not found.is_listed(start - 1)
    assert found.is_listed(start)
    assert found.in_progress(start + 59)
    assert not found.in_progress(start + 60)
    assert not found.is_recorded(start + 89)
    assert found.is_recorded(start + 90)
    assert found.is_recorded(start + 10 * DAY - 1)
    assert not found.is_recorded(start + 10 * DAY)
    assert not found.is_listed(start + 10 * DAY)


def test_days_outside_are_empty() -> None:
    """There is nothing before the first day and after the last one."""
    history = replace(MIXED, first_day=date(2026, 5, 20), last_day=date(2026, 5, 20))
    found = day_of(history, NOON)
    assert found
    assert all(iso(each.started_at).startswith("2026-05-20") for each in found)
    assert not day_of(history, NOON + 2 * DAY)
    assert not day_of(replace(MIXED, per_day=0))


def test_exactly_even() -> None:
    """Without jitter conversations begin on the hour, midnight among them."""
    starts = {iso(each.started_at)[11:] for each in day_of(History(per_day=24, jitter=0))}
    assert starts == {f"{hour:02}:00:00Z" for hour in range(24)}


@pytest.mark.parametrize(
    "fields",
    [
        {"per_day": -1},
        {"jitter": 1.5},
        {"text_share": -0.1},
        {"unrecorded_share": 2},
        {"seconds": (0, 1)},
        {"recorded_after": (2, 1)},
        {"variants": ()},
        {"turns": -1},
    ],
)
def test_impossible_histories_are_refused(fields: dict[str, object]) -> None:
    """What cannot be is refused when it is described."""
    with pytest.raises(ValueError, match=r"."):
        History(**fields)  # type: ignore[arg-type]


@given(
    position=st.integers(0, 2**40), number=st.integers(1, 10**6), digest=st.text("0af", max_size=12)
)
def test_cursors_are_url_safe(position: int, number: int, digest: str) -> None:
    """A cursor needs no escaping in a URL, and leads back to its place."""
    place = Place(position, number, digest)
    cursor = listing.encode(place)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert listing.decode(cursor) == place


@given(st.text(max_size=40))
def test_anything_else_is_no_cursor(text: str) -> None:
    """No text makes the sandbox stumble; what is taken for a cursor is one."""
    place = listing.decode(text)
    assert place is None or listing.decode(listing.encode(place)) == place


@pytest.mark.parametrize("order", list(Order))
def test_a_cursor_is_stable_while_conversations_arrive(order: Order) -> None:
    """Paging while time goes on tells everything that was there at the start, each once."""
    world = World(histories=(replace(MIXED, order=order, listed_late_share=0),))
    told: list[str] = []
    cursor = ""
    now = NOON
    while True:
        query = f"start_time={iso(NOON - DAY)}&limit=7{cursor}"
        asked = answers.understand("/v3/ws-1/P/conversations", query, "sandbox-key", world)
        assert asked is not None
        page = json.loads(listing.page(asked, world, now=now, correlation_id="x").body)
        told += [each["id"] for each in page["conversations"]]
        if page["cursor"] is None:
            break
        cursor, now = f"&cursor={page['cursor']}", now + 60
    live = {each.id for each in day_of(world.histories[0]) if each.environment == "live"}
    assert live <= set(told)
    assert len(told) == len(set(told))


def test_a_long_history_costs_nothing() -> None:
    """Ten million conversations a day for a century are described in a few bytes."""
    history = History(per_day=10_000_000)
    assert sys.getsizeof(history) < 1000
    position = history.positions(NOON - 1, NOON, NOON)[-1]
    found = history.happening("a", "p", position)
    assert found is not None
    assert history.find("a", "p", found.id) == found
