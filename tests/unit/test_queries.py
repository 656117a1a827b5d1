"""Queries of a manifest: what they may say, where they are wrong, and which windows they mean."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ConfigError, ManifestError
from exporter.loader import open_manifest
from exporter.model import Direction, Redaction
from exporter.queries import projects_of, windows_of
from exporter.settings import Settings, load_settings
from exporter.window import (
    ClientEnv,
    Filters,
    MomentError,
    Query,
    QueryType,
    Sample,
    moment,
    window_of,
)

HEAD = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\ndiscover:\n"
LONDON, NEW_YORK, LORD_HOWE = map(
    ZoneInfo, ("Europe/London", "America/New_York", "Australia/Lord_Howe")
)
NOW = datetime(2026, 5, 21, 12, tzinfo=UTC)


def queries(text: str) -> list[Query]:
    with open_manifest("-", stdin=io.BytesIO(text.encode())) as manifest:
        list(manifest.conversations())
        return manifest.queries


def query(fields: str = "") -> Query:
    (one,) = queries(f"{HEAD}  - {{from: -3d, to: today{', ' if fields else ''}{fields}}}\n")
    return one


def test_a_query_with_everything() -> None:
    """Every key arrives where it belongs; defaults fill in the rest."""
    one = query(
        "project_id: P-2, timezone: Europe/London, client_env: pre-release,"
        " channel: [VOICE-SIP, WEBCHAT], include_in_progress: true, variant_id: V1,"
        " query_type: semantic, query: 'about refunds', sample: random,"
        " directions: [user], redaction: raw"
    )
    assert (one.account_id, one.project_id) == ("ws-1", "P-2")
    assert (one.start, one.end, one.timezone) == ("-3d", "today", "Europe/London")
    assert (one.directions, one.redaction) == ((Direction.USER,), (Redaction.RAW,))
    assert one.filters == Filters(
        ClientEnv.PRE_RELEASE,
        ("VOICE-SIP", "WEBCHAT"),
        include_in_progress=True,
        variant_id="V1",
        query_type=QueryType.SEMANTIC,
        query="about refunds",
        sample=Sample.RANDOM,
    )
    assert str(one.location) == "<stdin>:4:5"


def test_a_query_with_nothing() -> None:
    """Finished voice conversations of the live environment are the default."""
    one = query()
    assert one.filters == Filters()
    assert one.filters.accept_channel("VOICE-SIP")
    assert one.filters.accept_channel("voice")
    assert not one.filters.accept_channel("WEBCHAT")
    assert not one.filters.accept_channel(None)
    assert (one.timezone, one.directions, one.redaction) == (None,) * 3


def test_channels() -> None:
    """Named channels are meant exactly; `any` means those without a name, too."""
    named = query("channel: WEBCHAT").filters
    assert named.accept_channel("WEBCHAT")
    assert named.accept_channel("webchat")
    assert not named.accept_channel("VOICE-SIP")
    assert query("channel: any").filters.accept_channel(None)


def test_queries_stand_beside_conversations() -> None:
    """Before them, behind them, or instead of them."""
    one = "[{from: yesterday, to: today, account_id: a, project_id: p}]"
    for text in (
        f"version: 1\ndiscover: {one}\n",
        f"version: 1\ndiscover: {one}\nconversations: []\n",
        f"version: 1\nconversations: []\ndiscover: {one}\n",
    ):
        assert len(queries(text)) == 1


WRONG = {
    "from is missing": ("{to: today}", ":4:5", "from is missing"),
    "to is missing": ("{from: today}", ":4:5", "to is missing"),
    "no moment": ("{from: soon, to: today}", ":4:12", "from: found 'soon', expected a date"),
    "no date": ("{from: 2026-02-30, to: today}", ":4:12", "found '2026-02-30'"),
    "far away": ("{from: 0001-01-01, to: today}", ":4:12", "found '0001-01-01'"),
    "days ahead": ("{from: +3d, to: today}", ":4:12", "found '+3d'"),
    "zone": ("{from: -1d, to: today, timezone: Mars/Olympus}", ":4:38", "name of a time zone"),
    "environment": ("{from: -1d, to: today, client_env: liv}", ":4:40", "did you mean 'live'?"),
    "unknown key": ("{from: -1d, till: today}", ":4:17", "unknown key 'till'"),
    "other words": ("{start_time: -1d, to: today}", ":4:6", "did you mean 'from'?"),
    "truth": ("{from: -1d, to: today, include_in_progress: 1}", ":4:49", "expected true or false"),
    "no channel": ("{from: -1d, to: today, channel: []}", ":4:37", "found an empty list"),
    "channel": ("{from: -1d, to: today, channel: [A, b c]}", ":4:41", "channel: found 'b c'"),
    "half a query": ("{from: -1d, to: today, query: x}", ":4:35", "query_type is missing"),
    "other half": ("{from: -1d, to: today, query_type: semantic}", ":4:40", "query is missing"),
    "sample": ("{from: -1d, to: today, sample: all}", ":4:36", "expected random"),
    "account": ("{from: -1d, to: today, account_id: ../x}", ":4:40", "account_id: found '../x'"),
    "no account": ("{from: -1d, to: today, account_id: }", ":4:40", "account_id is missing"),
    "redaction": ("{from: -1d, to: today, redaction: [none]}", ":4:40", "redaction: found 'none'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_queries(name: str) -> None:
    """Each mistake is told with its place and in its own words."""
    entry, place, words = WRONG[name]
    with pytest.raises(ManifestError) as caught:
        queries(f"{HEAD}  - {entry}\n")
    assert str(caught.value).startswith(f"<stdin>{place}"), caught.value
    assert words in str(caught.value)


@given(st.text(alphabet="0123456789-+:TZdtoday ", max_size=25))
def test_no_text_is_a_surprise(text: str) -> None:
    """Whatever stands for a moment is one, or is refused in words."""
    with contextlib.suppress(MomentError):
        assert moment(text, LONDON, NOW).tzinfo is UTC


# Windows.


def window(start: str, end: str, zone: str = "UTC", now: datetime = NOW) -> tuple[Any, Any]:
    found = window_of(Query("a", "p", start, end, zone), timezone="UTC", now=now)
    return found.start, found.end


def test_words_for_days() -> None:
    """`today`, `yesterday` and days ago are days of the named time zone, not of UTC."""
    late = datetime(2026, 5, 21, 23, 30, tzinfo=UTC)  # the 22nd in London
    assert window("yesterday", "today", "Europe/London", late) == (
        datetime(2026, 5, 20, 23, tzinfo=UTC),
        datetime(2026, 5, 21, 23, tzinfo=UTC),
    )
    assert window("-1d", "today", "Europe/London", late) == window(
        "yesterday", "today", "Europe/London", late
    )
    assert window("-3d", "today")[0] == datetime(2026, 5, 18, tzinfo=UTC)


def test_times() -> None:
    """A time without an offset is of the zone; one with an offset is what it says."""
    assert window("2026-05-21T08:00:00", "2026-05-21T09:00:00+00:00", "Europe/London") == (
        datetime(2026, 5, 21, 7, tzinfo=UTC),
        datetime(2026, 5, 21, 9, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (LONDON, "2026-03-29", 23),
        (LONDON, "2026-10-25", 25),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
        (LORD_HOWE, "2026-10-04", 23.5),
        (LORD_HOWE, "2026-04-05", 24.5),
    ],
)
def test_days_of_a_daylight_saving_change(zone: ZoneInfo, day: str, hours: float) -> None:
    """The day is as long as it is, and meets its neighbours; `yesterday` means the same day."""
    before, start, end, after = (
        str(datetime.fromisoformat(day).date() + timedelta(days=days)) for days in (-1, 0, 1, 2)
    )
    found = window(start, end, zone.key)
    assert found[1] - found[0] == timedelta(hours=hours)
    assert window(before, start, zone.key)[1] == found[0]
    assert window(end, after, zone.key)[0] == found[1]
    for hour in (1, 12, 23):
        now = datetime.fromisoformat(f"{end}T{hour:02}:30:00").replace(tzinfo=zone)
        assert window("yesterday", "today", zone.key, now) == found


@given(
    zone=st.sampled_from([LONDON, NEW_YORK, LORD_HOWE, ZoneInfo("America/Sao_Paulo")]),
    now=st.integers(315_532_800, 2_114_380_800),
    days=st.integers(1, 400),
)
def test_nights_leave_no_gap(zone: ZoneInfo, now: int, days: int) -> None:
    """Each night's window begins where the last one ended, and holds just that day's moments."""
    tonight = datetime.fromtimestamp(now, UTC)
    start, end = window("yesterday", "today", zone.key, tonight)
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    first, last = start.astimezone(zone), (end - timedelta(microseconds=1)).astimezone(zone)
    assert first.date() == last.date()
    assert end <= tonight
    earlier, _ = window(f"-{days}d", "today", zone.key, tonight)
    assert earlier <= start
    assert window("yesterday", "today", zone.key, start)[1] == start


@pytest.mark.parametrize(
    ("zone", "time", "words"),
    [
        ("Europe/London", "2026-03-29T01:30:00", "does not exist"),
        ("Europe/London", "2026-10-25T01:30:00", "comes twice"),
        ("America/New_York", "2026-03-08T02:30:00", "does not exist"),
        ("America/New_York", "2026-11-01T01:30:00", "comes twice"),
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "does not exist"),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "comes twice"),
    ],
)
def test_times_that_nobody_can_tell(zone: str, time: str, words: str) -> None:
    """A time that is skipped or comes twice is refused, and taken with its offset."""
    with pytest.raises(MomentError, match=words) as caught:
        moment(time, ZoneInfo(zone), NOW)
    assert "offset" in caught.value.hint
    assert moment(f"{time}+00:00", ZoneInfo(zone), NOW).tzinfo is UTC


def test_a_midnight_that_is_skipped() -> None:
    """Where the clocks change at midnight, the day begins with its first moment."""
    start, end = window("2018-11-04", "2018-11-05", "America/Sao_Paulo")
    assert end - start == timedelta(hours=23)
    assert (
        start.astimezone(ZoneInfo("America/Sao_Paulo")).isoformat().startswith("2018-11-04T01:00")
    )


def test_windows_that_end_before_they_begin() -> None:
    """An empty window is a mistake, told with the query's place."""
    text = f"{HEAD}  - {{from: today, to: today}}\n"
    with pytest.raises(ManifestError, match=r"<stdin>:4:5: .*expected its end after its start"):
        windows_of(queries(text), Settings())


