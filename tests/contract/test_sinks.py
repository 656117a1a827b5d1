"""What every sink promises, proven on each of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.sinks.base import AlreadyExistsError, HeldError, Holder
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.sinks.base import Sink

    OpenSink = Callable[..., Sink]

RUN = "20260101T000000Z-0001"
OTHER_RUN = "20260101T000000Z-0002"
PATH = "acme/shop/2026-01-01/CA1/combined.redacted.wav"


def local(folder: Path, run_id: str) -> Sink:
    return LocalSink(folder / "archive", run_id=run_id, dir_mode=0o700, file_mode=0o600)


def with_a_mount(folder: Path, run_id: str) -> Sink:
    raw = LocalSink(folder / "raw", run_id=run_id, dir_mode=0o700, file_mode=0o600)
    return MountedSink(local(folder, run_id), {"_raw": raw})


@pytest.fixture(params=[local, with_a_mount])
def open_sink(request: pytest.FixtureRequest, tmp_path: Path) -> OpenSink:
    """Opens one and the same archive, for one run or another."""

    def open_one(run_id: str = RUN) -> Sink:
        sink: Sink = request.param(tmp_path, run_id)
        return sink

    return open_one


@pytest.fixture
async def sink(open_sink: OpenSink) -> Sink:
    opened = open_sink()
    await opened.prepare()
    return opened


async def content(sink: Sink, path: str) -> bytes:
    return b"".join([piece async for piece in sink.read(path)])


async def paths(sink: Sink) -> set[str]:
    return {entry.path async for batch in sink.entries() for entry in batch}


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def in_two_pieces(sink: Sink, path: str) -> None:
    upload = await sink.begin(path)
    try:
        await upload.write(b"sec")
        await upload.write(b"ond")
        await upload.commit()
    finally:
        await upload.abort()


async def test_a_small_file_is_read_back_as_it_was_put(sink: Sink) -> None:
    """What is put under a path is there, whole, with its size."""
    await sink.put(PATH, b"sound")
    await sink.make_durable([PATH])
    assert await content(sink, PATH) == b"sound"
    assert await sink.sizes([PATH, "acme/none"]) == [5, None]


async def test_a_file_in_pieces_is_invisible_until_committed(sink: Sink) -> None:
    """Nothing stands under the final path before commit; all of it does afterwards."""
    upload = await sink.begin(PATH)
    await upload.write(b"one")
    await upload.write(b"two")
    assert await sink.sizes([PATH]) == [None]
    await upload.commit()
    await upload.abort()
    assert await content(sink, PATH) == b"onetwo"
    assert upload.sha256 == hashlib.sha256(b"onetwo").hexdigest()


async def test_an_aborted_file_leaves_nothing(sink: Sink) -> None:
    """After abort neither the final path nor a temporary file is left."""
    before = await paths(sink)
    upload = await sink.begin(PATH)
    await upload.write(b"half")
    await upload.abort()
    await upload.abort()
    assert await paths(sink) == before


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_nothing_is_ever_overwritten(sink: Sink, *, in_pieces: bool) -> None:
    """A taken path is refused, with the digest of what is there, and nothing is left behind."""
    await sink.put(PATH, b"first")
    before = await paths(sink)
    with pytest.raises(AlreadyExistsError) as caught:
        await (in_two_pieces(sink, PATH) if in_pieces else sink.put(PATH, b"second"))
    assert caught.value.sha256 == hashlib.sha256(b"first").hexdigest()
    assert await content(sink, PATH) == b"first"
    assert await paths(sink) == before


async def test_a_damaged_file_is_set_aside_and_its_path_is_free_again(sink: Sink) -> None:
    """A file set aside keeps its content under another path."""
    await sink.put(PATH, b"damaged")
    aside = await sink.set_aside(PATH)
    await sink.put(PATH, b"sound")
    assert await content(sink, aside) == b"damaged"
    assert await content(sink, PATH) == b"sound"


async def test_a_file_that_is_gone_cannot_be_set_aside(sink: Sink) -> None:
    """Who wants to set aside what somebody removed meanwhile is told that there is none."""
    with pytest.raises(FileNotFoundError):
        await sink.set_aside(PATH)


async def test_a_document_is_replaced_whole_and_its_tag_changes(sink: Sink) -> None:
    """Documents are replaced in one step, and the tag tells that they were."""
    assert await sink.tag("acme/manifest.json") is None
    first = await sink.replace("acme/manifest.json", pieces(b"{", b"}"))
    assert await sink.tag("acme/manifest.json") == first
    second = await sink.replace("acme/manifest.json", pieces(b"[1]"))
    assert second != first
    assert await content(sink, "acme/manifest.json") == b"[1]"


async def test_a_document_that_breaks_off_changes_nothing(sink: Sink) -> None:
    """When the new document's source fails, the old one stays and no temporary file does."""

    async def breaking() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("broke off")

    await sink.replace("acme/manifest.json", pieces(b"old"))
    before = await paths(sink)
    with pytest.raises(RuntimeError):
        await sink.replace("acme/manifest.json", breaking())
    assert await content(sink, "acme/manifest.json") == b"old"
    assert await paths(sink) == before


