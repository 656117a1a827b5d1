"""How people write the values of settings: durations, sizes, modes, addresses.

A value comes from a YAML file, from an environment variable or from a flag: the latter two are
always text. What a value may not be is told by `ExpectedError` or `RuleError`.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
)

from exporter.address import AddressError, store_address

if TYPE_CHECKING:
    from enum import StrEnum

T = TypeVar("T")

_NUMBER = r"[0-9]{1,9}(?:[.,][0-9]{1,9})?"
_DURATION = re.compile(rf"({_NUMBER}) ?([smhd])")
_ISO_DURATION = re.compile(
    rf"P(?!$)(?:({_NUMBER})W)?(?:({_NUMBER})D)?"
    rf"(?:T(?!$)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ISO_UNITS = ("weeks", "days", "hours", "minutes", "seconds")

_SIZE_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_SIZE = re.compile(rf"({_SIZE_NUMBER}) ?(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

_MODE = re.compile(r"0?[0-7]{3}")
# What Amazon and Microsoft both take.
_TAG_NAME = re.compile(r"[A-Za-z0-9 +\-./:=_]{1,128}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9 +\-./:=_]{0,256}")
_MOST_TAGS = 10
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_WORDS_OF_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_WORDS_OF_TRUTH |= {"false": False, "no": False, "off": False, "0": False}

_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*\.?", re.IGNORECASE)
_EXAMPLE_URL = "an address such as https://api.example.com"


class ExpectedError(ValueError):
    """A value is wrong; the text says what was expected instead."""


class RuleError(ValueError):
    """A value breaks a rule; the text says all, for the value itself is better not repeated.

    Attributes:
        key: the key at fault, where the rule is one of a whole section, or of all of them.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, key: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


def _no_truth_value(value: object) -> object:
    """Python takes true for 1; people do not."""
    if isinstance(value, bool):
        raise ExpectedError("a number")
    return value


def _truth_value(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS_OF_TRUTH:
        return _WORDS_OF_TRUTH[value.strip().lower()]
    raise ExpectedError("true or false")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        if match := _DURATION.fullmatch(text):
            return timedelta(**{_UNITS[match[2]]: _float(match[1])})
        if match := _ISO_DURATION.fullmatch(text):
            parts = zip(_ISO_UNITS, match.groups(), strict=True)
            return timedelta(**{unit: _float(number) for unit, number in parts if number})
    except OverflowError:
        raise ExpectedError("a shorter duration") from None
    raise ExpectedError("a duration with its unit, such as 90s, 15m, 24h, 3d or PT15M")


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def _size(value: object) -> int:
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    match = _SIZE.fullmatch(text.strip())
    if match:
        base = 1024 if match[3] else 1000
        size = math.floor(float(match[1]) * math.pow(base, _POWERS[(match[2] or "").lower()]))
        if size > 0:
            return size
    raise ExpectedError("a size of at least one byte, such as 500000, 10MiB or 2GB")


def _size_or_zero(value: object) -> int:
    is_zero = value == 0 and not isinstance(value, bool)
    return 0 if is_zero or (isinstance(value, str) and value.strip() == "0") else _size(value)


def _octal(value: object) -> int:
    if isinstance(value, str) and _MODE.fullmatch(value.strip()):
        return int(value, 8)
    raise ExpectedError('three octal digits, such as "0700" (in quotes)')


def _usable_by_owner(needed: int) -> AfterValidator:
    def check(mode: int) -> int:
        if mode & needed != needed:
            raise RuleError(
                f'"{mode:04o}" would lock the owner out, expected "0{needed:o}" or wider'
            )
        return mode

    return AfterValidator(check)


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _lower_case(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; the name of a folder
        raise ExpectedError("a time zone of the IANA list, such as UTC or Europe/London") from None
    return name


def _file_name(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ExpectedError("the name of a file")
    # Only a shell knows what `~` is; a config file has none.
    return Path(os.path.expanduser(value))  # noqa: PTH111 (pathlib's raises where there is no home)


def _archive_url(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ExpectedError("a folder, or the address of a place in an object store")
    if value.startswith("file://") and not value.startswith("file:///"):
        raise ExpectedError("a folder on this machine")
    try:
        address = store_address(value)
    except AddressError as error:
        raise ExpectedError(str(error)) from None
    if address is not None:
        return str(address)
    return os.path.expanduser(value)  # noqa: PTH111 (the text is an address, not only a path)


def _pairs(value: object) -> object:
    """`team=voice,purpose=archive`, as environment variables have it."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ExpectedError("names and values, such as team=voice,purpose=archive")
        return {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, dict):
        raise ExpectedError("a mapping of names and values, such as {team: voice}")
    return value


def _tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > _MOST_TAGS:
        raise ExpectedError(f"at most {_MOST_TAGS} tags")
    for name, value in tags.items():
        if not _TAG_NAME.fullmatch(name) or not _TAG_VALUE.fullmatch(value):
            raise ExpectedError(
                "names of 1 to 128 and values of at most 256 characters: letters, digits, spaces"
                " and + - . / : = _"
            )
    return tags


def _variable_name(value: object) -> str:
    if isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    # Whoever misreads this setting writes the key itself here, so it is not repeated.
    raise RuleError(
        "expected the name of an environment variable in capital letters, such as POLYAI_API_KEY",
        hint="The key itself is never written into a config: set the variable to it.",
    )


def _address(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ExpectedError(_EXAMPLE_URL)
    # Addresses are not repeated in messages: the wrong ones are those that hold a password.
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RuleError(f"expected {_EXAMPLE_URL}") from None
    if not value.isprintable() or " " in value or "\\" in value or port == 0:
        raise RuleError(f"expected {_EXAMPLE_URL}")
    if parts.scheme not in {"http", "https"} or not host or not _is_host(host):
        raise RuleError(f"expected {_EXAMPLE_URL}")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise RuleError(
            "expected scheme, host, port and path only, without user, password or query",
            hint="Keys are named under `credentials`.",
        )
    return value.rstrip("/")


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


no_truth_value = BeforeValidator(_no_truth_value)

# Limits stand before the functions: behind one they would be missing from the JSON Schema.
Count = Annotated[PositiveInt, no_truth_value]
CountOrZero = Annotated[NonNegativeInt, no_truth_value]
Amount = Annotated[PositiveFloat, Field(allow_inf_nan=False), no_truth_value]
Switch = Annotated[bool, BeforeValidator(_truth_value)]


def _iso_duration(value: timedelta) -> str:
    """As `_duration` reads it: in days and seconds, for a year or a month has no length."""
    seconds = value - timedelta(days=value.days)
    time = f"T{seconds.total_seconds():.6f}".rstrip("0").rstrip(".") + "S" if seconds else ""
    return f"P{value.days}D{time}"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_iso_duration, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^(?:{_NUMBER} ?[smhd]|P[0-9.,A-Z]+)$",
            "examples": ["90s", "15m", "24h", "3d", "PT15M"],
        },
    ),
]
"""`90s`, `15m`, `24h`, `3d` or ISO 8601."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {
                    "type": "string",
                    "pattern": "^[0-9]{1,15}(?:\\.[0-9]{1,9})? ?[KkMmGgTt]?i?[Bb]?$",
                },
            ],
            "examples": [500000, "10MiB", "2GB"],
        },
    ),
]
"""Bytes, or `10MiB`, `2GB`."""

