"""One run at a time in a folder, on local and on network file systems.

Two things together, because neither is enough alone:

- a lock of the operating system (`flock`), which ends with its process however that dies; but some
  network file systems refuse it, and on others it does not reach other machines;
- the holder's file: who holds the archive, touched every few seconds as a sign of life.

A holder counts as dead when the kernel that would keep its lock has let go of it, when its process
is not there, or when it gave no sign of life for `STALE_AFTER` seconds while we watched, by our own
clock. A sign of life that looks fresh ends the matter at once: held. One that does not is watched.

The `filelock` library was looked at. It has locks of both kinds, but does not say who holds one
since when, cannot be carried over to object stores, and its take-over of a stale file lock has let
two holders in; what is needed here is this page.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from exporter.errors import DestinationError
from exporter.sinks.base import HOLDER_PATH, STALE_AFTER, HeldError, Holder, LostHoldError
from exporter.sinks.filesystem import translated
from exporter.sinks.processes import is_alive, machine, name_space
from exporter.sinks.signs_of_life import SignsOfLife, is_fresh
from exporter.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TAKEN: Final = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class _Record(msgspec.Struct, frozen=True):
    """What the holder's file says.

    Attributes:
        run_id: as in `Holder`, like the next three.
        machine: tells one boot of one kernel from all others.
        processes: the name space that `pid` belongs to; containers have their own.
        has_lock: the holder has the operating system's lock too.
    """

    run_id: str
    host: str
    pid: int
    since: datetime
    machine: str
    processes: str | None
    has_lock: bool

    @property
    def holder(self) -> Holder:
        """The part that people want to know."""
        return Holder(self.run_id, self.host, self.pid, self.since)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The holder's file as it was looked at: another sign of life makes it another.

    Attributes:
        record: what it says; None when it is being written just now, or spoilt.
        modified_ns: when it was last touched, by the file system's clock.
    """

    record: _Record | None
    modified_ns: int

    @property
    def modified(self) -> float:
        """Seconds since 1970."""
        return self.modified_ns / 1e9


