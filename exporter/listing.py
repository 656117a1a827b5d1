"""What the API tells of conversations: pages of the list, and one conversation by itself.

Source of paths and fields: the vendor's API reference, "List conversations" (platform-v3) and
"Get conversation" (agents-v1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from exporter.answers import JSON
from exporter.errors import ConfigError, ErrorKind, FetchError
from exporter.window import ANY_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.answers import Body
    from exporter.client import Client
    from exporter.page import Page
    from exporter.window import Window

PAGE: Final = 500  # conversations asked for at a time; a page that breaks is asked for again
_LIST = "/v3/{account}/{project}/conversations"
_DETAIL = "/v1/agents/{project}/conversations/{conversation}"

_MIB = 1024 * 1024
_MOST_DETAIL = 256 * _MIB
# Whether the bounds belong to the window is not documented: a little more is asked for, and what
# lies outside is left out here.
_MARGIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which page is asked for.

    Attributes:
        window: of which list.
        cursor: of the page before; None for the first.
        limit: conversations, at most.
    """

    window: Window
    cursor: str | None
    limit: int | None = None

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
            from exporter.page import PageReader  # noqa: PLC0415 (ijson is slow to import)

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
        ("limit", str(asked.limit or PAGE)),
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


class _Detail(msgspec.Struct):
    """What is needed of a conversation's description; all else in it is ignored."""

    startedAt: Any = None  # noqa: N815 (as the API writes it)


def started_at_of(conversation: bytes) -> datetime | None:
    """When a conversation began, by its description; None where that does not tell."""
    from exporter.page import moment_of  # noqa: PLC0415 (ijson is slow to import)

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