SizeOrZero = Annotated[
    int,
    BeforeValidator(_size_or_zero),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {
                    "type": "string",
                    "pattern": "^[0-9]{1,15}(?:\\.[0-9]{1,9})? ?[KkMmGgTt]?i?[Bb]?$",
                },
            ],
            "examples": [0, 500000, "10MiB", "2GB"],
        },
    ),
]
"""The same, or 0."""

_MODE_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"})
_as_octal = PlainSerializer(lambda mode: f"{mode:04o}", return_type=str, when_used="json")

DirMode = Annotated[int, BeforeValidator(_octal), _usable_by_owner(0o700), _as_octal, _MODE_SCHEMA]
"""Permission bits of folders, written as octal digits."""
FileMode = Annotated[int, BeforeValidator(_octal), _usable_by_owner(0o600), _as_octal, _MODE_SCHEMA]
"""Permission bits of files, written as octal digits."""

FileName = Annotated[Path, BeforeValidator(_file_name)]
ArchiveUrl = Annotated[str, BeforeValidator(_archive_url)]
Tags = Annotated[
    dict[str, str],
    AfterValidator(_tags),
    BeforeValidator(_pairs),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "maxProperties": _MOST_TAGS,
                    "additionalProperties": {"type": "string", "maxLength": 256},
                },
                {"type": "string", "pattern": "^$|="},
            ],
            "examples": [{"team": "voice"}],
        }
    ),
]
"""Up to ten names with values, as object stores put them on objects."""
StorageClass = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
VariableName = Annotated[
    str,
    BeforeValidator(_variable_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$"}),
]
TimeZoneName = Annotated[str, AfterValidator(_time_zone)]
Address = Annotated[
    str | None,
    BeforeValidator(_address),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^https?://"}, {"type": "null"}]}),
]


def list_of(words: type[StrEnum]) -> WithJsonSchema:
    """The JSON Schema of a list of such words, or of a text with commas between them."""
    known = [word.value for word in words]
    one = f"(?:{'|'.join(known)})"
    items = {"type": "array", "items": {"enum": known}, "minItems": 1}
    return WithJsonSchema(
        {"anyOf": [items, {"type": "string", "pattern": f"^{one}(?: *, *{one})*$"}]}
    )


comma_list = BeforeValidator(_comma_list)
distinct = AfterValidator(_distinct)
lower_case = BeforeValidator(_lower_case)
