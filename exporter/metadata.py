"""A conversation's description, as the API gave it → what is archived of it. Pure.

With `drop`, what may hold personal data is left out. It is an allow-list: a field that this program
does not know is left out, for nobody can tell what the vendor will put into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from exporter.model import MetadataPii

FIELDS: Final = (
    "id",
    "conversationId",
    "accountId",
    "projectId",
    "agentId",
    "environment",
    "clientEnv",
    "channel",
    "startedAt",
    "finishedAt",
    "inProgress",
    "variantId",
    "variantName",
    "numTurns",
    "totalDuration",
    "polyaiDuration",
    "handoff",
    "handoffReason",
    "language",
)
"""What is kept of a conversation; in snake_case as well. Single values only."""
TURN_FIELDS: Final = (
    "id",
    "turnId",
    "index",
    "speaker",
    "role",
    "type",
    "startedAt",
    "finishedAt",
    "createdAt",
    "timestamp",
    "offset",
    "duration",
    "latency",
)
"""What is kept of each of its `turns`: who and when, and nothing that was said."""
NUMBERS: Final = ("metrics",)
"""Objects of which numbers and truth values are kept."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is archived of a conversation.

    Attributes:
        content: JSON.
        is_final: the call had ended when it was described.
    """

    content: bytes
    is_final: bool


def describe(given: bytes, pii: MetadataPii) -> Description:
    """What is archived of what the API gave.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        document = msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(document, dict):
        raise ValueError("it is no object")  # noqa: TRY004 (a document's fault, not the caller's)
    is_final = not any(value for name, value in document.items() if _plain(name) == "inprogress")
    if pii is MetadataPii.KEEP:
        return Description(given, is_final)
    return Description(msgspec.json.encode(_without_pii(document)), is_final)


def _without_pii(document: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        plain = _plain(name)
        if plain in _PLAIN_FIELDS and _is_single(value):
            kept[name] = value
        elif plain in _PLAIN_NUMBERS and isinstance(value, dict):
            kept[name] = {key: each for key, each in value.items() if _is_number(each)}
        elif plain == "turns" and isinstance(value, list):
            kept[name] = [_turn(each) for each in value if isinstance(each, dict)]
    return kept


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in turn.items()
        if _plain(name) in _PLAIN_TURN_FIELDS and _is_single(value)
    }


def _is_single(value: object) -> bool:
    return not isinstance(value, dict | list)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _plain(name: str) -> str:
    """`startedAt` and `started_at` are one field."""
    return name.replace("_", "").lower()


_PLAIN_FIELDS: Final = {_plain(name) for name in FIELDS}
_PLAIN_TURN_FIELDS: Final = {_plain(name) for name in TURN_FIELDS}
_PLAIN_NUMBERS: Final = {_plain(name) for name in NUMBERS}
