"""The list of conversations, page by page, and the description of one: pure, like `answers`.

A cursor says where the next page begins, which page it is, and for which filters: new conversations
do not shift it, and it is refused with other filters. Both bounds of the window belong to it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from exporter.sandbox.answers import CORRELATION_HEADER, JSON, Answer, Place, error, refusal
from exporter.sandbox.history import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporter.sandbox.answers import Asked
    from exporter.sandbox.history import Happening, History
    from exporter.sandbox.world import World

_MOST: Final = 1000
_DIGEST_BYTES: Final = 6
# What may differ from page to page.
_NOT_A_FILTER: Final = frozenset({"cursor", "offset", "limit"})


class _BadQueryError(ValueError):
    """A parameter cannot be understood; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """The parameters of a request, understood."""

    start: float | None
    end: float | None
    limit: int
    place: Place | None
    offset: int | None
    environment: Environment
    channels: frozenset[str]
    finished_only: bool
    variant_id: str | None
    variant_name: str | None
    query: str | None
    turn_type: str | None
    is_semantic: bool
    is_sample: bool
    digest: str

    def accepts(self, found: Happening, now: float) -> bool:
        """Whether a conversation is asked for."""
        return (
            found.environment == self.environment
            and (self.start is None or self.start <= found.started_at)
            and (self.end is None or found.started_at <= self.end)
            and (not self.channels or found.channel in self.channels)
            and not (self.finished_only and found.in_progress(now))
            and self.variant_id in {None, found.variant_id}
            and self.variant_name in {None, found.variant}
            and (self.query is None or self._is_about(found, now))
            and not (self.is_sample and _draw(self.digest, found.id) % 4)
        )

    def _is_about(self, found: Happening, now: float) -> bool:
        if self.is_semantic:  # some are, who knows why
            return _draw(self.query or "", found.id) % 2 == 0
        words = (self.query or "").lower()
        return any(
            words in turn["text"].lower()
            for turn in found.in_list(now)["turns"]
            if self.turn_type in {None, turn["speaker"]}
        )


def page(asked: Asked, world: World, *, now: float, correlation_id: str) -> Answer:
    """A page of the list of conversations."""
    problem = refusal(asked, world)
    if problem:
        return error(problem[0], code=problem[1], message=problem[2], correlation_id=correlation_id)
    try:
        query = _understand(parse_qs(asked.query, keep_blank_values=True))
    except _BadQueryError as bad:
        return error(
            HTTPStatus.BAD_REQUEST,
            code="GET_CONVERSATIONS_FILTER_PARSE_ERROR",
            message=str(bad),
            correlation_id=correlation_id,
        )
    account = asked.account or ""
    history = world.history(account, asked.project)
    number = query.place.number if query.place else 1
    found: list[tuple[int, Happening]] = []
    if history is not None:
        matching = _matching(history, account, asked.project, query, now)
        # One more than asked for tells whether there is another page.
        found = list(islice(matching, query.offset or 0, (query.offset or 0) + query.limit + 1))
    here, rest = found[: query.limit], found[query.limit :]
    cursor = encode(Place(rest[0][0], number + 1, query.digest)) if rest else None
    answer = {
        "conversations": [each.in_list(now) for _, each in here],
        "cursor": cursor,
        "next_offset": (query.offset or 0) + query.limit if rest else None,
    }
    return Answer(
        status=HTTPStatus.OK,
        body=json.dumps(answer).encode(),
        headers={"Content-Type": JSON, CORRELATION_HEADER: correlation_id},
        framing=world.list_framing,
        place=Place(here[0][0] if here else 0, number, query.digest),
    )


def description(asked: Asked, world: World, *, now: float, correlation_id: str) -> Answer:
    """One conversation, in camelCase."""
    account = asked.account or ""
    problem = refusal(asked, world)
    found = world.happening(account, asked.project, asked.conversation)
    if not problem and (found is None or not found.exists(now)):
        message = f"There is no conversation {asked.conversation}."
        problem = HTTPStatus.NOT_FOUND, "CONVERSATIONS_NOT_FOUND", message
    if problem:
        status, code, message = problem
        return error(status, code=code, message=message, correlation_id=correlation_id)
    return Answer(
        status=HTTPStatus.OK,
        body=json.dumps(found.in_detail(now) if found else None).encode(),
        headers={"Content-Type": JSON, CORRELATION_HEADER: correlation_id},
    )


