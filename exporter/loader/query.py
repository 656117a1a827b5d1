"""One query of a manifest or of the command line → a `Query`: every rule for its values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from exporter.loader.entry import (
    BadValueError,
    check_identifier,
    parse_directions,
    parse_redaction,
    truth,
)
from exporter.window import (
    ClientEnv,
    Filters,
    MomentError,
    Query,
    QueryType,
    Sample,
    moment,
)
from exporter.yamldoc import nearest, show

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from exporter.errors import Location
    from exporter.loader.entry import Defaults

QUERY_KEYS = (
    "account_id",
    "project_id",
    "from",
    "to",
    "timezone",
    "client_env",
    "channel",
    "include_in_progress",
    "variant_id",
    "query_type",
    "query",
    "sample",
    "directions",
    "redaction",
)
QUERY_SYNONYMS = {
    "agent_id": "project_id",
    "channels": "channel",
    "end": "to",
    "end_time": "to",
    "environment": "client_env",
    "in_progress": "include_in_progress",
    "since": "from",
    "start": "from",
    "start_time": "from",
    "tz": "timezone",
    "until": "to",
}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}")
_LONGEST_QUERY = 2000

Word = TypeVar("Word", bound="StrEnum")


def build_query(
    texts: Mapping[str, str],
    words: Mapping[str, tuple[str, ...]],
    *,
    defaults: Defaults,
    location: Location | None,
) -> Query:
    """Checks one query and fills in the defaults.

    Args:
        texts: the single values as written, by key.
        words: the lists as written, by key; one word alone counts as a list of one.
        defaults: for what the query does not say.
        location: where it stands.

    Raises:
        BadValueError: a value is missing or breaks a rule.
    """
    account_id = texts.get("account_id", defaults.account_id)
    project_id = texts.get("project_id", defaults.project_id)
    for key, value in (("account_id", account_id), ("project_id", project_id)):
        if value is None:
            raise BadValueError(
                key,
                f"{key} is missing: found it neither on the query nor under 'defaults'",
                hint=f"Write '{key}' on every query, or once under 'defaults'.",
            )
        check_identifier(key, value)
    _check_zone(texts.get("timezone"))
    for key in ("from", "to"):
        _check_moment(key, texts.get(key))
    directions = words.get("directions")
    redaction = words.get("redaction")
    return Query(
        account_id or "",
        project_id or "",
        texts["from"],
        texts["to"],
        texts.get("timezone"),
        _filters(texts, words),
        parse_directions(directions) if directions is not None else defaults.directions,
        parse_redaction(redaction) if redaction is not None else defaults.redaction,
        location,
    )


def _filters(texts: Mapping[str, str], words: Mapping[str, tuple[str, ...]]) -> Filters:
    query, query_type = texts.get("query"), _word(texts, "query_type", QueryType)
    if (query is None) != (query_type is None):
        missing = "query" if query is None else "query_type"
        raise BadValueError(
            "query_type" if query is None else "query",
            f"{missing} is missing: query and query_type belong together",
        )
    if query is not None and not (0 < len(query) <= _LONGEST_QUERY and query.isprintable()):
        raise BadValueError(
            "query", f"query: expected one line of 1 to {_LONGEST_QUERY} characters"
        )
    for index, channel in enumerate(words.get("channel", ())):
        _check_plain("channel", channel, "a channel such as VOICE-SIP, or any", index)
    if "channel" in words and not words["channel"]:
        raise BadValueError(
            "channel",
            "channel: found an empty list, expected channels",
            hint="Remove 'channel' to have all voice channels.",
        )
    variant_id = texts.get("variant_id")
    if variant_id is not None:
        _check_plain("variant_id", variant_id, "the id of a variant")
    return Filters(
        _word(texts, "client_env", ClientEnv) or ClientEnv.LIVE,
        words.get("channel", ()),
        truth("include_in_progress", texts.get("include_in_progress", "false")),
        variant_id,
        query_type,
        query,
        _word(texts, "sample", Sample),
    )


def _check_plain(key: str, text: str, expected: str, index: int | None = None) -> None:
    if not _PLAIN.fullmatch(text):
        raise BadValueError(key, f"{key}: found {show(text)}, expected {expected}", index=index)


def _word(texts: Mapping[str, str], key: str, kind: type[Word]) -> Word | None:
    text = texts.get(key)
    if text is None:
        return None
    known = [member.value for member in kind]
    if text not in known:
        match = nearest(text, known)
        meant = f" (did you mean {match!r}?)" if match else ""
        raise BadValueError(key, f"{key}: found {show(text)}{meant}, expected {_or(known)}")
    return kind(text)


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


@lru_cache(maxsize=64)
def _check_zone(name: str | None) -> None:
    try:
        ZoneInfo(name or "UTC")
    except (LookupError, ValueError, OSError):
        raise BadValueError(
            "timezone",
            f"timezone: found {show(name or '')}, expected the name of a time zone such as"
            " Europe/London",
        ) from None


def _check_moment(key: str, text: str | None) -> None:
    """Whether it names a moment at all: which one depends on the day of the run."""
    if text is None:
        raise BadValueError(
            key,
            f"{key} is missing: expected both 'from' and 'to'",
            hint="'from' belongs to the window, 'to' does not: {from: yesterday, to: today}.",
        )
    try:
        moment(text, ZoneInfo("UTC"), datetime.now(UTC))
    except MomentError as error:
        raise BadValueError(key, f"{key}: {error}", hint=error.hint) from None
