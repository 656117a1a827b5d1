"""The comparison of pairs in its thread: whole, or ended at once when the run is to end."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from exporter.ledger import Compared, LedgerThread, Pair
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    Recording,
    Redaction,
    RedactionEvidence,
)
from exporter.pairing import Pairing
from exporter.sandbox import AudioSettings, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from exporter.ledger import Ledger
    from exporter.sinks.base import Sink

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
WORLD = World(audio=AudioSettings(seconds=(0.3, 1.0), pii_share=1.0))
PIECE = 1000


class Files:
    """Holds files in memory, and hands them out in small pieces.

    Args:
        files: content by path.
        on_piece: awaited before each piece.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.opened = 0
        self.closed = 0
        self.on_piece: Callable[[], Any] = lambda: asyncio.sleep(0)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        if path not in self.files:
            raise FileNotFoundError(path)
        self.opened += 1
        try:
            for at in range(0, len(self.files[path]), PIECE):
                await self.on_piece()
                yield self.files[path][at : at + PIECE]
        finally:
            self.closed += 1


class Book:
    """Knows some pairs, and keeps what is found about them."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs
        self.compared: list[Compared] = []

    def pairs_to_compare(self, after: int, limit: int) -> tuple[int | None, list[Pair]]:
        page = self.pairs[after : after + min(limit, 2)]
        known = [one.pair for one in self.compared]
        new = [pair for pair in page if pair not in known]
        return (after + len(page), new) if page else (None, [])

    def pairs_among(self, numbers: Sequence[int]) -> list[Pair]:
        return [pair for pair in self.pairs if pair.conversation in numbers]

    def record_pairs(self, compared: list[Compared], _: datetime) -> None:
        self.compared += compared


def of(count: int) -> tuple[Book, Files]:
    files = {}
    pairs = []
    for number in range(count):
        name = f"CA{number}"
        held = []
        for redaction in (Redaction.RAW, Redaction.REDACTED):
            content = WORLD.call("a", "p", name).wav(redacted=redaction is Redaction.REDACTED)
            path = f"{name}.{redaction}"
            files[path] = content
            audio = AudioFormat("pcm_s16le", 8000, 1, 16, 1.0)
            digest = hashlib.sha256(content).hexdigest()
            held.append(Archived(path, len(content), digest, audio, NOW, "corr"))
        recording = Recording("a", "p", name, Direction.COMBINED, Redaction.RAW, NOW)
        pairs.append(Pair(number, recording, *held))
    return Book(pairs), Files(files)


def pairing_of(
    book: Book, files: Files, thread: LedgerThread, stop: asyncio.Event | None = None
) -> Pairing:
    return Pairing(
        cast("Sink", files),
        cast("Ledger", book),
        thread,
        credential_of=lambda account, project: f"{account}-{project}",
        stop=stop or asyncio.Event(),
    )


async def compared(book: Book, files: Files, stop: asyncio.Event | None = None) -> int:
    async with LedgerThread() as thread:
        return await pairing_of(book, files, thread, stop).run()


class Told(Book):
    """Says when something was recorded."""

    def __init__(self, pairs: list[Pair]) -> None:
        super().__init__(pairs)
        self.recorded = threading.Semaphore(0)

    def record_pairs(self, compared: list[Compared], now: datetime) -> None:
        super().record_pairs(compared, now)
        self.recorded.release()


async def test_a_damaged_pair_is_told_of_once() -> None:
    """What could not be read beside the downloads is not read and told of again after them."""
    plain, files = of(2)
    book = Told(plain.pairs)
    files.files["CA0.raw"] = b"something else"
    with structlog.testing.capture_logs() as told:
        async with LedgerThread() as thread:
            pairing = pairing_of(book, files, thread)
            beside = asyncio.create_task(pairing.beside())
            pairing.offer([0, 1])
            await asyncio.to_thread(book.recorded.acquire)
            pairing.close()
            await beside
            assert await pairing.run() == 1
    assert [one["event"] for one in told].count("pair.unreadable") == 1


async def test_pairs_are_compared_while_downloads_go_on() -> None:
    """What is offered is recorded before the downloads have ended, and the rest afterwards."""
    plain, files = of(5)
    book = Told(plain.pairs)
    async with LedgerThread() as thread:
        pairing = pairing_of(book, files, thread)
        beside = asyncio.create_task(pairing.beside())
        for offered in ([3], [], [0, 1]):
            pairing.offer(offered)
        for _ in range(2):
            await asyncio.to_thread(book.recorded.acquire)
        assert [one.pair.conversation for one in book.compared] == [3, 0, 1]
        pairing.close()
        await beside
        assert await pairing.run() == 5
    assert sorted(one.pair.conversation for one in book.compared) == list(range(5))


async def test_what_waits_too_long_is_compared_at_the_end() -> None:
    """A comparison slower than the downloads keeps a bounded number of them in mind."""
    book, files = of(3)
    async with LedgerThread() as thread:
        pairing = pairing_of(book, files, thread)
        for _ in range(1000):
            pairing.offer([0])
        assert pairing._archived.qsize() < 1000
        pairing.close()
        await pairing.beside()
        assert book.compared == []
        assert await pairing.run() == 3


async def test_a_stop_ends_what_goes_on_beside_the_downloads() -> None:
    """Once the run is to end, nothing that was offered is opened any more."""
    book, files = of(2)
    stop = asyncio.Event()
    stop.set()
    async with LedgerThread() as thread:
        pairing = pairing_of(book, files, thread, stop)
        pairing.offer([0, 1])
        await pairing.beside()
    assert (book.compared, files.opened) == ([], 0)


async def test_every_pair_is_compared() -> None:
    """All pages, each pair once, with the key's name and the spans that were muted."""
    book, files = of(5)
    assert await compared(book, files) == 5
    assert [one.pair for one in book.compared] == book.pairs
    for one in book.compared:
        spans = WORLD.call("a", "p", one.pair.recording.conversation_id).pii_spans
        assert one.credential == "a-p"
        assert one.proof.evidence is RedactionEvidence.CONFIRMED
        assert len(one.proof.muted_spans) == len(spans)
    assert files.opened == files.closed == 10


