"""Identifiers to paths: different ones never meet, and no file system dislikes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.layout import PARTITION_MANIFEST, RESERVED, Layout, LayoutStyle, path_part
from exporter.model import Direction, Recording, Redaction

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}"
# The longest addition that a temporary or set-aside name brings: `.`, a run's id, `.part`.
TEMPORARY = ".{}.20261122T060300Z-4f2a.damaged.part"
MAX_NAME = 255
DEVICES = ("con", "PRN", "aux", "NUL", "com1", "LPT9", "nul.txt", "Con.x.y")

identifiers: SearchStrategy[str] = st.one_of(
    st.from_regex(IDENTIFIER, fullmatch=True),
    st.from_regex(r"[ab:.=]{1,4}|[a:]{195,200}", fullmatch=True).filter(
        lambda text: text[0] in "ab"
    ),
    st.sampled_from([*DEVICES, "manifest.json", "Manifest.JSON", "a.", "a..", "a%", "a~"]).filter(
        lambda text: re.fullmatch(IDENTIFIER, text) is not None
    ),
)
variants = st.tuples(st.sampled_from(Direction), st.sampled_from(Redaction))


def recording(
    conversation_id: str = "CA1",
    *,
    started_at: datetime | None = None,
    account_id: str = "acme",
    project_id: str = "shop",
) -> Recording:
    return Recording(
        account_id, project_id, conversation_id, Direction.COMBINED, Redaction.REDACTED, started_at
    )


@given(identifiers, identifiers)
@example("a:b", "a=b")
@example("nul", "NUL")
@example("a" * 200, "a" * 199 + "b")
@example(":".join("a" * 100), ":".join("a" * 99) + ":b")
@example("a.", "a")
@example("manifest.json", "6Danifest.json")
def test_different_identifiers_have_different_names(first: str, second: str) -> None:
    """Two names are alike, even where case does not count, only if the identifiers are."""
    if path_part(first).lower() == path_part(second).lower():
        assert first.lower() == second.lower()
    assert (path_part(first) == path_part(second)) == (first == second)


@given(identifiers)
@example("a" * 200)
@example("a" + ":" * 199)
@example("a" + "." * 199)
def test_a_name_is_safe_everywhere(identifier: str) -> None:
    """A name is one part of a path, short enough, and nothing special to any system."""
    name = path_part(identifier)
    assert re.fullmatch(r"[A-Za-z0-9%][A-Za-z0-9._%~-]*", name)
    assert len(TEMPORARY.format(name).encode()) <= MAX_NAME
    assert len(f"project_id={name}".encode()) <= MAX_NAME
    assert not name.endswith(".")
    assert name.lower() != PARTITION_MANIFEST
    assert not name.startswith(RESERVED)
    assert name.lower().split(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


@settings(max_examples=40)
@given(st.tuples(identifiers, identifiers, identifiers, variants), st.sampled_from(LayoutStyle))
def test_a_path_has_five_parts_and_stays_inside(
    named: tuple[str, str, str, tuple[Direction, Redaction]], style: LayoutStyle
) -> None:
    """Whatever the identifiers, a path is relative, goes down only, and is five parts deep."""
    account_id, project_id, conversation_id, (direction, redaction) = named
    one = Recording(account_id, project_id, conversation_id, direction, redaction)
    path = PurePosixPath(Layout(style).path(one))
    assert not path.is_absolute()
    assert len(path.parts) == 5
    assert not {"", ".", ".."} & set(path.parts)
    assert path.name == f"{direction}.{redaction}.wav"


@settings(max_examples=40)
@given(
    st.tuples(identifiers, identifiers, identifiers, variants),
    st.tuples(identifiers, identifiers, identifiers, variants),
    st.sampled_from(LayoutStyle),
)
def test_different_recordings_have_different_paths(
    first: tuple[str, str, str, tuple[Direction, Redaction]],
    second: tuple[str, str, str, tuple[Direction, Redaction]],
    style: LayoutStyle,
) -> None:
    """No two recordings of one date share a path, not even across accounts and projects."""
    layout = Layout(style)
    paths = [layout.path(Recording(a, p, c, *variant)) for a, p, c, variant in (first, second)]
    assert (paths[0] == paths[1]) == (first == second)


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("CAabcd1234567abcdef1250065d4fc7389", "CAabcd1234567abcdef1250065d4fc7389"),
        ("a:b@c=d+e", "a%3Ab%40c%3Dd%2Be"),
        ("a..b", "a..b"),
        ("a.", "a%2E"),
        ("a..", "a.%2E"),
        ("nul", "%6Eul"),
        ("COM1.wav", "%43OM1.wav"),
        ("com10", "com10"),
        ("null", "null"),
        ("manifest.json", "%6Danifest.json"),
        ("MANIFEST.json", "%4DANIFEST.json"),
        ("manifest.json.", "manifest.json%2E"),
    ],
)
def test_names_people_know_stay_as_they_are(identifier: str, name: str) -> None:
    """Only what some system would misread is encoded; a documented identifier is its own name."""
    assert path_part(identifier) == name


def test_a_long_name_is_cut_and_stays_recognizable() -> None:
    """A name that encoding makes too long keeps its beginning and ends in a digest of the whole."""
    name = path_part("a:" * 100)
    assert name.startswith("a%3Aa%3A")
    assert re.fullmatch(r".*~[0-9a-f]{32}", name)
    assert len(name) == 200


@pytest.mark.parametrize(
    ("style", "path"),
    [
        (LayoutStyle.PLAIN, "acme/shop/2026-05-21/CA1/combined.redacted.wav"),
        (
            LayoutStyle.HIVE,
            "account_id=acme/project_id=shop/date=2026-05-21/CA1/combined.redacted.wav",
        ),
    ],
)
def test_styles(style: LayoutStyle, path: str) -> None:
    """Folders are named plainly, or as Hive, Spark and DuckDB read them."""
    one = recording(started_at=datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC))
    assert Layout(style).path(one) == path
    assert path.startswith(Layout(style).partition(one) + "/")


@pytest.mark.parametrize("style", LayoutStyle)
def test_without_a_start_the_date_is_undated(style: LayoutStyle) -> None:
    """A conversation of unknown start lies in a partition of its own name."""
    assert Layout(style).date(None) == "undated"
    assert Layout(style).partition(recording()).endswith("undated")


@pytest.mark.parametrize(
    ("zone", "started_at", "date"),
    [
        ("UTC", "2026-05-21T23:59:59.999999+00:00", "2026-05-21"),
        ("UTC", "2026-05-22T00:00:00+00:00", "2026-05-22"),
        ("UTC", "2026-05-22T01:30:00+02:00", "2026-05-21"),
        ("Europe/London", "2026-03-28T23:30:00+00:00", "2026-03-28"),  # winter: no offset
        ("Europe/London", "2026-03-29T23:30:00+00:00", "2026-03-30"),  # summer: one hour
        ("Europe/London", "2026-10-24T23:30:00+00:00", "2026-10-25"),
        ("Europe/London", "2026-10-25T23:30:00+00:00", "2026-10-25"),
        ("America/Sao_Paulo", "2026-01-01T02:59:59+00:00", "2025-12-31"),
        ("Pacific/Kiritimati", "2026-12-31T10:00:00+00:00", "2027-01-01"),
        ("Pacific/Apia", "2011-12-30T09:59:59+00:00", "2011-12-29"),  # a day that never was there
        ("Pacific/Apia", "2011-12-30T10:00:00+00:00", "2011-12-31"),
        ("Asia/Kolkata", "2026-05-21T18:30:00+00:00", "2026-05-22"),
    ],
)
def test_the_date_is_that_of_the_time_zone(zone: str, started_at: str, date: str) -> None:
    """The same instant falls on the date that clocks in the configured zone show."""
    assert Layout(timezone=ZoneInfo(zone)).date(datetime.fromisoformat(started_at)) == date


@given(
    st.datetimes(min_value=datetime(1970, 1, 3), max_value=datetime(2999, 12, 29)),  # noqa: DTZ001
    st.integers(-23, 23),
)
def test_the_offset_as_written_does_not_matter(moment: datetime, hours: int) -> None:
    """One instant has one date, however its offset was written."""
    aware = moment.replace(tzinfo=UTC)
    elsewhere = aware.astimezone(timezone(timedelta(hours=hours)))
    layout = Layout(timezone=ZoneInfo("Europe/London"))
    assert layout.date(aware) == layout.date(elsewhere)
