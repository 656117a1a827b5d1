"""From a stream of bytes to a committed file, or to nothing at all."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import DestinationError, ErrorKind, FetchError
from exporter.ledger import Ledger, LedgerThread
from exporter.model import Outcome, Status
from exporter.recorder import Recorder
from exporter.sinks.digests import fastest
from exporter.sinks.filesystem import FileSystem
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedSink
from exporter.sinks.object_upload import ObjectUpload
from exporter.sinks.requests import Requests
from exporter.sinks.room import Room
from exporter.sinks.turns import Turns
from exporter.writer import GATHER_BYTES, WHOLE_BYTES, Writer
from tests.memory import peak_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from pathlib import Path

    from exporter.model import Piece
    from exporter.sinks.base import Sink

PATH = "acme/shop/2026-05-21/CA1/combined.redacted.wav"
HEADER_BYTES = 44
UNLIMITED = 1 << 40


def wav(size: int, *, fill: int = 0x55) -> bytes:
    """A whole WAV file of exactly so many bytes: 8 bit, 8000 frames a second."""
    data = size - HEADER_BYTES
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    head = struct.pack("<4sI4s", b"RIFF", size - 8, b"WAVE") + fmt
    return head + struct.pack("<4sI", b"data", data) + bytes([fill]) * data


async def pieces(body: bytes, size: int = 100_000) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def then(body: bytes, error: Exception) -> AsyncGenerator[bytes]:
    async for piece in pieces(body):
        yield piece
    raise error


def sink_in(folder: Path, system: FileSystem | None = None, *, blocking: bool = False) -> LocalSink:
    return LocalSink(
        folder,
        run_id="run",
        dir_mode=0o700,
        file_mode=0o600,
        system=system,
        turns=Turns(fastest()) if blocking else None,
    )


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "size",
    [
        HEADER_BYTES + 2,
        WHOLE_BYTES - 2,
        WHOLE_BYTES,
        WHOLE_BYTES + 2,
        GATHER_BYTES - 2,
        GATHER_BYTES,
        GATHER_BYTES + 2,
        2 * GATHER_BYTES,
        5 * GATHER_BYTES + 12,
    ],
)
@pytest.mark.parametrize("piece", [4096, 100_000, GATHER_BYTES, 10 * GATHER_BYTES])
@pytest.mark.parametrize("blocking", [False, True], ids=["threads", "event loop"])
async def test_a_whole_recording_is_written_as_it_came(
    size: int, piece: int, blocking: bool, tmp_path: Path
) -> None:
    """Around the size where the way of writing changes, file, size, digest and format are right."""
    body = wav(size)
    writer = Writer(sink_in(tmp_path, blocking=blocking), max_bytes=UNLIMITED)
    written = await writer.write(pieces(body, piece), PATH)
    assert (tmp_path / PATH).read_bytes() == body
    assert written.size == size
    assert written.sha256 == hashlib.sha256(body).hexdigest()
    assert written.audio.codec == "pcm_u8"
    assert written.audio.duration_seconds == pytest.approx((size - HEADER_BYTES) / 8000)
    assert files_in(tmp_path) == [tmp_path / PATH]


@pytest.mark.parametrize("size", [WHOLE_BYTES - 1, WHOLE_BYTES + 1])
async def test_odd_sizes_at_the_border(size: int, tmp_path: Path) -> None:
    """One byte below and above the border, where the last chunk lacks its pad byte, is fine too."""
    body = wav(size)
    written = await Writer(sink_in(tmp_path), max_bytes=UNLIMITED).write(pieces(body), PATH)
    assert (written.size, (tmp_path / PATH).read_bytes()) == (size, body)


@pytest.mark.parametrize("total", [2 * HEADER_BYTES, GATHER_BYTES, 3 * GATHER_BYTES + 100])
@given(share=st.floats(0, 1, exclude_max=True), piece=st.integers(1000, GATHER_BYTES))
def test_a_cut_recording_leaves_nothing(
    total: int, share: float, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever a body ends too early, no file of any name is left, and the error says so."""
    folder = tmp_path_factory.mktemp("archive", numbered=True)
    body = wav(total)[: int(total * share)]
    writer = Writer(sink_in(folder), max_bytes=UNLIMITED)
    with pytest.raises(FetchError) as caught:
        asyncio.run(writer.write(pieces(body, piece), PATH))
    assert caught.value.kind in {ErrorKind.TRUNCATED, ErrorKind.NOT_AUDIO}
    assert files_in(folder) == []


