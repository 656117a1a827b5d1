"""One run at a time in a folder, on local and on network file systems.

Two things together, because neither is enough alone:

- a lock of the operating system (`flock`), which ends with its process however that dies; but some
  network file systems refuse it, and on others it does not reach other machines;
- the holder's file: who holds the archive, touched every few seconds as a sign of life.

A holder counts as dead when the kernel that would keep its lock has let go of it, when its process
is not there, or when it gave no sign of life for `STALE_AFTER` seconds by the clock of the file
system: the clocks of two machines need not agree.

The `filelock` library was looked at. It has locks of both kinds, but does not say who holds one
since when, cannot be carried over to object stores, and its take-over of a stale file lock has let
two holders in; what is needed here is this page.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from exporter.sinks.base import HOLDER_PATH, STALE_AFTER, HeldError, Holder, LostHoldError
from exporter.sinks.filesystem import translated
from exporter.sinks.processes import is_alive, machine, name_space

if TYPE_CHECKING:
    from collections.abc import Callable

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


class FolderHold:
    """A hold on the archive whose own folder (`_exporter`) this is.

    Args:
        folder: where the lock and the holder's file lie.
        holder: who wants to hold it.
        mode: permissions of both files.
        lock: the operating system's lock; tests put in one that is not supported.
    """

    def __init__(
        self,
        folder: Path,
        holder: Holder,
        *,
        mode: int = 0o600,
        lock: Callable[[int], None] = lambda descriptor: fcntl.flock(
            descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
        ),
    ) -> None:
        self._file = folder / Path(HOLDER_PATH).name
        self._lock_file = folder / "lock"
        self._me = holder
        self._mode = mode
        self._lock = lock
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
            self._claim()
        except BaseException:
            self._let_go_of_lock()
            raise

    async def beat(self) -> None:
        """Touch the holder's file, if it is still ours."""
        await asyncio.to_thread(self._beat)

    async def release(self) -> None:
        """Remove the holder's file, if it is still ours."""
        await asyncio.to_thread(self._release)

    def _try_lock(self, descriptor: int) -> bool:
        try:
            self._lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                raise self._held() from None
            return False  # not supported here: the sign of life alone decides
        return True

    def _claim(self) -> None:
        mine = self._record()
        if not self._create(mine):
            other = _read(self._file)
            if not self._is_dead(other):
                raise self._held()
            self._bury(other)
            if not self._create(mine):
                raise self._held()  # somebody was faster
            self.taken_over_from = other.holder if other else None
        found = _read(self._file)
        if found != mine:
            raise self._held()

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

    def _is_dead(self, other: _Record | None) -> bool:
        idle = self._idle_seconds()
        if idle is None or idle > STALE_AFTER:
            return True
        if other is None:  # being written just now, or spoilt: time will tell
            return False
        if other.machine == machine():
            if other.has_lock and self._has_lock:
                return True  # its process would still have the lock that we have
            if other.processes == name_space():
                return not is_alive(other.pid)
        return False

    def _bury(self, other: _Record | None) -> None:
        """Remove a dead holder's file, and never a living one's that came in its place."""
        grave = self._file.with_name(f".{self._file.name}.{self._me.run_id}.probe")
        with translated(self._file):
            try:
                self._file.rename(grave)
            except FileNotFoundError:
                return
            try:
                if _read(grave) != other:
                    self._put_back(grave)
                    raise self._held()
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

    def _idle_seconds(self) -> float | None:
        """Since the holder's last sign of life, by the file system's own clock."""
        with translated(self._lock_file):
            os.utime(self._lock_file)
            now = self._lock_file.stat().st_mtime
        try:
            return max(0.0, now - self._file.stat().st_mtime)
        except OSError:
            return None

    def _held(self) -> HeldError:
        record = _read(self._file)
        return HeldError(record.holder if record else None, self._idle_seconds())

    def _beat(self) -> None:
        found = _read(self._file)
        if found is None or found.run_id != self._me.run_id:
            raise LostHoldError(found.run_id if found else "nobody")
        with translated(self._file):
            os.utime(self._file)

    def _release(self) -> None:
        found = _read(self._file)
        if found is not None and found.run_id == self._me.run_id:
            with contextlib.suppress(OSError):
                self._file.unlink()
        self._let_go_of_lock()

    def _let_go_of_lock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # the lock goes with it
            self._descriptor = None


def read_holder(path: Path) -> Holder | None:
    """Who seems to hold the archive, without touching anything: two clocks are believed here."""
    record = _read(path)
    if record is None:
        return None
    try:
        idle = time.time() - path.stat().st_mtime
    except OSError:
        return None
    is_ours = record.machine == machine() and record.processes == name_space()
    lives = is_alive(record.pid) if is_ours else idle <= STALE_AFTER
    return record.holder if lives else None


def _read(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError):
        return None
