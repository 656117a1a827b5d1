"""One run at a time in an object store, by an object that is only ever written under a condition.

The holder's object says who holds the archive, and is written again every few seconds as a sign of
life. Whoever writes it names the version that it knows, so of two runs that want it one is refused
by the store itself, and a holder that was taken for dead learns it with its next sign of life. It
is not removed but marked as released: removing cannot be made conditional.

A holder counts as dead when its process is not there, or when it gave no sign of life for
`STALE_AFTER` seconds. Both times are the store's own: no machine's clock matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from exporter.errors import DestinationError
from exporter.sinks.base import (
    HOLDER_PATH,
    STALE_AFTER,
    ChangedMeanwhileError,
    HeldError,
    Holder,
    LostHoldError,
)
from exporter.sinks.processes import is_alive, machine, name_space
from exporter.sinks.signs_of_life import SignsOfLife, is_fresh
from exporter.sinks.threads import to_its_end

if TYPE_CHECKING:
    from exporter.sinks.store_documents import Document, Documents

PROBE_PATH: Final = "_exporter/probe"  # shows that the store can be written, and its time
_TRIES: Final = 5


class _Record(msgspec.Struct, frozen=True):
    """What the holder's object says.

    Attributes:
        run_id: as in `Holder`, like the next three.
        machine: tells one boot of one kernel from all others.
        processes: the name space that `pid` belongs to.
        beats: signs of life: they make each version of the object another one.
        released: nobody holds the archive any more.
    """

    run_id: str
    host: str
    pid: int
    since: datetime
    machine: str
    processes: str | None
    beats: int = 0
    released: bool = False

    @property
    def holder(self) -> Holder:
        """The part that people want to know."""
        return Holder(self.run_id, self.host, self.pid, self.since)

    @property
    def is_of_this_machine(self) -> bool:
        """Whether its process would be seen from here."""
        return self.machine == machine() and self.processes == name_space()


class ObjectHold:
    """A hold on an archive in an object store.

    Args:
        documents: of the archive.
        holder: who wants to hold it.
    """

    def __init__(self, documents: Documents, holder: Holder) -> None:
        self._documents = documents
        self._signs = documents.hurried()
        self._mine = _Record(
            holder.run_id, holder.host, holder.pid, holder.since, machine(), name_space()
        )
        self._tag = ""
        self.taken_over_from: Holder | None = None
        self.locks: tuple[int, ...] = ()  # of the operating system: a store has none

    def take(self) -> None:
        """Take hold.

        Raises:
            HeldError: another run holds the archive.
            DestinationError: the store cannot be written.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(ChangedMeanwhileError):
                self._claim()
                return
        raise HeldError(None, None)  # many want it just now

    async def beat(self) -> None:
        """Write the holder's object again, if it is still ours.

        In a thread apart: those for requests may all be sending.
        """
        await to_its_end(asyncio.to_thread(self._beat))

    async def release(self) -> None:
        """Mark the holder's object as released, if it is still ours."""
        await to_its_end(asyncio.to_thread(self._release))

    def _claim(self) -> None:
        found = self._documents.read(HOLDER_PATH)
        if found is None:
            self._tag = self._documents.create(HOLDER_PATH, _encoded(self._mine))
            return
        record = _decoded(found)
        if record is not None and record.released:
            self.taken_over_from = None
        elif record is None or not self._is_mine(record):
            idle = self._idle_seconds(found)
            if not _is_dead(record, idle):
                raise HeldError(record.holder if record else None, idle)
            # Before it is done: if its answer gets lost, the next look shows only our own name.
            self.taken_over_from = record.holder if record else None
        self._tag = self._documents.update(HOLDER_PATH, _encoded(self._mine), found.tag)

    def _is_mine(self, record: _Record) -> bool:
        """So it is when the store did what we asked for, and its answer got lost."""
        return record.run_id == self._mine.run_id

    def _idle_seconds(self, found: Document) -> float:
        """Since the last sign of life, by the store's clock."""
        self._documents.overwrite(PROBE_PATH, [secrets.token_hex(8).encode()])
        probe = self._documents.head(PROBE_PATH)
        now = probe["last_modified"] if probe else datetime.now(UTC)
        return max(0.0, (now - found.modified).total_seconds())

    def _beat(self) -> None:
        self._mine = msgspec.structs.replace(self._mine, beats=self._mine.beats + 1)
        try:
            self._tag = self._signs.update(HOLDER_PATH, _encoded(self._mine), self._tag)
        except ChangedMeanwhileError:
            self._look_again()

    def _look_again(self) -> None:
        """Another one's, or our own sign of life whose answer got lost."""
        found = self._signs.read(HOLDER_PATH)
        if found is None:  # somebody removed it
            with contextlib.suppress(ChangedMeanwhileError):
                self._tag = self._signs.create(HOLDER_PATH, _encoded(self._mine))
            return
        record = _decoded(found)
        if record is None or not self._is_mine(record):
            raise LostHoldError(None if record is None or record.released else record.run_id)
        self._tag = found.tag

    def _release(self) -> None:
        released = msgspec.structs.replace(self._mine, released=True)
        with contextlib.suppress(ChangedMeanwhileError, DestinationError):
            self._signs.update(HOLDER_PATH, _encoded(released), self._tag)


def read_holder(documents: Documents, signs: SignsOfLife) -> Holder | None:
    """Who seems to hold the archive, without writing anything.

    Args:
        documents: of the archive.
        signs: of life, as seen so far by who looks again and again.
    """
    found = documents.read(HOLDER_PATH)
    record = _decoded(found) if found else None
    signs.see(found.tag if found else None)
    if found is None or record is None or record.released:
        return None
    if record.is_of_this_machine:
        lives = is_alive(record.pid)
    else:  # two clocks are believed here, unless we saw it move
        lives = is_fresh(found.modified.timestamp(), time.time()) or signs.have_moved
    return record.holder if lives else None


def _is_dead(record: _Record | None, idle: float) -> bool:
    if record is not None and record.is_of_this_machine and not is_alive(record.pid):
        return True
    return idle > STALE_AFTER


def _encoded(record: _Record) -> list[bytes]:
    return [msgspec.json.encode(record) + b"\n"]


def _decoded(found: Document) -> _Record | None:
    try:
        return msgspec.json.decode(found.content, type=_Record)
    except msgspec.MsgspecError:
        return None
