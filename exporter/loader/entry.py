"""One entry of a manifest → a `Conversation`: every rule for its values, and none about formats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from exporter.model import Conversation, Direction, Redaction
from exporter.yamldoc import nearest, show

if TYPE_CHECKING:
    from exporter.errors import Location

ENTRY_KEYS = (
    "id",
    "started_at",
    "account_id",
    "project_id",
    "directions",
    "redaction",
    "in_progress",
)
DEFAULT_KEYS = ("account_id", "project_id", "directions", "redaction")
LIST_KEYS = frozenset({"directions", "redaction", "channel"})
IDENTIFIER_KEYS = frozenset({"id", "account_id", "project_id"})

# What other tools call the same thing, where the spelling alone would lead to the wrong key.
SYNONYMS = {
    "agent_id": "project_id",
    "call_id": "id",
    "conversation": "id",
    "conversation_id": "id",
    "conversationId": "id",
    "inProgress": "in_progress",
    "date": "started_at",
    "redacted": "redaction",
    "start_time": "started_at",
    "startedAt": "started_at",
    "timestamp": "started_at",
}

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}")
_IDENTIFIER_LENGTH = 200
_IDENTIFIER_RULE = (
    "an identifier: 1 to 200 of the letters A-Z and a-z, digits and . _ : @ = + -,"
    " beginning with a letter or a digit"
)
_NOT_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9._:@=+-]")

_HOUR = "(?:[01][0-9]|2[0-3])"
_MONTH_DAY = "(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = rf"{_HOUR}:[0-5][0-9](?::(?P<second>[0-5][0-9]|60)(?:[.,][0-9]{{1,9}})?)?"
_OFFSET = rf"(?P<offset>[Zz]|[+-]{_HOUR}(?::?[0-5][0-9])?)"
_TIME = re.compile(rf"[0-9]{{4}}-{_MONTH_DAY}(?P<clock>[Tt ]{_CLOCK} ?{_OFFSET}?)?")
_TIME_EXAMPLE = "a time such as 2026-05-21T22:14:03Z or 2026-05-21T22:14:03+02:00"
# The usual form needs no second look; the whole rule costs three times as much.
_USUAL_TIME = re.compile(
    rf"(?:19[7-9][0-9]|2[0-9]{{3}})-{_MONTH_DAY}T{_HOUR}:[0-5][0-9]:[0-5][0-9](?:Z|\+00:00)"
)
# Far from the ends of the calendar, where a change of time zone would overflow.
_FIRST_YEAR, _LAST_YEAR = 1970, 2999

Word = TypeVar("Word", Direction, Redaction)


class BadValueError(Exception):
    """A value breaks a rule; whoever knows where it stands turns this into a `ManifestError`.

    Attributes:
        key: whose value it is.
        message: what was found and what was expected.
        hint: what to do about it.
        index: which item of a list, or None.
    """

    def __init__(self, key: str, message: str, *, hint: str = "", index: int | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.hint = hint
        self.index = index


@dataclass(frozen=True, slots=True)
class Defaults:
    """What entries need not say themselves."""

    account_id: str | None = None
    project_id: str | None = None
    directions: tuple[Direction, ...] | None = None
    redaction: tuple[Redaction, ...] | None = None


NO_DEFAULTS = Defaults()


def build(
    conversation_id: str | None,
    *,
    started_at: str | None,
    account_id: str | None,
    project_id: str | None,
    directions: tuple[str, ...] | None,
    redaction: tuple[str, ...] | None,
    in_progress: str | None,
    defaults: Defaults,
    location: Location,
) -> Conversation:
    """Checks one entry and fills in the defaults.

    Args:
        conversation_id: as written, or None where not given; likewise the others.
        started_at: likewise.
        account_id: likewise.
        project_id: likewise.
        directions: the words as written; one word alone counts as a list of one.
        redaction: likewise.
        in_progress: the word as written.
        defaults: for what the entry does not say.
        location: where the entry stands.

    Raises:
        BadValueError: a value is missing or breaks a rule.
    """
    if account_id is None:
        account_id = defaults.account_id
    else:
        _check_repeated("account_id", account_id)
    if project_id is None:
        project_id = defaults.project_id
    else:
        _check_repeated("project_id", project_id)
    if conversation_id is None or account_id is None or project_id is None:
        raise _missing(conversation_id, account_id)
    check_identifier("id", conversation_id)
    return Conversation(
        account_id,
        project_id,
        conversation_id,
        moment(started_at) if started_at is not None else None,
        parse_directions(directions) if directions is not None else defaults.directions,
        parse_redaction(redaction) if redaction is not None else defaults.redaction,
        # By position, because a million keyword arguments take a second.
        in_progress is not None and truth("in_progress", in_progress),
        location,
    )


def check_identifier(key: str, text: str) -> None:
    """Refuses what cannot be a part of a path, a URL and a file name alike.

    Raises:
        BadValueError: the text is no identifier.
    """
    if _IDENTIFIER.fullmatch(text):
        return
    strange = _NOT_IN_IDENTIFIER.search(text)
    if not text:
        found = "an empty text"
    elif strange:
        found = f"{show(text)} with {_name_of(strange[0])}"
    elif len(text) > _IDENTIFIER_LENGTH:
        found = f"{len(text)} characters ({show(text)})"
    else:
        found = f"{show(text)}, which begins with {show(text[0])}"
    raise BadValueError(key, f"{key}: found {found}, expected {_IDENTIFIER_RULE}")


def truth(key: str, word: str) -> bool:
    """What `true` and `false` mean.

    Raises:
        BadValueError: it is another word.
    """
    found = {"true": True, "false": False}.get(word.lower())
    if found is None:
        raise BadValueError(key, f"{key}: found {show(word)}, expected true or false")
    return found


# A manifest names few accounts and projects, again and again.
_check_repeated = lru_cache(maxsize=1024)(check_identifier)


def nothing(key: str) -> BadValueError:
    """The error for an identifier that is written as an empty value."""
    default = "" if key == "id" else ", or remove the key to use the default"
    return BadValueError(
        key,
        f"{key} is missing: found nothing, expected an identifier",
        hint=f"Write the identifier after '{key}:'{default}.",
    )


def moment(text: str) -> datetime:
    """The instant that an ISO 8601 time with an offset names, in UTC.

    Raises:
        BadValueError: the text is no such time, or has no offset.
    """
    match = _USUAL_TIME.fullmatch(text)
    if match:
        return _in_calendar(text, text)
    match = _TIME.fullmatch(text)
    if not match:
        raise BadValueError(
            "started_at", f"started_at: found {show(text)}, expected {_TIME_EXAMPLE}"
        )
    if match["offset"] is None:
        raise _not_an_instant(text, has_clock=match["clock"] is not None)
    if match["second"] == "60":
        raise BadValueError(
            "started_at",
            f"started_at: found {show(text)} with a leap second, expected seconds from 00 to 59",
            hint="Write 59 instead of 60.",
        )
    time = _in_calendar(text, text.upper().replace(" ", "T", 1).replace(" ", ""))
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise BadValueError(
            "started_at",
            f"started_at: found the year {time.year:04}, expected {_FIRST_YEAR} to {_LAST_YEAR}",
        )
    return time.astimezone(UTC)


def _in_calendar(text: str, normal_form: str) -> datetime:
    try:
        return datetime.fromisoformat(normal_form)
    except ValueError as error:
        message = (
            f"started_at: found {show(text)}, which is not in the calendar;"
            f" expected {_TIME_EXAMPLE}"
        )
        raise BadValueError("started_at", message) from error


# A manifest repeats the same few lists; the caches also make it hold each result once.
@lru_cache(maxsize=64)
def parse_directions(words: tuple[str, ...]) -> tuple[Direction, ...]:
    """The directions that the words name: distinct, in the order asked for.

    Raises:
        BadValueError: there is no word, or an unknown one.
    """
    return _parse_words("directions", words, Direction)


@lru_cache(maxsize=64)
def parse_redaction(words: tuple[str, ...]) -> tuple[Redaction, ...]:
    """Likewise for the redaction.

    Raises:
        BadValueError: there is no word, or an unknown one.
    """
    return _parse_words("redaction", words, Redaction)


def _parse_words(key: str, words: tuple[str, ...], kind: type[Word]) -> tuple[Word, ...]:
    known = [member.value for member in kind]
    expected = f"a list of {', '.join(known)}"
    if not words:
        raise BadValueError(
            key,
            f"{key}: found an empty list, expected {expected}",
            hint=f"Remove '{key}' to use the default.",
        )
    for index, word in enumerate(words):
        if word not in known:
            match = nearest(word, known)
            meant = f" (did you mean {match!r}?)" if match else ""
            message = f"{key}: found {show(word)}{meant}, expected {expected}"
            raise BadValueError(key, message, index=index)
    return tuple(dict.fromkeys(kind(word) for word in words))


def _missing(conversation_id: str | None, account_id: str | None) -> BadValueError:
    if conversation_id is None:
        return BadValueError("id", "id is missing: expected the identifier of the conversation")
    key = "account_id" if account_id is None else "project_id"
    return BadValueError(
        key,
        f"{key} is missing: found it neither on the entry nor under 'defaults'",
        hint=f"Write '{key}' on every entry; in YAML it may stand once, under 'defaults'.",
    )


def _not_an_instant(text: str, *, has_clock: bool) -> BadValueError:
    if has_clock:
        return BadValueError(
            "started_at",
            f"started_at: found {show(text)} without an offset, expected {_TIME_EXAMPLE}",
            hint="Add 'Z' if the time is UTC, else the offset, such as '+02:00'.",
        )
    return BadValueError(
        "started_at",
        f"started_at: found the date {show(text)} without a time of day, expected {_TIME_EXAMPLE}",
        hint="Write when the call began, or remove 'started_at' if that is not known.",
    )


def _name_of(character: str) -> str:
    code = f"U+{ord(character):04X}"
    if character == " ":
        return "a space"
    if character.isascii() and character.isprintable():
        return f"the character {character!r}"
    if character.isprintable():
        return f"the character {character!r} ({code}), which is not ASCII"
    return f"the invisible character {code}"
