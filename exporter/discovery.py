"""A window of time → the conversations that the API lists for it, page by page.

What is found is handed on a page at a time, and only when the page came whole. A listing ends with
its last page; whatever else ends it is told, so that a part is never taken for the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import structlog

from exporter.errors import DestinationError, ErrorKind, FetchError
from exporter.listing import PAGE, PageOf
from exporter.loader.entry import BadValueError, check_identifier
from exporter.model import Conversation, ErrorInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from exporter.asking import Asker
    from exporter.listing import Listing
    from exporter.page import Listed, Page
    from exporter.window import Window

_MOST_BARREN = 100  # pages in a row that bring nothing new
_CACHE_KIB = 4096

_log = structlog.get_logger()


class LeftOut(StrEnum):
    """Why a conversation of the list is not exported."""

    CHANNEL = "channel"  # not a voice channel, or not one that was asked for
    IN_PROGRESS = "in_progress"  # it has not ended yet
    UNUSABLE_ID = "unusable_id"  # its identifier is none, or none that an archive can hold


@dataclass(slots=True)
class Discovered:
    """What the list told of a window.

    Attributes:
        window: that was asked for.
        found: distinct conversations that the list has in it.
        left_out: how many of them are not exported, by reason.
        pages: that came.
        repeated: how often a conversation was told again.
        error: why the listing is not whole; None: it is.
    """

    window: Window
    found: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    pages: int = 0
    repeated: int = 0
    error: ErrorInfo | None = None

    @property
    def taken(self) -> int:
        """How many are to be exported."""
        return self.found - self.left_out.total()


class Discovery:
    """Lists windows, one after another.

    Args:
        asker: sends the requests.
        listing: knows the list API.
        page_size: conversations to ask for at a time.
    """

    def __init__(self, asker: Asker, listing: Listing, *, page_size: int = PAGE) -> None:
        self._asker = asker
        self._listing = listing
        self._page_size = page_size

    async def discover(
        self, window: Window, take: Callable[[list[Conversation]], None]
    ) -> Discovered:
        """List one window to its end, or as far as it goes.

        Args:
            window: what to look for.
            take: gets the conversations to be exported, a page at a time.

        Raises:
            ConfigError: this region has no list API.
            DestinationError: there is no room for temporary files.
        """
        found = Discovered(window)
        with _Seen() as seen:
            try:
                async for page in self._pages(window, seen, found):
                    take(page)
            except FetchError as error:
                found.error = ErrorInfo.of(error)
        _tell(found)
        return found

    async def _pages(
        self, window: Window, seen: _Seen, found: Discovered
    ) -> AsyncIterator[list[Conversation]]:
        cursor: str | None = None
        cursors: set[bytes] = set()
        barren = 0
        while True:
            page = await self._page(PageOf(window, cursor, self._page_size))
            found.pages += 1
            new = self._new(window, page, seen, found)
            barren = 0 if new else barren + 1
            yield _taken(window, new, found)
            cursor = page.cursor
            if cursor is None:
                return
            digest = hashlib.blake2b(cursor.encode(errors="replace"), digest_size=16).digest()
            if digest in cursors:
                raise _bad_paging("the cursor of a page leads back to an earlier page", page)
            if barren >= _MOST_BARREN:
                raise _bad_paging(f"{barren} pages in a row brought nothing new, and no end", page)
            cursors.add(digest)

    async def _page(self, asked: PageOf) -> Page:
        async def send(key: str, accepted: Callable[[], object]) -> Page:
            return await self._listing.page(asked, key, accepted)

        return await self._asker.ask(asked, send)

    def _new(self, window: Window, page: Page, seen: _Seen, found: Discovered) -> list[Listed]:
        """Those of the page that belong to the window and were not told before."""
        inside = [
            one for one in page.conversations if one.started_at is None or one.started_at in window
        ]
        # Without an id nobody knows whether it was told before.
        are_new = seen.note([one.id or "" for one in inside])
        new = [one for one, is_new in zip(inside, are_new, strict=True) if is_new or not one.id]
        found.found += len(new)
        found.repeated += len(inside) - len(new)
        return new


def _taken(window: Window, new: Sequence[Listed], found: Discovered) -> list[Conversation]:
    """Those that are to be exported; the others are counted."""
    taken: list[Conversation] = []
    for one in new:
        reason = _reason_against(one, window)
        if reason is not None:
            found.left_out[reason] += 1
            continue
        taken.append(
            Conversation(
                window.account_id,
                window.project_id,
                one.id or "",
                one.started_at,
                window.directions,
                window.redaction,
                one.in_progress,
            )
        )
    return taken


def _reason_against(one: Listed, window: Window) -> LeftOut | None:
    if not window.filters.accept_channel(one.channel):
        return LeftOut.CHANNEL
    if one.in_progress and not window.filters.include_in_progress:
        return LeftOut.IN_PROGRESS
    with contextlib.suppress(BadValueError):
        check_identifier("id", one.id or "")
        return None
    return LeftOut.UNUSABLE_ID


def _bad_paging(message: str, page: Page) -> FetchError:
    return FetchError(
        ErrorKind.BAD_PAGING,
        message,
        correlation_id=page.correlation_id,
    )


def _tell(found: Discovered) -> None:
    facts = {
        "window": str(found.window),
        "found": found.found,
        "taken": found.taken,
        **{f"left_out_{reason}": count for reason, count in found.left_out.items()},
        "pages": found.pages,
    }
    if found.error is None:
        _log.info("discover.listed", **facts)
    else:
        error = found.error
        _log.error(
            "discover.incomplete",
            **facts,
            kind=error.kind,
            reason=error.message,
            correlation_id=error.correlation_id,
        )
    if unusable := found.left_out[LeftOut.UNUSABLE_ID]:
        _log.error("discover.unusable_id", window=str(found.window), conversations=unusable)


class _Seen:
    """Which conversations a listing has told: on disk, for there may be any number."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a temporary file without a name

    def __enter__(self) -> Self:
        with _room():
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def note(self, names: Sequence[str]) -> list[bool]:
        """For each whether it is new."""
        with _room():
            self._db.execute("BEGIN")
            are_new = [
                self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount > 0
                for name in names
            ]
            self._db.execute("COMMIT")
        return are_new


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DestinationError(
            f"cannot write a temporary file: {error}",
            hint="Free some space, or point TMPDIR to another folder.",
        ) from None
