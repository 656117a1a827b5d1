"""What the API tells of conversations: pages of the list, and one conversation by itself.

A page can be hundreds of megabytes, for it holds transcripts. It is parsed while it arrives, and of
each conversation only what is needed is kept: nothing private ever leaves this module.

Source of paths and fields: the vendor's API reference, "List conversations" (platform-v3) and
"Get conversation" (agents-v1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import ijson
import msgspec
from yarl import URL

from exporter.answers import JSON
from exporter.errors import ConfigError, ErrorKind, FetchError
from exporter.window import ANY_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.answers import Body
    from exporter.client import Client
    from exporter.window import Window

PAGE: Final = 500  # conversations asked for at a time; a page that breaks is asked for again
_LIST = "/v3/{account}/{project}/conversations"
_DETAIL = "/v1/agents/{project}/conversations/{conversation}"

_MIB = 1024 * 1024
_MOST_ENTRIES = 100_000  # of a page: far more than were asked for
_MOST_BETWEEN = 256 * _MIB  # from one conversation's end to the next one's
_MOST_DETAIL = 256 * _MIB
_LONGEST_CURSOR = 16 * 1024
_LONGEST_FIELD = 300
# Whether the bounds belong to the window is not documented: a little more is asked for, and what
# lies outside is left out here.
_MARGIN = timedelta(seconds=1)
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


@dataclass(frozen=True, slots=True)
class Listed:
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


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Attributes:
        conversations: in the order of the list.
        cursor: of the next page; None at the end.
        correlation_id: what the vendor's support asks for.
    """

    conversations: list[Listed]
    cursor: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which page is asked for; `cursor` is None for the first."""

    window: Window
    cursor: str | None
    limit: int = PAGE

    def __str__(self) -> str:
        """For people."""
        which = "the first page" if self.cursor is None else "a later page"
        return f"{which} of {self.window}"

    @property
    def account_id(self) -> str:
        """Whose key is needed."""
        return self.window.account_id

    @property
    def project_id(self) -> str:
        """Likewise."""
        return self.window.project_id


class Listing:
    """Asks for pages and for single conversations, once each.

    Args:
        client: sends the requests; it knows both origins.
        list_origin: of the list API; None where the region has none.
        detail_origin: of the API for one conversation; likewise.
    """

    def __init__(
        self, client: Client, *, list_origin: str | None, detail_origin: str | None
    ) -> None:
        self._client = client
        self._list_origin = list_origin
        self._detail_origin = detail_origin

    async def page(self, asked: PageOf, api_key: str, accepted: Callable[[], object]) -> Page:
        """One page, whole.

        Args:
            asked: which.
            api_key: of the project.
            accepted: called when the server has begun to answer well.

        Raises:
            FetchError: it did not come whole, or cannot be read.
            ConfigError: this region has no list API.
        """
        async with self._client.get(self._list_url(asked), api_key, accept=JSON) as body:
            accepted()
            reader = PageReader(body.correlation_id)
            async for chunk in body.chunks():
                reader.feed(chunk)
            return reader.close()

    async def conversation(
        self,
        project_id: str,
        conversation_id: str,
        api_key: str,
        accepted: Callable[[], object],
    ) -> bytes:
        """One conversation as the API describes it: JSON, in camelCase.

        Raises:
            FetchError: it did not come whole, or is not JSON.
            ConfigError: this region has no such API.
        """
        if self._detail_origin is None:
            raise _not_here("the description of one conversation")
        path = _DETAIL.format(
            project=quote(project_id, safe=""), conversation=quote(conversation_id, safe="")
        )
        url = URL(f"{self._detail_origin}{path}", encoded=True)
        async with self._client.get(url, api_key, accept=JSON) as body:
            accepted()
            return await _whole(body)

    def _list_url(self, asked: PageOf) -> URL:
        if self._list_origin is None:
            raise _not_here("the list of conversations")
        path = _LIST.format(
            account=quote(asked.account_id, safe=""), project=quote(asked.project_id, safe="")
        )
        query = urlencode(_parameters(asked), quote_via=quote, safe="")
        return URL(f"{self._list_origin}{path}?{query}", encoded=True)


def _not_here(what: str) -> ConfigError:
    return ConfigError(
        f"{what} cannot be asked for in this region",
        hint="Only us-1, uk-1 and euw-1 (us, uk, eu) have it. List the conversations in a manifest,"
        " or set api.base_url.",
    )


def _parameters(asked: PageOf) -> list[tuple[str, str]]:
    window, filters = asked.window, asked.window.filters
    start = window.start.replace(microsecond=0) - _MARGIN
    end = window.end.replace(microsecond=0) + _MARGIN
    if window.end.microsecond:
        end += _MARGIN
    chosen: list[tuple[str, str | None]] = [
        ("start_time", _iso(start)),
        ("end_time", _iso(end)),
        ("limit", str(asked.limit)),
        ("client_env", filters.client_env),
        *(("channel", each) for each in filters.channels if each != ANY_CHANNEL),
        ("variant_id", filters.variant_id),
        ("query_type", filters.query_type),
        ("query", filters.query),
        ("sample", filters.sample),
        ("cursor", asked.cursor),
    ]
    return [(name, value) for name, value in chosen if value is not None]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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

    def feed(self, chunk: bytes) -> None:
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


class _Detail(msgspec.Struct):
    """What is needed of a conversation's description; all else in it is ignored."""

    startedAt: Any = None  # noqa: N815 (as the API writes it)


def started_at_of(conversation: bytes) -> datetime | None:
    """When a conversation began, by its description; None where that does not tell."""
    return moment_of(msgspec.json.decode(conversation, type=_Detail).startedAt)


async def _whole(body: Body) -> bytes:
    content = bytearray()
    async for chunk in body.chunks():
        content += chunk
        if len(content) > _MOST_DETAIL:
            raise _no_description(f"more than {_MOST_DETAIL // _MIB} MiB", body)
    try:
        msgspec.json.decode(content, type=_Detail)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_description(str(error), body) from None
    return bytes(content)


def _no_description(found: str, body: Body) -> FetchError:
    return FetchError(
        ErrorKind.UNREADABLE,
        f"a conversation's description cannot be read: {found}",
        http_status=HTTPStatus.OK,
        correlation_id=body.correlation_id,
    )
