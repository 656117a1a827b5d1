"""Courier processes: what is said arrives whole and in order, and what must not be sent is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from exporter.client import Client
from exporter.connections import Timeouts
from exporter.courier_process import serve
from exporter.couriers.dispatcher import Dispatcher
from exporter.couriers.equipment import Equipment, shared_folders
from exporter.couriers.messages import (
    FOR_COURIERS,
    FROM_COURIERS,
    Equip,
    Errand,
    FromCourier,
    Line,
    Ready,
    Recall,
    Recalled,
    ToCourier,
)
from exporter.errors import CourierLostError, DestinationError, PolicyError
from exporter.model import Direction, Recording, Redaction, Surface
from exporter.sinks.base import HeldError, Holder
from exporter.sinks.folder_hold import FolderHold
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.couriers.courier import Delivery
    from exporter.sandbox import Sandbox

RAW = Recording("a", "p", "CA1", Direction.USER, Redaction.RAW)
REDACTED = Recording("a", "p", "CA1", Direction.USER, Redaction.REDACTED)
PATH = "a/p/undated/CA1/user.redacted.wav"
KEY = "sandbox-key"
RUN = "20260521T000000Z-0001"
TIMEOUTS = Timeouts(connect=1, read=1, total=1)

errands = st.builds(
    Errand,
    st.integers(0, 2**40),
    st.builds(
        Recording,
        *[st.text(st.characters(codec="utf-8"), max_size=40)] * 3,
        st.sampled_from(Direction),
        st.sampled_from(Redaction),
    ),
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.lists(st.text(max_size=64, alphabet="0123456789abcdef"), max_size=3).map(tuple),
    st.text(st.characters(codec="utf-8")),
)
said = st.lists(st.lists(errands | st.builds(Recall, st.integers(0, 2**40)), min_size=1))


class Wire(asyncio.WriteTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


@given(turns=said, pieces=st.lists(st.integers(1, 300), min_size=1))
async def test_what_is_said_arrives_whole_and_in_order(
    turns: list[list[ToCourier]], pieces: list[int]
) -> None:
    """However it is said, and into whatever pieces the operating system cuts it."""
    wire = Wire()
    speaker: Line[ToCourier, ToCourier] = Line(FOR_COURIERS, lambda _: None, lambda: None)
    speaker.connection_made(wire)
    for turn in turns:
        for message in turn:
            speaker.say(message)
        await asyncio.sleep(0)
    heard: list[ToCourier] = []
    listener: Line[ToCourier, ToCourier] = Line(FOR_COURIERS, heard.append, lambda: None)
    rest, sizes = wire.written, pieces * len(wire.written)
    for size in sizes:
        if not rest:
            break
        listener.data_received(rest[:size])
        rest = rest[size:]
    assert heard == [message for turn in turns for message in turn]


@pytest.fixture
async def sink(tmp_path: Path) -> LocalSink:
    sink = LocalSink(tmp_path / "a", run_id=RUN, dir_mode=0o700, file_mode=0o600)
    await sink.prepare()
    return sink


@pytest.fixture
def equipment(sink: LocalSink) -> Equipment:
    return Equipment(
        origin="http://127.0.0.1:9",
        surface=Surface.PLATFORM_V3,
        timeouts=TIMEOUTS,
        ca_file=None,
        max_bytes=1000,
        run_id=RUN,
        folders=shared_folders(sink),
    )


async def test_no_courier_is_sent_for_raw_audio_that_must_not_be_asked_for(
    equipment: Equipment, sink: LocalSink
) -> None:
    """The client's last look before a request is taken here, before any process hears of it."""
    client = Client(
        origin=equipment.origin,
        surface=equipment.surface,
        timeouts=TIMEOUTS,
        never_raw=lambda *_: True,
    )
    dispatcher = Dispatcher(2, equipment, sink, check=client.check)
    with pytest.raises(PolicyError, match="about to be sent"):
        await dispatcher.bring(RAW, "x.wav", known=(), key="k", accepted=lambda: lambda: None)


