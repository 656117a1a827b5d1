"""JSON lines → conversations: one object a line.

A typed decoder reads a right line and refuses a wrong one, both at full speed. Why it is wrong is
found out by a second, slow reading of that one line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from exporter.errors import Location
from exporter.loader.entry import (
    ENTRY_KEYS,
    IDENTIFIER_KEYS,
    LIST_KEYS,
    NO_DEFAULTS,
    SYNONYMS,
    BadValueError,
    build,
    nothing,
)
from exporter.mistakes import Mistakes
from exporter.yamldoc import show, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.errors import UsageError
    from exporter.model import Conversation
    from exporter.yamldoc import TextSource

_EXAMPLE = (
    'A line looks like {"id": "CA01", "account_id": "ws-1", "project_id": "PROJECT-1",'
    ' "started_at": "2026-05-21T22:14:03Z"}.'
)
_UNSET = msgspec.UNSET


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One line, as it has to be."""

    id: str
    account_id: str
    project_id: str
    started_at: str | msgspec.UnsetType | None = _UNSET
    directions: str | list[str] | msgspec.UnsetType | None = _UNSET
    redaction: str | list[str] | msgspec.UnsetType | None = _UNSET
    in_progress: bool | msgspec.UnsetType | None = _UNSET


class _Object(list[tuple[str, object]]):
    """A JSON object as it is written: with its keys' order and repetitions."""


def read_jsonl(text: TextSource) -> Iterator[Conversation]:
    """The conversations of a JSON lines manifest.

    Raises:
        ManifestError: at the end, or when there are many mistakes.
    """
    mistakes = Mistakes()
    with mistakes.told():
        yield from _read(text, mistakes)
        mistakes.check()


def _read(text: TextSource, mistakes: Mistakes) -> Iterator[Conversation]:
    decode = msgspec.json.Decoder(_Line).decode
    empty = True
    for number, raw in enumerate(text.lines(), start=1):
        try:
            line = decode(raw)
            conversation = _conversation(line, Location(text.name, number, 1))
        except (msgspec.DecodeError, BadValueError, RecursionError) as error:
            if not raw or raw.isspace():
                continue
            mistakes.add(_explained(text, raw.decode(), number, error))
            empty = False
            continue
        empty = False
        # The decoder takes the last of two equal keys without a word; the quotation marks tell.
        if raw.count(b'"') != _quotation_marks(line):
            mistakes.add(_explained(text, raw.decode(), number, None))
            continue
        yield conversation
    if empty:
        raise text.error(
            "found an empty file, expected one conversation a line",
            location=text.location(),
            hint=_EXAMPLE,
        )


def _conversation(line: _Line, location: Location) -> Conversation:
    started_at, directions, redaction = line.started_at, line.directions, line.redaction
    return build(
        line.id,
        started_at=None if started_at is _UNSET else started_at,
        account_id=line.account_id,
        project_id=line.project_id,
        directions=None if directions is _UNSET else _words(directions),
        redaction=None if redaction is _UNSET else _words(redaction),
        in_progress="true" if line.in_progress is True else None,
        defaults=NO_DEFAULTS,
        location=location,
    )


def _words(value: str | list[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


def _quotation_marks(line: _Line) -> int:
    """How many quotation marks a line with these values has, if no key stands twice.

    Exact, because no right value has one in it.
    """
    count = 12  # Three keys and their three values.
    if line.started_at is not _UNSET:
        count += 4 if line.started_at else 2
    if line.directions is not _UNSET:
        count += 2 + _quotation_marks_of(line.directions)
    if line.redaction is not _UNSET:
        count += 2 + _quotation_marks_of(line.redaction)
    if line.in_progress is not _UNSET:
        count += 2
    return count


def _quotation_marks_of(value: str | list[str] | None) -> int:
    if value is None:
        return 0
    return 2 if isinstance(value, str) else 2 * len(value)


def _explained(text: TextSource, line: str, number: int, error: Exception | None) -> UsageError:
    """What is wrong with the line: for people, and with its column."""
    try:
        value = json.loads(line, object_pairs_hook=_Object)
    except json.JSONDecodeError as broken:
        return text.error(
            f"this is not valid JSON: {broken.msg}, expected one object a line",
            location=text.location(number, broken.colno),
            hint=_EXAMPLE,
        )
    except (RecursionError, ValueError):  # Thousands of brackets, or of digits.
        return text.error(
            "found nested brackets or digits without end, expected an object",
            location=text.location(number, 1),
            hint=_EXAMPLE,
        )
    if not isinstance(value, _Object):
        return text.error(
            f"found {_describe(value)}, expected an object",
            location=text.location(number, 1),
            hint=_EXAMPLE,
        )
    problem = _first_problem(value) or _as_bad_value(error)
    return text.error(
        problem.message,
        location=text.location(number, _column(line, problem)),
        hint=problem.hint,
    )


def _first_problem(pairs: _Object) -> BadValueError | None:
    """The first key or value that is wrong by itself: unknown, repeated, or of a wrong type."""
    seen: set[str] = set()
    for key, value in pairs:
        if key not in ENTRY_KEYS:
            return BadValueError(key, unknown_key(key, ENTRY_KEYS, synonyms=SYNONYMS))
        if key in seen:
            return BadValueError(key, f"found the key {key!r} twice, expected it once")
        seen.add(key)
        problem = _type_problem(key, value)
        if problem:
            return problem
    for key in ("id", "account_id", "project_id"):
        if key not in seen:
            return BadValueError(key, f"{key} is missing: expected it on every line", hint=_EXAMPLE)
    return None


def _type_problem(key: str, value: object) -> BadValueError | None:
    if key == "in_progress":
        expected = f"{key}: found {_describe(value)}, expected true or false"
        return None if isinstance(value, bool | None) else BadValueError(key, expected)
    if isinstance(value, str):
        return None
    if value is None:
        return nothing(key) if key in IDENTIFIER_KEYS else None
    if key not in LIST_KEYS:
        return BadValueError(
            key, f"{key}: found {_describe(value)}, expected text in quotation marks"
        )
    words = value if isinstance(value, list) and not isinstance(value, _Object) else [value]
    for word in words:
        if not isinstance(word, str):
            return BadValueError(key, f"{key}: found {_describe(word)}, expected a list of words")
    return None


def _as_bad_value(error: Exception | None) -> BadValueError:
    if isinstance(error, BadValueError):
        return error
    return BadValueError("", f"this is not valid JSON: {show(str(error))}", hint=_EXAMPLE)


def _column(line: str, problem: BadValueError) -> int:
    """Where the key stands; the last one, because of two equal keys the second is the mistake."""
    places = list(re.finditer(re.escape(json.dumps(problem.key)) + r"\s*:", line))
    return places[-1].start() + 1 if places else 1


def _describe(value: object) -> str:
    if isinstance(value, _Object):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return show(value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    return f"the number {show(str(value))[1:-1]}"