def encode(place: Place) -> str:
    """A cursor."""
    plain = json.dumps([place.position, place.number, place.digest]).encode()
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def decode(cursor: str) -> Place | None:
    """Where a cursor leads; None for anything that is no cursor."""
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position, number, digest = json.loads(plain)
    except (binascii.Error, ValueError, TypeError):
        return None
    is_one = isinstance(position, int) and isinstance(number, int) and isinstance(digest, str)
    return Place(position, number, digest) if is_one else None


def page_number(asked: Asked) -> int:
    """Which page of a listing is asked for, from 1."""
    cursors = parse_qs(asked.query).get("cursor", [])
    place = decode(cursors[-1]) if cursors else None
    return place.number if place else 1


def _matching(
    history: History, account: str, project: str, query: _Query, now: float
) -> Iterator[tuple[int, Happening]]:
    positions = history.positions(query.start, query.end, now)
    if query.place is not None:
        positions = history.beginning_at(query.place.position, positions)
    for position, found in history.walk(account, project, positions, now):
        if query.accepts(found, now):
            yield position, found


def _understand(values: Mapping[str, list[str]]) -> _Query:
    """The parameters, or what is wrong with them."""
    last = {name: texts[-1] for name, texts in values.items()}
    retrieves = {"query_type", "query", "turn_type", "sample"} & last.keys()
    if retrieves and not {"start_time", "end_time"} <= last.keys():
        raise _BadQueryError(f"{min(retrieves)} needs start_time and end_time.")
    if {"variant_id", "variant_name"} <= last.keys():
        raise _BadQueryError("At most one of variant_id and variant_name.")
    if last.get("sample", "random") != "random":
        raise _BadQueryError("sample must be random.")
    query_type = _one_of(last, "query_type", ("transcript", "semantic"), None)
    if (query_type is None) != ("query" not in last):
        raise _BadQueryError("query_type and query belong together.")
    digest = _digest(values)
    place = None
    if "cursor" in last:
        place = decode(last["cursor"])
        if place is None or place.digest != digest:
            raise _BadQueryError("The cursor is malformed, or of another query.")
    return _Query(
        start=_time(last, "start_time"),
        end=_time(last, "end_time"),
        limit=_number(last, "limit", 1, _MOST, _MOST),
        place=place,
        offset=_number(last, "offset", 0, 10**9, 0) if "offset" in last else None,
        environment=Environment(_one_of(last, "client_env", tuple(Environment), "live") or ""),
        channels=frozenset(values.get("channel", ())),
        finished_only=_one_of(last, "in_progress", ("true", "false"), None) == "false",
        variant_id=last.get("variant_id"),
        variant_name=last.get("variant_name"),
        query=last.get("query"),
        turn_type=_one_of(last, "turn_type", ("user", "agent"), None),
        is_semantic=query_type == "semantic",
        is_sample="sample" in last,
        digest=digest,
    )


def _digest(values: Mapping[str, list[str]]) -> str:
    filters = sorted((name, texts) for name, texts in values.items() if name not in _NOT_A_FILTER)
    return hashlib.blake2b(repr(filters).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _draw(salt: str, conversation: str) -> int:
    return hashlib.blake2b(f"{salt} {conversation}".encode(), digest_size=2).digest()[0]


def _time(values: Mapping[str, str], name: str) -> float | None:
    if name not in values:
        return None
    try:
        moment = datetime.fromisoformat(values[name])
    except ValueError:
        raise _BadQueryError(f"{name} is not an ISO 8601 time.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(values: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    try:
        number = int(values.get(name, default))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise _BadQueryError(f"{name} must be a whole number from {least} to {most}.")
    return number


def _one_of(
    values: Mapping[str, str], name: str, known: tuple[str, ...], default: str | None
) -> str | None:
    word = values.get(name, default)
    if word is not None and word not in known:
        raise _BadQueryError(f"{name} must be one of {', '.join(known)}.")
    return word
