"""Windows of time to look for conversations in: half-open, in a named time zone. Pure.

A day is what the calendar of the time zone says: on the two days of a daylight-saving change it
has 23 or 25 hours (in some zones half an hour more or less), and the next one begins where it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from exporter.errors import Location
    from exporter.model import Direction, Redaction

Day = TypeVar("Day", bound=date)

ANY_CHANNEL = "any"
_VOICE = "VOICE"
_DAYS_AGO = re.compile(r"-([0-9]{1,5})d")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
EXPECTED = (
    "a date such as 2026-05-21, a time such as 2026-05-21T08:00:00 or 2026-05-21T08:00:00Z,"
    " today, yesterday, or days ago such as -3d"
)


class ClientEnv(StrEnum):
    """Which environment of a project the conversations were held in."""

    LIVE = "live"
    PRE_RELEASE = "pre-release"
    SANDBOX = "sandbox"


class QueryType(StrEnum):
    """How `query` is looked for."""

    TRANSCRIPT = "transcript"
    SEMANTIC = "semantic"


class Sample(StrEnum):
    """How a sample is drawn."""

    RANDOM = "random"


class MomentError(ValueError):
    """A text names no moment; the message says what was found and expected.

    Attributes:
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Filters:
    """Which conversations of a window are meant.

    Attributes:
        client_env: only those of this environment.
        channels: only those of these channels; empty: all voice channels; `any`: all.
        include_in_progress: calls that have not ended, too.
        variant_id: only those of this variant of the agent.
        query_type: how to look for `query`.
        query: only those that are about this.
        sample: some of them.
    """

    client_env: ClientEnv = ClientEnv.LIVE
    channels: tuple[str, ...] = ()
    include_in_progress: bool = False
    variant_id: str | None = None
    query_type: QueryType | None = None
    query: str | None = None
    sample: Sample | None = None

    @property
    def is_retrieval(self) -> bool:
        """The listing is a choice that may differ from one time to the next."""
        return self.query is not None or self.sample is not None

    def accept_channel(self, channel: str | None) -> bool:
        """Whether conversations of this channel are meant; voice is what begins with `VOICE`."""
        if ANY_CHANNEL in self.channels:
            return True
        if not self.channels:
            return channel is not None and channel.upper().startswith(_VOICE)
        return channel is not None and channel.upper() in {each.upper() for each in self.channels}


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, as a manifest or the command line says it.

    Attributes:
        account_id: as the API writes it.
        project_id: likewise.
        start: the first moment, in the words of `moment`.
        end: the first moment that does not belong to it any more, likewise.
        timezone: of dates and times without an offset; None: the config's.
        filters: which conversations.
        directions: of the recordings; None: the config's choice.
        redaction: likewise.
        location: where it stands, for messages.
    """

    account_id: str
    project_id: str
    start: str
    end: str
    timezone: str | None = None
    filters: Filters = field(default_factory=Filters)
    directions: tuple[Direction, ...] | None = None
    redaction: tuple[Redaction, ...] | None = None
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A query whose moments are known.

    Attributes:
        account_id: as the API writes it.
        project_id: likewise.
        start: the first moment, in UTC.
        end: the first moment after it, in UTC.
        timezone: in which it was asked for.
        filters: which conversations.
        directions: of the recordings; None: the config's choice.
        redaction: likewise.
    """

    account_id: str
    project_id: str
    start: datetime
    end: datetime
    timezone: str
    filters: Filters = field(default_factory=Filters)
    directions: tuple[Direction, ...] | None = None
    redaction: tuple[Redaction, ...] | None = None

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        """For people: `account/project from … to …`."""
        zone = ZoneInfo(self.timezone)
        start, end = (
            each.astimezone(zone).isoformat(timespec="minutes") for each in (self.start, self.end)
        )
        return f"{self.account_id}/{self.project_id} from {start} to {end}"


def window_of(query: Query, *, timezone: str, now: datetime) -> Window:
    """The window that a query means now.

    Args:
        query: what to look for.
        timezone: where the query names none.
        now: aware.

    Raises:
        MomentError: it ends before it begins.
    """
    name = query.timezone or timezone
    zone = ZoneInfo(name)
    start, end = (moment(text, zone, now) for text in (query.start, query.end))
    if start >= end:
        raise MomentError(
            f"found a window from {query.start} to {query.end}, expected its end after its start",
            "The end does not belong to the window: from 2026-05-21 to 2026-05-22 is one day.",
        )
    return Window(
        query.account_id,
        query.project_id,
        start,
        end,
        name,
        query.filters,
        query.directions,
        query.redaction,
    )


def moment(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """The moment that a text names, in UTC.

    Args:
        text: a date (its first moment), a time with or without an offset, `today`, `yesterday`, or
            days ago such as `-3d`.
        zone: of everything without an offset.
        now: aware.

    Raises:
        MomentError: it names none, or two.
    """
    today = now.astimezone(zone).date()
    word = text.strip()
    try:
        if word == "today":
            return _midnight(today, zone)
        if word == "yesterday":
            return _midnight(today - timedelta(days=1), zone)
        if match := _DAYS_AGO.fullmatch(word):
            return _midnight(today - timedelta(days=int(match[1])), zone)
        if _DATE.fullmatch(word):
            return _midnight(_in_range(date.fromisoformat(word)), zone)
        local = _in_range(datetime.fromisoformat(word if _DATE.match(word) else ""))
    except (ValueError, OverflowError):
        raise MomentError(f"found {word[:80]!r}, expected {EXPECTED}") from None
    return _time(local, zone)


def _in_range(day: Day) -> Day:
    if not _FIRST_YEAR < day.year < _LAST_YEAR:
        raise ValueError(day)
    return day


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # Of a midnight that comes twice this is the first; of one that is skipped, where it would be:
    # the moment of the change. So days meet without a gap wherever the change is.
    return datetime.combine(_in_range(day), time(), zone).astimezone(UTC)


def _time(local: datetime, zone: ZoneInfo) -> datetime:
    if local.tzinfo is not None:
        return local.astimezone(UTC)
    first, second = (
        local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (False, True)
    )
    if first == second:
        return first
    is_skipped = first.astimezone(zone).replace(tzinfo=None) != local
    what = "does not exist" if is_skipped else "comes twice"
    raise MomentError(
        f"found {local.isoformat()}, which {what} in {zone.key}: the clocks are changed there",
        "Write the offset, such as 2026-10-25T01:30:00+01:00.",
    )
