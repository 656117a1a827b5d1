"""A run's windows: listed into the spool, entered into the ledger, compared with earlier runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from exporter.certificate import listed_text, query_text, window_text
from exporter.discovery import Discovery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.api import Api
    from exporter.discovery import Discovered
    from exporter.ledger import Ledger, LedgerThread
    from exporter.spool import Spool
    from exporter.window import Window

_log = structlog.get_logger()


class Survey:
    """Looks for conversations, and remembers what was where.

    Args:
        api: is asked.
        ledger: of the run, which has begun in it.
        thread: of the ledger.
    """

    def __init__(self, api: Api, ledger: Ledger, thread: LedgerThread) -> None:
        self._discovery = Discovery(api.asker, api.listing)
        self._ledger = ledger
        self._thread = thread
        self._found: dict[int, Discovered] = {}

    async def discover(self, windows: Sequence[Window], spool: Spool) -> None:
        """List the windows into the spool, each as far as it goes.

        Raises:
            DestinationError: the ledger cannot be written, or there is no room for what is found.
        """
        for window in windows:
            number = await self._thread.run(
                self._ledger.begin_window,
                window_text(window),
                query_text(window),
                window.start,
                window.end,
            )
            found = await self._discovery.discover(window, partial(spool.fill, window=number))
            told = listed_text(
                found=found.found,
                left_out={reason.value: count for reason, count in found.left_out.items()},
                pages=found.pages,
                error=found.error,
            )
            await self._thread.run(self._ledger.window_listed, number, told)
            self._found[number] = found

    async def compare(self, *, expired_before: datetime | None) -> None:
        """Notice what the lists lack that earlier runs found there; everything is planned.

        Args:
            expired_before: what began before is not expected to be there; None: all is.
        """
        for number, found in self._found.items():
            if found.error is not None or found.window.filters.is_retrieval:
                continue
            shrinkage = await self._thread.run(
                self._ledger.compare_window, number, expired_before=expired_before
            )
            if shrinkage.missing:
                _log.error(
                    "discover.shrunk",
                    window=str(found.window),
                    missing=shrinkage.missing,
                    conversations=", ".join(shrinkage.named),
                )