@pytest.mark.parametrize("before", [0, 1000, GATHER_BYTES, 3 * GATHER_BYTES])
@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        (b"<html>", ErrorKind.SIZE_MISMATCH),
        (b"RIFF\0\0\0\0WAVE", ErrorKind.SIZE_MISMATCH),
    ],
)
async def test_rubbish_behind_the_end_is_refused(
    before: int, tail: bytes, kind: ErrorKind, tmp_path: Path
) -> None:
    """What follows a whole recording makes it suspect, however late it comes."""
    body = wav(HEADER_BYTES + 2 + before) + tail
    with pytest.raises(FetchError) as caught:
        await Writer(sink_in(tmp_path), max_bytes=UNLIMITED).write(pieces(body), PATH)
    assert caught.value.kind is kind
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [2000, 3 * GATHER_BYTES])
async def test_a_body_over_the_limit_is_refused(size: int, tmp_path: Path) -> None:
    """A body of one byte more than allowed is not kept; one of exactly the limit is."""
    with pytest.raises(FetchError) as caught:
        await Writer(sink_in(tmp_path), max_bytes=size - 1).write(pieces(wav(size)), PATH)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert files_in(tmp_path) == []
    await Writer(sink_in(tmp_path), max_bytes=size).write(pieces(wav(size)), PATH)
    assert files_in(tmp_path) == [tmp_path / PATH]


@pytest.mark.parametrize("size", [0, 1000, WHOLE_BYTES + 1, 4 * GATHER_BYTES])
async def test_a_broken_connection_leaves_nothing(size: int, tmp_path: Path) -> None:
    """An error of the stream comes out as it is, and what was written is gone."""
    error = FetchError(ErrorKind.CONNECTION_LOST, "lost")
    body = wav(5 * GATHER_BYTES)[:size]
    with pytest.raises(FetchError) as caught:
        await Writer(sink_in(tmp_path), max_bytes=UNLIMITED).write(then(body, error), PATH)
    assert caught.value is error
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1000, WHOLE_BYTES + 1, 4 * GATHER_BYTES])
async def test_cancelling_leaves_nothing(size: int, tmp_path: Path) -> None:
    """A worker that is cancelled while it waits for bytes removes its temporary file first."""
    waiting = asyncio.Event()
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        try:
            async for piece in pieces(wav(5 * GATHER_BYTES)[:size]):
                yield piece
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    writer = Writer(sink_in(tmp_path), max_bytes=UNLIMITED)
    task = asyncio.create_task(writer.write(endless(), PATH))
    await waiting.wait()
    assert len(files_in(tmp_path)) == (size > WHOLE_BYTES)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [1000, GATHER_BYTES, 3 * GATHER_BYTES])
async def test_the_same_content_is_taken_over(size: int, tmp_path: Path) -> None:
    """A file that a killed run committed and did not record is taken over if it is the same."""
    writer = Writer(sink_in(tmp_path), max_bytes=UNLIMITED)
    first = await writer.write(pieces(wav(size)), PATH)
    inode = (tmp_path / PATH).stat().st_ino
    assert await writer.write(pieces(wav(size), 999), PATH) == first
    assert (tmp_path / PATH).stat().st_ino == inode
    assert files_in(tmp_path) == [tmp_path / PATH]


