"""What every sink promises, proven on each of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.address import store_address
from exporter.sinks.base import (
    AlreadyExistsError,
    ChangedMeanwhileError,
    HeldError,
    Hold,
    Holder,
    Known,
    LostHoldError,
)
from exporter.sinks.digests import fastest
from exporter.sinks.folder_hold import FolderHold
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedHold, MountedSink
from exporter.sinks.object_store import ObjectStoreSink
from exporter.sinks.store_options import StoreOptions
from exporter.sinks.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.sinks.base import Sink
    from tests.object_stores import Azurite, Bucket

    OpenSink = Callable[..., Sink]

RUN = "20260101T000000Z-0001"
OTHER_RUN = "20260101T000000Z-0002"
PATH = "acme/shop/2026-01-01/CA1/combined.redacted.wav"


def in_folder(request: pytest.FixtureRequest) -> OpenSink:
    folder: Path = request.getfixturevalue("tmp_path") / "archive"
    return lambda run_id=RUN: LocalSink(folder, run_id=run_id, dir_mode=0o700, file_mode=0o600)


def in_folder_of_a_courier(request: pytest.FixtureRequest) -> OpenSink:
    folder: Path = request.getfixturevalue("tmp_path") / "archive"
    return lambda run_id=RUN: LocalSink(
        folder, run_id=run_id, dir_mode=0o700, file_mode=0o600, turns=Turns(fastest())
    )


def in_s3(request: pytest.FixtureRequest) -> OpenSink:
    bucket: Bucket = request.getfixturevalue("bucket")
    return in_store(request, bucket.server.environment(), bucket.url)


def in_azure(request: pytest.FixtureRequest) -> OpenSink:
    azurite: Azurite = request.getfixturevalue("azurite")
    return in_store(request, azurite.environment(), f"az://{azurite.new_container()}/calls")


def in_store(request: pytest.FixtureRequest, environment: dict[str, str], url: str) -> OpenSink:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    address = store_address(url)
    assert address is not None
    return lambda run_id=RUN: ObjectStoreSink(address, StoreOptions(), run_id=run_id)


def with_a_mount(request: pytest.FixtureRequest) -> OpenSink:
    folder: Path = request.getfixturevalue("tmp_path")

    def open_one(run_id: str = RUN) -> Sink:
        archive, raw = (
            LocalSink(folder / name, run_id=run_id, dir_mode=0o700, file_mode=0o600)
            for name in ("archive", "raw")
        )
        return MountedSink(archive, {"_raw": raw})

    return open_one


@pytest.fixture(params=[in_folder, in_folder_of_a_courier, with_a_mount, in_s3, in_azure])
def open_sink(request: pytest.FixtureRequest) -> OpenSink:
    """Opens one and the same archive, for one run or another."""
    opened: OpenSink = request.param(request)
    return opened


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


async def test_a_document_is_read_with_its_tag(sink: Sink) -> None:
    """What is read and the word for its version come from one look; what is not there is told."""
    path = "acme/shop/2026-01-01/manifest.json"
    written = await sink.replace(path, pieces(b"{", b"}"))
    tag, found = await sink.document(path)
    assert (tag, b"".join([piece async for piece in found])) == (written, b"{}")
    with pytest.raises(FileNotFoundError):
        await sink.document("acme/none")


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


async def test_a_document_is_replaced_only_where_it_is_the_known_one(sink: Sink) -> None:
    """Who knows another version, or none, is refused, and what is there stays."""
    path = "acme/manifest.json"
    with pytest.raises(ChangedMeanwhileError):
        await sink.replace(path, pieces(b"0"), known=Known("made up"))
    first = await sink.replace(path, pieces(b"[1]"), known=Known(None))
    before = await paths(sink)
    with pytest.raises(ChangedMeanwhileError):
        await sink.replace(path, pieces(b"[22]"), known=Known(None))
    second = await sink.replace(path, pieces(b"[333]"), known=Known(first))
    with pytest.raises(ChangedMeanwhileError):
        await sink.replace(path, pieces(b"[4444]"), known=Known(first))
    assert await content(sink, path) == b"[333]"
    assert await sink.tag(path) == second
    assert await paths(sink) == before


async def test_a_checksum_is_that_of_the_content_or_unknown(sink: Sink) -> None:
    """What the storage keeps of a recording is its SHA-256; it may keep none."""
    await sink.put(PATH, b"sound")
    assert await sink.checksum(PATH) in {None, hashlib.sha256(b"sound").hexdigest()}


async def test_sizes_of_many_files_are_told_in_order(sink: Sink) -> None:
    """However many are asked for, each has its size, also after something was written since."""
    wanted = [f"acme/shop/2026-01-01/CA{number}/combined.redacted.wav" for number in range(30)]
    for number, path in enumerate(wanted[:-1]):
        await sink.put(path, b"x" * number)
    assert await sink.sizes(wanted[::-1]) == [None, *reversed(range(29))]
    await sink.put(wanted[-1], b"new")
    assert await sink.sizes(wanted) == [*range(29), 3]


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
    begun = len(await paths(mine)) - len(kept)  # stores show none of it
    assert begun in {0, 2}
    assert await mine.sweep({OTHER_RUN}, ["acme"]) == 0
    assert await mine.sweep({"20260101T000000Z-0003"}, [folder]) == 0
    assert await mine.sweep({OTHER_RUN}, [folder, "acme/nowhere"]) == begun / 2
    assert len(await paths(mine)) == len(kept) + begun / 2
    assert await mine.sweep(None, None) == 0
    assert await open_sink(OTHER_RUN).sweep(None, None) == begun / 2
    assert await paths(mine) == kept
    for upload in left:
        await upload.abort()


def process_that_is_gone() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def drop_lock_of_system(hold: Hold) -> None:
    """As the kernel does when a process dies; stores have none."""
    for each in hold.holds if isinstance(hold, MountedHold) else [hold]:
        if isinstance(each, FolderHold):
            each._let_go_of_lock()


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


async def test_a_holder_that_was_taken_for_dead_learns_it(open_sink: OpenSink) -> None:
    """A run whose process is gone is taken over at once, and may not go on holding."""
    first, second = open_sink(), open_sink(OTHER_RUN)
    await first.prepare()
    here = os.uname().nodename
    dead = Holder(RUN, here, process_that_is_gone(), datetime(2026, 1, 1, tzinfo=UTC))
    alive = Holder(OTHER_RUN, here, os.getpid(), datetime(2026, 1, 2, tzinfo=UTC))
    lost = await first.hold(dead)
    drop_lock_of_system(lost)
    hold = await second.hold(alive)
    assert hold.taken_over_from == dead
    with pytest.raises(LostHoldError):
        await lost.beat()
    await lost.release()
    assert await second.holder() == alive
    await hold.beat()
    await hold.release()
    assert await second.holder() is None


async def test_free_space_is_known_or_unlimited(sink: Sink) -> None:
    """Free space is a number of bytes, or None where there is no limit."""
    free = await sink.free_bytes()
    assert free is None or free > 0
