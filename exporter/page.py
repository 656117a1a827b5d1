"""A page of the list of conversations, read while it arrives: bytes in, a few fields out.

A page can be hundreds of megabytes, for it holds transcripts. Of each conversation only what is
needed is kept: nothing private ever leaves this module.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import ijson
from msgspec import Struct

from exporter.errors import ErrorKind, FetchError

if TYPE_CHECKING:
    from exporter.model import Piece

_MIB: Final = 1024 * 1024
_MOST_ENTRIES: Final = 100_000  # of a page: far more than were asked for
_MOST_BETWEEN: Final = 256 * _MIB  # from one conversation's end to the next one's
_LONGEST_CURSOR: Final = 16 * 1024
_LONGEST_FIELD: Final = 300
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


class Listed(Struct, frozen=True):
    """One conversation of a page: what is needed of it.

    Attributes:
        id: as the API writes it; None where there is none.
        started_at: aware; None where the API does not say, or says something else.
        channel: such as `VOICE-SIP`; None where the API does not say.
        in_progress: it has not ended yet.
    """

    id: str | None
    started_at: datetime | None
    channel: str | None
    in_progress: bool


class Page(Struct, frozen=True):
    """A whole page.

    Attributes:
        conversations: in the order of the list.
        cursor: of the next page; None at the end.
        correlation_id: what the vendor's support asks for.
    """

    conversations: list[Listed]
    cursor: str | None
    correlation_id: str | None


class PageReader:
    """Reads a page while it arrives.

    ::

        {"conversations": [{"id": …, "turns": […]}, …], "cursor": …}
    """

    def __init__(self, correlation_id: str | None) -> None:
        self._correlation_id = correlation_id
        self._events = ijson.sendable_list()
        # Numbers as they are written: with use_float, one of more than 64 bits would be an error.
        self._parser = ijson.basic_parse_coro(self._events)
        self._depth = 0
        self._in_list = False
        self._top_key = ""
        self._key = ""
        self._fields: dict[str, Any] = {}
        self._found: list[Listed] | None = None
        self._cursor: str | None = None
        self._received = 0
        self._since_last = 0

    def feed(self, chunk: Piece) -> None:
        """The next bytes.

        Raises:
            FetchError: `unreadable`.
        """
        if not chunk:
            return
        self._since_last += len(chunk)
        self._received += len(chunk)
        try:
            self._parser.send(chunk)
        except (ijson.JSONError, ValueError):
            # The library's words quote the page, which is private.
            raise self._unreadable(
                f"something that is no JSON in the first {self._received} bytes"
            ) from None
        self._take()
        if self._since_last > _MOST_BETWEEN:
            raise self._unreadable(f"more than {_MOST_BETWEEN // _MIB} MiB without a conversation")

    def close(self) -> Page:
        """The page, when all its bytes were fed.

        Raises:
            FetchError: `truncated` or `unreadable`.
        """
        try:
            self._parser.close()
        except (ijson.JSONError, ValueError):
            raise self._unreadable(
                f"its end after {self._received} bytes, in the middle of it", ErrorKind.TRUNCATED
            ) from None
        self._take()
        if self._found is None:
            raise self._unreadable("no list of conversations")
        return Page(self._found, self._cursor or None, self._correlation_id)

    def _take(self) -> None:
        """Go through the events of the bytes fed last."""
        for event, value in self._events:
            if event in _BEGIN:
                self._depth += 1
                if self._depth <= _ENTRY_DEPTH:
                    self._begin(event)
            elif event in _END:
                if self._depth <= _ENTRY_DEPTH:
                    self._end()
                self._depth -= 1
            elif self._depth > _ENTRY_DEPTH:
                continue
            elif event == "map_key":
                if self._depth == 1:
                    self._top_key = value
                else:
                    self._key = value
            else:
                self._put(value)
        self._events.clear()

    def _begin(self, event: str) -> None:
        if self._depth == 1:
            if event != "start_map":
                raise self._unreadable("a list")
        elif self._depth == _LIST_DEPTH:
            self._in_list = self._top_key == "conversations"
            if self._in_list:
                if event != "start_array":
                    raise self._unreadable("an object under 'conversations', and no list")
                if self._found is not None:
                    raise self._unreadable("two lists of conversations")
                self._found = []
            elif self._top_key == "cursor":
                raise self._unreadable("a cursor that is no text")
        elif self._in_list:
            if event != "start_map":
                raise self._unreadable("a list among the conversations")
            self._fields = {}

    def _end(self) -> None:
        if self._depth == _LIST_DEPTH:
            self._in_list = False
        elif self._depth == _ENTRY_DEPTH and self._in_list and self._found is not None:
            self._since_last = 0
            self._found.append(_listed(self._fields))
            if len(self._found) > _MOST_ENTRIES:
                raise self._unreadable(f"more than {_MOST_ENTRIES} conversations on one page")

    def _put(self, value: object) -> None:
        """A value that is neither list nor object."""
        if self._depth == _ENTRY_DEPTH and self._in_list:
            if self._key in _FIELDS:
                self._fields[self._key] = value
        elif self._depth == _LIST_DEPTH and self._in_list:
            raise self._unreadable("something other than objects among the conversations")
        elif self._depth == 1 and self._top_key == "cursor":
            if value is not None and not isinstance(value, str):
                raise self._unreadable("a cursor that is no text")
            if value is not None and len(value) > _LONGEST_CURSOR:
                raise self._unreadable(f"a cursor of {len(value)} characters")
            self._cursor = value
        elif self._depth == 0:
            raise self._unreadable("a single value")

    def _unreadable(self, found: str, kind: ErrorKind = ErrorKind.UNREADABLE) -> FetchError:
        return FetchError(
            kind,
            f"a page of the list cannot be read: found {found}",
            http_status=HTTPStatus.OK,
            correlation_id=self._correlation_id,
        )


_BEGIN: Final = frozenset({"start_map", "start_array"})
_END: Final = frozenset({"end_map", "end_array"})
_LIST_DEPTH: Final = 2
_ENTRY_DEPTH: Final = 3
_FIELDS: Final = frozenset({"id", "started_at", "channel", "in_progress"})


def _listed(fields: dict[str, Any]) -> Listed:
    return Listed(
        _text(fields.get("id")),
        moment_of(fields.get("started_at")),
        _text(fields.get("channel")),
        fields.get("in_progress") is True,
    )


def _text(value: object) -> str | None:
    return value[:_LONGEST_FIELD] if isinstance(value, str) and value else None


def moment_of(value: object) -> datetime | None:
    """The moment that the API tells; without an offset it is UTC. None where it tells none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