@pytest.mark.parametrize("size", [1000, GATHER_BYTES, 3 * GATHER_BYTES])
@pytest.mark.parametrize("there", [b"", b"something else", wav(1000, fill=0x11)])
async def test_other_content_is_left_alone(size: int, there: bytes, tmp_path: Path) -> None:
    """A file that nobody recorded is never overwritten: the recording fails and says what to do."""
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(there)
    with pytest.raises(FetchError, match="move it away and run again") as caught:
        await Writer(sink_in(tmp_path), max_bytes=UNLIMITED).write(pieces(wav(size)), PATH)
    assert caught.value.kind is ErrorKind.DESTINATION_CONFLICT
    assert PATH in caught.value.message
    assert (tmp_path / PATH).read_bytes() == there
    assert files_in(tmp_path) == [tmp_path / PATH]


@pytest.mark.parametrize("size", [1000, 3 * GATHER_BYTES])
async def test_an_archive_that_cannot_be_written_ends_the_stream(size: int, tmp_path: Path) -> None:
    """Where the folder cannot be made, the error is the archive's."""
    (tmp_path / "acme").write_text("a file stands in the way")
    with pytest.raises(DestinationError):
        await Writer(sink_in(tmp_path), max_bytes=UNLIMITED).write(pieces(wav(size)), PATH)
    assert files_in(tmp_path) == [tmp_path / "acme"]


@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=12))
def test_the_pieces_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, sizes: Iterable[int]
) -> None:
    """However a body is cut into pieces on its way, the same bytes are handed on and hashed."""
    body = wav(sum(sizes) + HEADER_BYTES)

    async def cut() -> AsyncGenerator[bytes]:
        rest = body
        for size in sizes:
            yield rest[:size]
            rest = rest[size:]
        yield rest

    folder = tmp_path_factory.mktemp("archive", numbered=True)
    written = asyncio.run(Writer(sink_in(folder), max_bytes=UNLIMITED).write(cut(), PATH))
    assert (folder / PATH).read_bytes() == body
    assert written.sha256 == hashlib.sha256(body).hexdigest()