@pytest.mark.parametrize("damage", ["missing", "changed", "cut", "no audio"])
async def test_a_bad_file_gives_no_evidence(damage: str) -> None:
    """Missing, changed by a bit, cut or something else: no row, and the others are compared."""
    book, files = of(3)
    content = files.files["CA1.redacted"]
    changed = {
        "changed": content[:-1] + bytes([content[-1] ^ 1]),
        "cut": content[:-100],
        "no audio": b"<html>",
    }
    if damage == "missing":
        del files.files["CA1.redacted"]
    else:
        files.files["CA1.redacted"] = changed[damage]
    assert await compared(book, files) == 2
    assert [one.pair.conversation for one in book.compared] == [0, 2]
    assert files.opened == files.closed


async def test_a_run_that_is_to_end_compares_nothing() -> None:
    """After a stop no file is opened."""
    book, files = of(2)
    stop = asyncio.Event()
    stop.set()
    assert await compared(book, files, stop) == 0
    assert files.opened == 0


async def test_a_stop_ends_the_comparison_at_the_next_piece() -> None:
    """What was compared before is recorded; the pair under way is left to the next run."""
    book, files = of(4)
    stop = asyncio.Event()
    read = 0

    async def on_piece() -> None:
        nonlocal read
        read += stop.is_set()
        if files.opened == 3:
            stop.set()

    files.on_piece = on_piece
    assert await compared(book, files, stop) == 1
    assert len(book.compared) == 1
    assert read == 0
    assert files.opened == files.closed


async def test_a_cancelled_comparison_ends() -> None:
    """Cancelled in the middle of a file, it waits for its thread and leaves no file open."""
    book, files = of(2)
    reading = asyncio.Event()

    async def on_piece() -> None:
        reading.set()
        await asyncio.sleep(0)

    files.on_piece = on_piece
    task = asyncio.create_task(compared(book, files))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert book.compared == []
    assert files.opened == files.closed
