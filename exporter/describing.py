"""The run's conversations get their descriptions: `conversation.json` beside the recordings.

It is a stage of its own, after the recordings: what fails here fails no recording, and a key or a
host that is refused here ends this stage only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from exporter.errors import ErrorKind, FetchError
from exporter.layout import METADATA
from exporter.ledger import Undescribed
from exporter.metadata import describe
from exporter.model import KeptMetadata, Status
from exporter.pool import run_pool
from exporter.results import MetadataCounts
from exporter.sinks.base import AlreadyExistsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from exporter.asking import Asker
    from exporter.errors import ExporterError
    from exporter.ledger import Ledger, LedgerThread, ToDescribe
    from exporter.listing import Listing
    from exporter.metadata import Description
    from exporter.model import MetadataPii
    from exporter.sinks.base import Sink

_PAGE: Final = 500
_BATCH: Final = 64  # descriptions recorded in one transaction
_MISSING: Final = frozenset({ErrorKind.CONVERSATION_NOT_FOUND, ErrorKind.GONE})

_log = structlog.get_logger()


class Describing:
    """Asks for descriptions, and writes and records them.

    Args:
        make_asker: makes what sends the requests, and is told what to call when there is no point
            in going on: what it learns of keys and hosts speaks of this stage only.
        listing: knows the API for one conversation.
        sink: the archive.
        ledger: knows what is described, and learns it.
        thread: of the ledger.
        pii: what is archived of personal data.
        refresh: ask again for what is archived.
        projects: of which what earlier runs left is asked for, too; (account, project).
        origin: the API's address that they left it at.
        concurrency: conversations at a time.
        stop: once set, nothing more is asked for.
        now: what time it is.
    """

    def __init__(
        self,
        *,
        make_asker: Callable[[Callable[[ExporterError], None]], Asker],
        listing: Listing,
        sink: Sink,
        ledger: Ledger,
        thread: LedgerThread,
        pii: MetadataPii,
        refresh: bool,
        projects: Sequence[tuple[str, str]],
        origin: str,
        concurrency: int,
        stop: asyncio.Event,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._asker = make_asker(self._give_up)
        self._listing = listing
        self._sink = sink
        self._ledger = ledger
        self._thread = thread
        self._pii = pii
        self._refresh = refresh
        self._projects = projects
        self._origin = origin
        self._concurrency = concurrency
        self._stop = stop
        self._now = now
        self._given_up = asyncio.Event()
        self._counts: Counter[Status] = Counter()
        self._errors: Counter[str] = Counter()
        self._written: list[tuple[ToDescribe, KeptMetadata]] = []
        self._failed: list[Undescribed] = []
        self._total = 0
        self._recording = asyncio.Lock()

    def _give_up(self, error: ExporterError) -> None:
        if not self._given_up.is_set():
            _log.error("metadata.given_up", reason=error.message, hint=error.hint)
        self._given_up.set()

    async def run(self) -> None:
        """Describe what is not described yet.

        Raises:
            DestinationError: the archive or the ledger cannot be written.
        """
        self._total = await self._thread.run(
            self._ledger.begin_describing, self._projects, self._origin
        )
        try:
            await run_pool(
                self._conversations(), self._handle, concurrency=self._concurrency, stop=self._stop
            )
        finally:
            await self._record()

    def finished(self) -> MetadataCounts:
        """What came of it; what was not looked at any more is cancelled."""
        self._counts[Status.CANCELLED] += max(0, self._total - self._counts.total())
        if cancelled := self._counts[Status.CANCELLED]:  # those that nobody had begun with, too
            self._errors[ErrorKind.CANCELLED] = cancelled
        numbers = {
            str(each): self._counts[each]
            for each in (
                Status.EXPORTED,
                Status.SKIPPED,
                Status.NOT_FOUND,
                Status.FAILED,
                Status.CANCELLED,
            )
        }
        return MetadataCounts(
            requested=sum(numbers.values()), **numbers, errors=dict(sorted(self._errors.items()))
        )

    async def _conversations(self) -> AsyncIterator[ToDescribe]:
        last = 0
        while page := await self._thread.run(self._ledger.to_describe, last, _PAGE):
            held = [one.held.path for one in page if one.held]
            sizes = dict(zip(held, await self._sink.sizes(held), strict=True))
            for one in page:
                if self._is_there(one, sizes):
                    self._counts[Status.SKIPPED] += 1
                else:
                    yield one
            last = page[-1].number

    def _is_there(self, one: ToDescribe, sizes: dict[str, int | None]) -> bool:
        held = one.held
        if held is None or self._refresh or not held.is_final or held.pii is not self._pii:
            return False
        return sizes[held.path] == held.size

    async def _handle(self, one: ToDescribe) -> None:
        if self._given_up.is_set():
            self._counts[Status.CANCELLED] += 1
            return
        conversation = one.conversation

        async def send(key: str, accepted: Callable[[], object]) -> bytes:
            return await self._listing.conversation(
                conversation.project_id, conversation.conversation_id, key, accepted
            )

        try:
            given = await self._asker.ask(conversation, send)
            description = describe(given, self._pii)
        except FetchError as error:
            await self._fail(one, error.kind, error.message, error.correlation_id)
        except ValueError as error:
            await self._fail(one, ErrorKind.UNREADABLE, str(error), None)
        else:
            await self._write(one, description)

    async def _fail(
        self, one: ToDescribe, kind: ErrorKind, message: str, correlation_id: str | None
    ) -> None:
        status = Status.FAILED
        if kind in _MISSING:
            status = Status.NOT_FOUND
        elif kind is ErrorKind.CANCELLED:
            status = Status.CANCELLED
        self._counts[status] += 1
        self._errors[kind] += 1
        _log.warning(
            f"metadata.{status}",
            conversation=str(one.conversation),
            kind=kind,
            reason=message,
            correlation_id=correlation_id,
        )
        if status is not Status.CANCELLED:  # which the end of the run notes
            is_missing = status is Status.NOT_FOUND
            self._failed.append(Undescribed(one.number, is_missing, (kind, message)))
            await self._record_some()

    async def _write(self, one: ToDescribe, description: Description) -> None:
        path = one.held.path if one.held else f"{one.folder}/{METADATA}"
        content = description.content
        digest = hashlib.sha256(content).hexdigest()
        if one.held is None:
            await self._put(path, content, digest)
        else:
            await self._sink.replace(path, _once(content))
        kept = KeptMetadata(
            path, len(content), digest, self._pii, description.is_final, self._now()
        )
        self._counts[Status.EXPORTED] += 1
        self._written.append((one, kept))
        await self._record_some()

    async def _put(self, path: str, content: bytes, digest: str) -> None:
        """Give it its name; a file that nobody recorded is kept beside it."""
        try:
            await self._sink.put(path, content)
        except AlreadyExistsError as error:
            if error.sha256 == digest:
                return
            aside = await self._sink.set_aside(path)
            _log.warning("metadata.set_aside", path=aside)
            await self._sink.put(path, content)

    async def _record_some(self) -> None:
        if max(len(self._written), len(self._failed)) >= _BATCH:
            await self._record()

    async def _record(self) -> None:
        """First the names are durable, then the ledger tells of them."""
        async with self._recording:
            failed, self._failed = self._failed, []
            if failed:
                await self._thread.run(self._ledger.note_undescribed, failed, self._now())
            batch, self._written = self._written, []
            if batch:
                await self._sink.make_durable(kept.path for _, kept in batch)
                await self._thread.run(self._ledger.record_metadata, batch)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
