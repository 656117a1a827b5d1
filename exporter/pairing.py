"""Compares raw with redacted recordings, beside the downloads, as soon as both are archived.

One pair after another, in a thread of its own: the comparison is Python code, and more threads
would only take turns. What it has not reached when the downloads have ended comes then, with what
was archived before the run and never compared. A run that is to end leaves the rest to the next
one, which finds it in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from exporter.comparison import Comparison, compare
from exporter.errors import DestinationError, FetchError
from exporter.ledger import Compared
from exporter.model import Proof, RedactionEvidence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from exporter.ledger import Ledger, LedgerThread, Pair
    from exporter.model import Archived, Recording
    from exporter.sinks.base import Sink

_PAGE = 500  # recordings compared and recorded at a time
_WAITING = 100  # batches of recordings; of more the ledger tells when the downloads have ended
_MOST_SPANS_LOGGED = 10
_MOST_REMEMBERED = 1000  # damaged pairs; more of them are read and told of twice

_log = structlog.get_logger()


class Pairing:
    """Compares the pairs that a run has touched.

    Args:
        sink: the files are read through it.
        credential_of: name of the key of an account and project.
        stop: once set, nothing more is read.
    """

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        thread: LedgerThread,
        *,
        credential_of: Callable[[str, str], str],
        stop: asyncio.Event,
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._thread = thread
        self._credential_of = credential_of
        self._stop = stop
        self._archived: asyncio.Queue[Sequence[int] | None] = asyncio.Queue()
        self._count = 0
        self._unreadable: set[Recording] = set()

    def offer(self, numbers: Sequence[int]) -> None:
        """These recordings of the run are archived now, as the ledger numbers them."""
        if numbers and self._archived.qsize() < _WAITING:
            self._archived.put_nowait(numbers)

    def close(self) -> None:
        """Nothing more is downloaded: `beside` ends, and leaves what is waiting to `run`."""
        while not self._archived.empty():
            self._archived.get_nowait()
        self._archived.put_nowait(None)

    async def beside(self) -> None:
        """Compare what is offered, while the downloads go on.

        Raises:
            DestinationError: the ledger cannot be read or written.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="pairs") as executor:
            while (numbers := await self._archived.get()) and not self._stop.is_set():
                pairs = await self._thread.run(self._ledger.pairs_among, numbers)
                await self._compare_all(pairs, executor)

    async def run(self) -> int:
        """Compare whatever has not been compared; returns how many pairs the run compared in all.

        Raises:
            DestinationError: the ledger cannot be read or written.
        """
        last: int | None = 0
        with ThreadPoolExecutor(1, thread_name_prefix="pairs") as executor:
            while last is not None and not self._stop.is_set():
                last, pairs = await self._thread.run(self._ledger.pairs_to_compare, last, _PAGE)
                await self._compare_all(pairs, executor)
        if self._count:
            _log.info("pairs.compared", pairs=self._count)
        return self._count

    async def _compare_all(self, pairs: list[Pair], executor: ThreadPoolExecutor) -> None:
        compared = [one async for one in self._compared(pairs, executor)]
        if compared:
            await self._thread.run(self._ledger.record_pairs, compared, datetime.now(UTC))
        self._count += len(compared)

    async def _compared(
        self, pairs: list[Pair], executor: ThreadPoolExecutor
    ) -> AsyncIterator[Compared]:
        for pair in pairs:
            if pair.recording in self._unreadable:
                continue
            try:
                found = await self._compare(pair, executor)
            except _StoppedError:
                return
            except (FetchError, DestinationError, FileNotFoundError, _DamagedError) as error:
                _log.warning(
                    "pair.unreadable",
                    recording=str(pair.recording),
                    reason=getattr(error, "message", "") or str(error),
                    consequence="not compared; --recheck fetches damaged files again",
                )
                if len(self._unreadable) < _MOST_REMEMBERED:
                    self._unreadable.add(pair.recording)
                continue
            _tell(pair, found)
            recording = pair.recording
            credential = self._credential_of(recording.account_id, recording.project_id)
            yield Compared(pair, Proof(found.evidence, found.muted_spans), credential)

    async def _compare(self, pair: Pair, executor: ThreadPoolExecutor) -> Comparison:
        """What a pair shows; both files are proven to be those on record on the way."""
        loop = asyncio.get_running_loop()
        given_up = threading.Event()

        def work() -> Comparison:
            with contextlib.ExitStack() as stack:
                files = [
                    _File(one, self._sink.read(one.path), loop, self._is_over(given_up))
                    for one in (pair.raw, pair.redacted)
                ]
                for file in files:
                    stack.callback(file.close)
                found = compare(*(iter(file) for file in files))
                for file in files:
                    file.check()
                return found

        future = loop.run_in_executor(executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            given_up.set()
            await asyncio.wait([future])  # the thread needs this loop to end
            if not future.cancelled():
                future.exception()
            raise

    def _is_over(self, given_up: threading.Event) -> Callable[[], bool]:
        return lambda: given_up.is_set() or self._stop.is_set()


class _StoppedError(Exception):
    """The run is to end."""


class _DamagedError(Exception):
    """A file is not the one on record."""


class _File:
    """A file of the archive for a thread, read by the event loop.

    Args:
        archived: what is on record.
        pieces: its bytes.
        loop: reads them.
        is_over: nothing more is to be read.
    """

    def __init__(
        self,
        archived: Archived,
        pieces: AsyncIterator[bytes],
        loop: asyncio.AbstractEventLoop,
        is_over: Callable[[], bool],
    ) -> None:
        self._archived = archived
        self._pieces = pieces
        self._loop = loop
        self._is_over = is_over
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._next()) is not None:
            self._digest.update(piece)
            yield piece

    def _next(self) -> bytes | None:
        if self._is_over():
            raise _StoppedError

        async def read() -> bytes | None:
            return await anext(self._pieces, None)

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result()

    def check(self) -> None:
        """Make sure that all that was read is what is on record."""
        if self._digest.hexdigest() != self._archived.sha256:
            raise _DamagedError(f"{self._archived.path} is damaged: its SHA-256 is another one")

    def close(self) -> None:
        """Close the file, also where it was not read to its end."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            asyncio.run_coroutine_threadsafe(close(), self._loop).result()


def _tell(pair: Pair, found: Comparison) -> None:
    recording = pair.recording
    facts = {
        "recording": f"{recording.account_id}/{recording.project_id}/{recording.conversation_id}"
        f" {recording.direction}",
        "reason": found.problem,
    }
    if found.evidence is RedactionEvidence.INCONSISTENT:
        spans = {
            "muted": found.muted_spans,
            "muted_in_raw": found.raw_muted_spans,
            "differing": found.differing_spans,
        }
        _log.warning(
            "pair.inconsistent",
            **facts,
            **{name: list(each[:_MOST_SPANS_LOGGED]) for name, each in spans.items() if each},
            hint="listen to both before relying on either",
        )
    elif found.evidence is RedactionEvidence.UNPAIRED:
        _log.warning("pair.not_comparable", **facts)
