"""Which plain value is what: YAML 1.2's core schema, without its ambiguous corners.

YAML 1.1, which most Python programs speak, reads `no` as false, `0700` as 448 and `1:30` as 90.
Here they stay text, and so does every date: whoever uses the value knows what it should be.
"""

from __future__ import annotations

import re

TAG_PREFIX = "tag:yaml.org,2002:"

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_BOOLEANS["FALSE"] = False

# Longer digits are identifiers, not quantities; converting millions of them takes minutes.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_BASED = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,2})?")
_DIGITS = re.compile(r"[-+]?[0-9]+")  # too many for an integer, and no float either
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")

Scalar = str | int | float | bool | None


def plain_value(text: str) -> Scalar:
    """The value of a scalar without quotes and tag."""
    if text in NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = _number(text)
    return text if number is None else number


def tagged_value(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit core tag.

    Args:
        tag: without the prefix of the core tags.
        text: the scalar.

    Raises:
        ValueError: the text is no such value.
        KeyError: the tag is none of a scalar, or unknown.
    """
    value = plain_value(text)
    if tag in {"str", "timestamp"}:
        return text
    if tag == "float" and type(value) is int:
        return float(value)
    if not isinstance(value, _TAGGED_TYPES[tag]) or (tag != "bool" and isinstance(value, bool)):
        raise ValueError(text)
    return value


_TAGGED_TYPES = {"int": int, "float": float, "bool": bool, "null": type(None)}


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.match(text) and not _DIGITS.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", ""))
    return None