class FolderHold:
    """A hold on the archive whose own folder (`_exporter`) this is.

    Args:
        folder: where the lock and the holder's file lie.
        holder: who wants to hold it.
        mode: permissions of both files.
        signs: of the present holder, as seen so far by who asks again and again.
        clock: seconds that never jump; tests put in their own, like the next.
        lock: the operating system's lock; one that is not supported raises.
    """

    def __init__(
        self,
        folder: Path,
        holder: Holder,
        *,
        mode: int = 0o600,
        signs: SignsOfLife | None = None,
        clock: Callable[[], float] = time.monotonic,
        lock: Callable[[int], None] = lambda descriptor: fcntl.flock(
            descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
        ),
    ) -> None:
        self._file = folder / Path(HOLDER_PATH).name
        self._lock_file = folder / "lock"
        self._me = holder
        self._mode = mode
        self._signs = signs or SignsOfLife(clock)
        self._clock = clock
        self._lock = lock
        self._shown_at = 0.0  # when we gave our last sign of life, by our own clock
        self._descriptor: int | None = None
        self._has_lock = False
        self.taken_over_from: Holder | None = None

    def take(self) -> None:
        """Take hold; blocks on nothing but the file system.

        Raises:
            HeldError: another run holds the archive.
            DestinationError: the folder cannot be written.
        """
        with translated(self._lock_file):
            self._descriptor = os.open(
                self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._mode
            )
        try:
            self._has_lock = self._try_lock(self._descriptor)
            self._shown_at = self._clock()
            self._claim()
        except BaseException:
            self._let_go_of_lock()
            raise

    @property
    def locks(self) -> Sequence[int]:
        """The one of the folder."""
        return [] if self._descriptor is None else [self._descriptor]

    async def beat(self) -> None:
        """Touch the holder's file, if it is still ours; put it back if somebody removed it."""
        await in_thread(self._beat)

    async def release(self) -> None:
        """Remove the holder's file, if it is still ours."""
        await in_thread(self._release)

    def _try_lock(self, descriptor: int) -> bool:
        try:
            self._lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                with contextlib.suppress(DestinationError):  # then nobody knows who holds it
                    raise self._held(_look(self._file)) from None
                raise HeldError(None, None) from None
            return False  # not supported here: the sign of life alone decides
        return True

    def _claim(self) -> None:
        mine = self._record()
        if not self._create(mine):
            other = _look(self._file)
            self._signs.see(other)
            if other is not None:
                if not self._is_dead(other):
                    raise self._held(other)
                self._bury(other)
            if not self._create(mine):
                raise self._held(_look(self._file))  # somebody was faster
            self.taken_over_from = other.record.holder if other and other.record else None
        found = _look(self._file)
        if found is None or found.record != mine:
            raise self._held(found)

    def _record(self) -> _Record:
        return _Record(
            self._me.run_id,
            self._me.host,
            self._me.pid,
            self._me.since,
            machine(),
            name_space(),
            self._has_lock,
        )

    def _create(self, record: _Record) -> bool:
        """The holder's file, whole and all at once; False where there is one."""
        temporary = self._file.with_name(f".{self._file.name}.{self._me.run_id}.part")
        with translated(self._file):
            try:
                temporary.write_bytes(msgspec.json.encode(record) + b"\n")
                temporary.chmod(self._mode)
                try:
                    os.link(temporary, self._file)
                except FileExistsError:
                    return False
                except OSError:
                    # No hard links here. Exclusive creation is the next best: for a moment the
                    # file is empty, and an empty one counts as held.
                    return self._create_exclusively(temporary.read_bytes())
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def _create_exclusively(self, content: bytes) -> bool:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return True

    def _is_dead(self, other: _Seen) -> bool:
        record = other.record
        if record is not None and record.machine == machine():
            if record.has_lock and self._has_lock:
                return True  # its process would still have the lock that we have
            if record.processes == name_space() and not is_alive(record.pid):
                return True
        return self._signs.are_still

    def _bury(self, other: _Seen) -> None:
        """Remove a dead holder's file, and never that of one that gave a sign of life since."""
        grave = self._file.with_name(f".{self._file.name}.{self._me.run_id}.probe")
        with translated(self._file):
            try:
                self._file.rename(grave)
            except FileNotFoundError:
                return
            try:
                buried = None
                with contextlib.suppress(DestinationError):  # not proven to be the same
                    buried = _look(grave)
                if buried != other:
                    self._put_back(grave)
                    raise self._held(buried)
            finally:
                grave.unlink(missing_ok=True)

    def _put_back(self, grave: Path) -> None:
        try:
            os.link(grave, self._file)
        except FileExistsError:
            return
        except OSError:  # no hard links here
            if not self._file.exists():
                grave.rename(self._file)

    def _held(self, other: _Seen | None) -> HeldError:
        if other is None:  # it went just now
            return HeldError(None, None)
        with translated(self._lock_file):
            os.utime(self._lock_file)  # the file system's clock, which touched the other file too
            now = self._lock_file.stat().st_mtime
        fresh = is_fresh(other.modified, now)
        return HeldError(
            other.record.holder if other.record else None,
            max(0.0, now - other.modified) if fresh or other.modified < now else None,
            may_be_dead=not fresh and not self._signs.have_moved,
        )

    def _beat(self) -> None:
        now = self._clock()
        found = _look(self._file)
        if found is None:
            self._come_back(now)
        elif found.record is None:
            raise DestinationError(f"{self._file} is spoilt: it does not say who holds the archive")
        elif found.record.run_id != self._me.run_id:
            raise LostHoldError(found.record.run_id)
        else:
            with translated(self._file):
                os.utime(self._file)
        self._shown_at = now

    def _come_back(self, now: float) -> None:
        """Somebody removed our file. Nobody may have taken the archive over; or somebody has."""
        if now - self._shown_at >= STALE_AFTER:
            raise LostHoldError(None)
        if not self._create(self._record()):
            found = _look(self._file)
            if found is not None and found.record is not None:
                raise LostHoldError(found.record.run_id)

    def _release(self) -> None:
        with contextlib.suppress(DestinationError, OSError):
            found = _look(self._file)
            if found and found.record and found.record.run_id == self._me.run_id:
                self._file.unlink()
        self._let_go_of_lock()

    def _let_go_of_lock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # the lock goes with it
            self._descriptor = None


def read_holder(path: Path, signs: SignsOfLife) -> Holder | None:
    """Who seems to hold the archive, without touching anything.

    Args:
        path: the holder's file.
        signs: of life, as seen so far by who looks again and again.
    """
    try:
        found = _look(path)
    except DestinationError:
        return None
    signs.see(found)
    if found is None or found.record is None:
        return None
    record = found.record
    if record.machine == machine() and record.processes == name_space():
        lives = is_alive(record.pid)
    else:  # two clocks are believed here, unless we saw it move
        lives = is_fresh(found.modified, time.time()) or signs.have_moved
    return record.holder if lives else None


def _look(path: Path) -> _Seen | None:
    """The holder's file as it stands; None where there is none.

    Raises:
        DestinationError: nobody can tell: it cannot be read, at least now.
    """
    try:
        with translated(path, verb="read", missing_is_fine=True), path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    try:
        record = msgspec.json.decode(content, type=_Record)
    except msgspec.DecodeError:
        record = None
    return _Seen(record, status.st_mtime_ns)
