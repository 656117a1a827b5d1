"""When conversations began, for those whose manifest does not say: the API is asked for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from exporter.errors import FetchError
from exporter.listing import started_at_of
from exporter.pool import run_pool

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from exporter.asking import Asker
    from exporter.errors import ExporterError
    from exporter.ledger import Ledger, LedgerThread
    from exporter.listing import Listing
    from exporter.model import Conversation
    from exporter.spool import Spool

_BATCH = 1000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Description:
    """One conversation, as something to be asked for."""

    account_id: str
    project_id: str
    conversation_id: str

    def __str__(self) -> str:
        return f"the description of {self.account_id}/{self.project_id}/{self.conversation_id}"


class Dating:
    """Asks the API when conversations began.

    Args:
        make_asker: makes what sends the requests, and is told what to call when there is no point
            in going on: a key or a host that is refused here ends this stage only.
        listing: knows the API for one conversation.
        ledger: knows those that it was told of before.
        thread: of the ledger.
        concurrency: how many are asked for at a time.
        stop: once set, nothing more is asked.
    """

    def __init__(
        self,
        *,
        make_asker: Callable[[Callable[[ExporterError], None]], Asker],
        listing: Listing,
        ledger: Ledger,
        thread: LedgerThread,
        concurrency: int,
        stop: asyncio.Event,
    ) -> None:
        self._asker = make_asker(self._give_up)
        self._listing = listing
        self._is_given_up = False
        self._ledger = ledger
        self._thread = thread
        self._concurrency = concurrency
        self._stop = stop

    def _give_up(self, error: ExporterError) -> None:
        if not self._is_given_up:
            _log.error(
                "start.given_up",
                reason=error.message,
                hint=error.hint,
                consequence="conversations whose start is not known stay undated",
            )
        self._is_given_up = True

    async def date(self, spool: Spool, dated: Spool) -> None:
        """Copy a spool, with a start for every conversation that the API knows one of.

        Raises:
            DestinationError: there is no room, or the ledger cannot be read.
        """
        for window, conversations in spool.batches(_BATCH):
            dated.fill(await self._dated(conversations), window=window)

    async def _dated(self, conversations: list[Conversation]) -> list[Conversation]:
        wanted = list(dict.fromkeys(_key(one) for one in conversations if one.started_at is None))
        known = await self._thread.run(self._ledger.starts_of, wanted)
        starts: dict[tuple[str, str, str], datetime | None] = dict(zip(wanted, known, strict=True))

        async def unknown() -> AsyncIterator[tuple[str, str, str]]:
            for key, start in list(starts.items()):
                if start is None and not self._is_given_up:
                    yield key

        async def ask(key: tuple[str, str, str]) -> None:
            starts[key] = await self._ask(_Description(*key))

        await run_pool(unknown(), ask, concurrency=self._concurrency, stop=self._stop)
        return [
            one if one.started_at else replace(one, started_at=starts[_key(one)])
            for one in conversations
        ]

    async def _ask(self, wanted: _Description) -> datetime | None:
        async def send(key: str, accepted: Callable[[], object]) -> bytes:
            return await self._listing.conversation(
                wanted.project_id, wanted.conversation_id, key, accepted
            )

        try:
            start = started_at_of(await self._asker.ask(wanted, send))
        except FetchError as error:
            _log.warning(
                "start.unknown",
                of=str(wanted),
                kind=error.kind,
                reason=error.message,
                correlation_id=error.correlation_id,
            )
            return None
        if start is None:
            _log.warning("start.unknown", of=str(wanted), reason="its description does not tell")
        return start


def _key(one: Conversation) -> tuple[str, str, str]:
    return one.account_id, one.project_id, one.conversation_id
