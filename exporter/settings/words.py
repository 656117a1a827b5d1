"""What is wrong with a setting, in words: what was found, what was expected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from exporter.settings.values import ExpectedError, RuleError
from exporter.yamldoc import nearest, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""The keys that lead to a setting, and the numbers of a list's items."""

CREDENTIALS = "credentials"

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
    "string_type": "text (numbers in quotes)",
    "tuple_type": "a list",
    "too_short": "at least one",
}


def explained(error: ErrorDetails) -> tuple[Place, str, str]:
    """The place of a validation error, what is wrong there, and what to do about it."""
    path: Place = tuple(error["loc"])
    context = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, RuleError):
        return ((*path, *cause.key.split(".")) if cause.key else path), str(cause), cause.hint
    value = error.get("input")
    expected = str(cause) if isinstance(cause, ExpectedError) else _expected(error, context)
    return path, f"found {shown(value, path)}{_meant(value, context)}, expected {expected}", ""


def _expected(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    if words := _words(context):
        return f"one of: {', '.join(words)}"
    template = _EXPECTED.get(error["type"])
    return template.format(**context) if template else str(error["msg"])


def _words(context: Mapping[str, Any]) -> list[str]:
    """The known words, of which the value is none."""
    return re.findall("'([^']*)'", str(context.get("expected", "")))


def _meant(value: object, context: Mapping[str, Any]) -> str:
    near = nearest(value, _words(context)) if isinstance(value, str) else None
    return f" (did you mean {near!r}?)" if near else ""


def shown(value: object, path: Place) -> str:
    """A value in a message; never one where people put keys by mistake."""
    match value:
        case str():
            return "a text" if path[:1] == (CREDENTIALS,) else show(value)
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            return show(str(value))[1:-1]


def dotted(path: Place) -> str:
    """`limits.concurrency`, `credentials[0].api_key_env`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")