@pytest.mark.parametrize(
    ("executable", "words"),
    [
        (os.devnull, "cannot be started: Permission denied"),
        (shutil.which("false"), "ended with exit code 1"),
    ],
    ids=["no program", "one that ends at once"],
)
async def test_a_process_that_cannot_be_started_ends_the_run(
    equipment: Equipment,
    sink: LocalSink,
    monkeypatch: pytest.MonkeyPatch,
    executable: str,
    words: str,
) -> None:
    """In words, with advice; nobody waits for it."""
    monkeypatch.setattr(sys, "executable", executable)
    async with Dispatcher(2, equipment, sink) as dispatcher:
        with pytest.raises(CourierLostError, match=words) as found:
            await dispatcher.get_ready()
    assert found.value.hint


async def test_processes_may_begin_before_they_are_needed(
    equipment: Equipment, sink: LocalSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be started early is tried once more in its time, and told of then."""
    program = sys.executable
    async with Dispatcher(2, equipment, sink) as dispatcher:
        monkeypatch.setattr(sys, "executable", os.devnull)
        dispatcher.begin()
        assert dispatcher._processes == []
        monkeypatch.setattr(sys, "executable", program)
        dispatcher.begin()
        begun = list(dispatcher._processes)
        await dispatcher.get_ready()
        dispatcher.begin()
        assert dispatcher._processes == begun
        assert len(begun) == 2


async def test_processes_that_were_not_needed_end(equipment: Equipment, sink: LocalSink) -> None:
    """A run that stops while it plans leaves none behind."""
    async with Dispatcher(2, equipment, sink) as dispatcher:
        dispatcher.begin()
    assert [process._popen.returncode for process in dispatcher._processes] == [0, 0]


@pytest.mark.parametrize("moment", ["begun", "accepted", "received"])
async def test_what_was_brought_all_the_same_is_told_of_to_who_recalls_it(
    equipment: Equipment, sink: LocalSink, sandbox: Sandbox, moment: str
) -> None:
    """Whoever is cancelled, at whatever moment, knows of the file if there is one, then ends."""
    told: list[Delivery] = []
    equipment = structs.replace(equipment, origin=sandbox.base_url, max_bytes=10**9)
    async with Dispatcher(1, equipment, sink) as dispatcher:
        await dispatcher.get_ready()

        def cancel_at(reached: str) -> None:
            if reached == moment:
                task.cancel()

        def accepted() -> Callable[[], None]:
            cancel_at("accepted")
            return lambda: cancel_at("received")

        async def work() -> None:
            told.append(
                await dispatcher.bring(REDACTED, PATH, known=(), key=KEY, accepted=accepted)
            )
            await asyncio.sleep(0)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        cancel_at("begun")
        await asyncio.wait([task])
        assert task.cancelled()
        assert (sink.root / PATH).exists() == bool(told)


async def test_an_archive_is_held_for_as_long_as_couriers_write(
    equipment: Equipment, sink: LocalSink
) -> None:
    """A run may be killed at any moment: none begins before its couriers have ended as well."""

    def hold() -> FolderHold:
        return FolderHold(sink.root, Holder(RUN, "host", os.getpid(), datetime.now(UTC)))

    first = hold()
    first.take()
    async with Dispatcher(1, equipment, sink, locks=first.locks) as dispatcher:
        await dispatcher.get_ready()
        await first.release()
        with pytest.raises(HeldError):
            hold().take()
    second = hold()
    second.take()
    await second.release()


async def test_a_courier_knows_the_folder_that_the_run_began_with(
    equipment: Equipment, sink: LocalSink
) -> None:
    """A file system that is unmounted before a courier begins leaves a folder: not the archive."""
    theirs = equipment.open_sink()
    sink.root.rename(sink.root.with_name("away"))
    sink.root.mkdir()
    with pytest.raises(DestinationError, match="not the folder any more"):
        await theirs.put("a/p/x.wav", b"sound")
    assert not list(sink.root.iterdir())


async def test_an_errand_that_is_recalled_at_once_is_answered(equipment: Equipment) -> None:
    """Whoever sends an errand and recalls it in one breath hears of it: nothing waits for ever."""
    ours, theirs = socket.socketpair()
    heard: asyncio.Queue[FromCourier] = asyncio.Queue()
    line: Line[ToCourier, FromCourier] = Line(FROM_COURIERS, heard.put_nowait, lambda: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(theirs))
        await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=ours)
        line.say(Equip(equipment))
        line.say(Errand(7, RAW, "x.wav", (), "k"))
        line.say(Recall(7))
        assert await heard.get() == Ready("")
        assert await heard.get() == Recalled(7)
        line.close()