def test_the_configs_time_zone_is_the_default() -> None:
    """A query without a time zone has that of the archive's dates."""
    settings = Settings.model_validate({"output": {"timezone": "Asia/Tokyo"}})
    (found,) = windows_of([query()], settings, now=NOW)
    assert found.timezone == "Asia/Tokyo"
    assert found.start == datetime(2026, 5, 17, 15, tzinfo=UTC)
    assert str(found) == "ws-1/P-1 from 2026-05-18T00:00+09:00 to 2026-05-21T00:00+09:00"
    assert projects_of([found, found]) == [("ws-1", "P-1")]


def test_never_raw_refuses_queries() -> None:
    """Nobody asks for raw recordings by way of a query either."""
    settings = Settings.model_validate({"export": {"never_raw": True}})
    assert windows_of([query()], settings)
    with pytest.raises(ManifestError, match=r":4:5: never_raw is set"):
        windows_of([query("redaction: [redacted, raw]")], settings)


def test_regions_without_a_list() -> None:
    """`studio` has no list of conversations; a gateway may have one."""
    flags = {"surface": "agents-v1", "region": "studio"}
    with pytest.raises(ConfigError, match="no list of conversations in the region studio"):
        windows_of([query()], Settings.model_validate({"api": flags}))
    gateway = Settings.model_validate({"api": flags | {"base_url": "https://gw.example.com"}})
    assert windows_of([query()], gateway)


@pytest.mark.parametrize(
    ("api", "listed", "described"),
    [
        ({}, "https://api.us-1.platform.polyai.app", "https://api.us.poly.ai"),
        (
            {"surface": "agents-v1", "region": "eu"},
            "https://api.euw-1.platform.polyai.app",
            "https://api.eu.poly.ai",
        ),
        ({"surface": "agents-v1", "region": "studio"}, None, "https://api.studio.poly.ai"),
        ({"base_url": "https://gw"}, "https://gw", "https://gw"),
    ],
)
def test_where_the_list_is(api: dict[str, str], listed: str | None, described: str) -> None:
    """The list is platform-v3's and descriptions are agents-v1's, in the same region."""
    found = load_settings(environ={f"EXPORTER_API__{key.upper()}": api[key] for key in api}).api
    assert (found.list_origin, found.detail_origin) == (listed, described)