class HaltingFileSystem(FileSystem):
    """Says when a file is about to get its final name, and waits until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.may_go_on = threading.Event()

    def link(self, source: Path | str, target: Path | str) -> None:
        self.arrived.set()
        self.may_go_on.wait()
        super().link(source, target)


class SlowToCreate(HaltingFileSystem):
    """Waits at the creation of a file instead."""

    def create(self, path: Path | str, mode: int) -> int:
        self.arrived.set()
        self.may_go_on.wait()
        return super().create(path, mode)


@pytest.mark.parametrize("size", [1000, 3 * GATHER_BYTES])
async def test_cancelling_too_late_loses_no_record(size: int, tmp_path: Path) -> None:
    """Who is cancelled while the file gets its final name can still tell of it, then is ended."""
    system = HaltingFileSystem()
    writer = Writer(sink_in(tmp_path, system), max_bytes=UNLIMITED)
    told = []

    async def work() -> None:
        told.append(await writer.write(pieces(wav(size)), PATH))
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.to_thread(system.arrived.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(system.may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [written.size for written in told] == [len(wav(size))]
    assert files_in(tmp_path) == [tmp_path / PATH]


async def test_an_outcome_is_handed_over_even_by_who_is_cancelled(tmp_path: Path) -> None:
    """A worker that is cancelled while it waits for a slow disk has left its outcome there."""
    ended: list[Outcome] = []

    async def committed(_: Sequence[int]) -> None:
        """Nothing."""

    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, None)
        await thread.run(ledger.begin_run, "run", datetime.now(UTC))
        recorder = Recorder(sink_in(tmp_path), ledger, thread, ended.append, committed)
        outcome = Outcome(Status.NOT_FOUND)
        workers = [asyncio.create_task(recorder.put(seq, outcome)) for seq in range(2000)]
        await asyncio.wait(workers[:500])
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        assert workers[-1].cancelled()
        recorder.close()
        await recorder.run()
        await thread.run(ledger.close)
    assert len(ended) == len(workers)


async def test_outcomes_that_come_one_after_another_are_committed_together(tmp_path: Path) -> None:
    """A transaction costs as much as ten outcomes: the first one waits a moment for others."""
    commits = []

    async def committed(seqs: Sequence[int]) -> None:
        commits.append(seqs)

    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, None)
        await thread.run(ledger.begin_run, "run", datetime.now(UTC))
        sink = sink_in(tmp_path)
        recorder = Recorder(sink, ledger, thread, lambda _: None, committed, patience=600)
        recording = asyncio.create_task(recorder.run())
        for seq in range(20):
            await recorder.put(seq, Outcome(Status.NOT_FOUND))
            await asyncio.sleep(0)
        recorder.close()
        await recording
        await thread.run(ledger.close)
    assert len(commits) == 1


@pytest.mark.parametrize("how", ["begin", "replace"])
async def test_a_file_created_for_nobody_is_removed(how: str, tmp_path: Path) -> None:
    """Who is cancelled while the temporary file is created leaves none, and can begin again."""
    system = SlowToCreate()
    sink = sink_in(tmp_path, system)

    async def work() -> None:
        await (sink.begin(PATH) if how == "begin" else sink.replace(PATH, pieces(b"new")))

    task = asyncio.create_task(work())
    await asyncio.to_thread(system.arrived.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(system.may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(tmp_path) == []
    await (await sink.begin(PATH)).abort()


MANY = 5  # as many threads as the standard pool has on any machine
PATIENCE = 60  # seconds, until what would wait for ever fails


class WaitingForAll(FileSystem):
    """Writes when all have come."""

    def __init__(self) -> None:
        super().__init__()
        self._all = threading.Barrier(MANY)

    def write(self, descriptor: int, *parts: Piece) -> None:
        self._all.wait(PATIENCE)
        super().write(descriptor, *parts)


class FullStore:
    """Takes recordings as an object store does, when all have come; keeps none."""

    def __init__(self) -> None:
        self._requests = Requests()
        self._room = Room(MANY * WHOLE_BYTES)
        self._count = 0

    async def begin(self, _: str) -> ObjectUpload:
        if self._count == 0:
            await self._room.take(self, MANY * WHOLE_BYTES)
        self._count += 1
        if self._count == MANY:
            asyncio.get_running_loop().call_later(0.1, self._room.leave, self)
        none: Any = lambda *_: None  # noqa: E731
        return ObjectUpload(
            self._requests, self._room, create=none, open_parts=none, check_free=none
        )


@pytest.mark.parametrize("size", [GATHER_BYTES, WHOLE_BYTES])
@pytest.mark.parametrize("where", ["folder", "mounted", "store"])
def test_what_waits_to_be_written_is_in_memory_once(size: int, where: str, tmp_path: Path) -> None:
    """However many parts a recording came in, and however many recordings wait together."""
    body = wav(size)
    folders = (tmp_path / str(number) for number in range(100))

    def sink() -> Sink:
        if where == "store" and size == WHOLE_BYTES:
            return cast("Sink", FullStore())
        folder = sink_in(next(folders), WaitingForAll())
        return folder if where == "folder" else MountedSink(sink_in(tmp_path), {"raw": folder})

    async def write_all(writer: Writer) -> None:
        begin = "raw/" if where == "mounted" else ""
        paths = [f"{begin}{number}.wav" for number in range(MANY)]
        await asyncio.gather(*(writer.write(pieces(body), path) for path in paths))

    peak = peak_of(lambda: asyncio.run(write_all(Writer(sink(), max_bytes=UNLIMITED))))
    assert MANY * size < peak < 1.4 * MANY * size