async def test_feeding_gives_every_byte_in_order(sink: Sink) -> None:
    """`feed` hands on the whole content, and what the taker raises comes out."""
    body = bytes(range(256)) * 8192
    await sink.put(PATH, body)
    taken = bytearray()
    await sink.feed(PATH, taken.extend)
    assert taken == body
    with pytest.raises(FileNotFoundError):
        await sink.feed("acme/none", taken.extend)
    with pytest.raises(FileNotFoundError):
        await content(sink, "acme/none")


async def test_listings_show_files_and_folders(sink: Sink) -> None:
    """`entries` has every file below a folder with its size, `folders` only the next level."""
    await sink.put(PATH, b"12345")
    await sink.put("acme/shop/2026-01-02/CA2/user.raw.wav", b"1")
    found = {entry.path: entry.size async for batch in sink.entries("acme") for entry in batch}
    assert found == {PATH: 5, "acme/shop/2026-01-02/CA2/user.raw.wav": 1}
    assert await sink.folders("acme/shop") == ["acme/shop/2026-01-01", "acme/shop/2026-01-02"]
    assert await sink.folders("nowhere") == []


async def test_sweeping_removes_what_a_dead_run_left_and_nothing_else(open_sink: OpenSink) -> None:
    """Only temporary files of the named runs, only in the named folders, never this run's own."""
    dead, mine = open_sink(OTHER_RUN), open_sink()
    await mine.prepare()
    await mine.put("acme/shop/2026-01-01/CA0/combined.redacted.wav", b"sound")
    kept = await paths(mine)
    left = [await dead.begin(PATH), await mine.begin("acme/shop/2026-01-01/CA2/user.raw.wav")]
    for upload in left:
        await upload.write(b"half")
    folder = PATH.rpartition("/")[0]
    assert await mine.sweep({OTHER_RUN}, ["acme"]) == 0
    assert await mine.sweep({"20260101T000000Z-0003"}, [folder]) == 0
    assert await mine.sweep({OTHER_RUN}, [folder, "acme/nowhere"]) == 1
    assert len(await paths(mine)) == len(kept) + 1
    assert await mine.sweep(None, None) == 0
    assert await open_sink(OTHER_RUN).sweep(None, None) == 1
    assert await paths(mine) == kept
    for upload in left:
        await upload.abort()


async def test_one_run_at_a_time_holds_the_archive(open_sink: OpenSink) -> None:
    """The second one is told who holds it, and gets it once the first lets go."""
    first, second = open_sink(), open_sink(OTHER_RUN)
    await first.prepare()
    me = Holder(RUN, "here", 1, datetime(2026, 1, 1, tzinfo=UTC))
    other = Holder(OTHER_RUN, "here", 2, datetime(2026, 1, 2, tzinfo=UTC))
    hold = await first.hold(me)
    await hold.beat()
    with pytest.raises(HeldError) as caught:
        await second.hold(other)
    assert caught.value.holder == me
    await hold.release()
    await hold.release()
    taken = await second.hold(other)
    assert taken.taken_over_from is None
    await taken.release()


async def test_free_space_is_known_or_unlimited(sink: Sink) -> None:
    """Free space is a number of bytes, or None where there is no limit."""
    free = await sink.free_bytes()
    assert free is None or free > 0
