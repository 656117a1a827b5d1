"""Couriers in processes of their own, seen from the run: starts them, and gives them errands.

One process of Python uses little more than one core. Requests, hashing and writing may use more:
then the run only decides, records and reports. A courier's process knows nothing of the run but
its errands, gets the key with each of them, and ends when the run does, however that ends.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import structlog

from exporter.couriers import messages
from exporter.couriers.messages import (
    Begun,
    Broken,
    Delivered,
    Equip,
    Errand,
    Failed,
    Line,
    Recall,
    Recalled,
    Received,
    Unwritable,
)
from exporter.errors import CourierLostError, DestinationError, ErrorKind, FetchError
from exporter.sinks.threads import in_thread, published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType
    from typing import Self

    from exporter.asking import Accepted
    from exporter.couriers.courier import Delivery
    from exporter.couriers.equipment import Equipment
    from exporter.couriers.messages import FromCourier, ToCourier
    from exporter.model import Recording

_PATIENCE: Final = 5  # seconds; then a process that does not end is killed
_BEGIN: Final = (
    "import sys; sys.path[:] = {path!r}; from exporter.courier_process import main; main({socket})"
)

_log = structlog.get_logger()


class Dispatcher:
    """Makes attempts in other processes, which are started with the first; a context manager.

    Args:
        count: of processes.
        equipment: of each.
        check: called before each errand; raises where there is to be none.
    """

    def __init__(
        self, count: int, equipment: Equipment, *, check: Callable[[Recording], None]
    ) -> None:
        self._count = count
        self._equipment = equipment
        self._check = check
        self._starting = asyncio.Lock()
        self._processes: list[_Process] = []
        self._are_ready = False

    @property
    def pids(self) -> list[int]:
        """Of the processes that were started."""
        return [process.pid for process in self._processes]

    async def bring(
        self,
        recording: Recording,
        path: str,
        *,
        known: Collection[str],
        key: str,
        accepted: Accepted,
    ) -> Delivery:
        """See `Brings`.

        Raises:
            CourierLostError: the process that did it has ended.
        """
        self._check(recording)
        if not self._are_ready:
            await self._start()
        process = min(self._processes, key=lambda one: one.errands)
        return await process.bring(recording, path, known, key, accepted)

    async def _start(self) -> None:
        async with self._starting:
            while len(self._processes) < self._count:
                process = _Process()
                self._processes.append(process)
                await process.equip(self._equipment)
                _log.debug("courier.started", pid=process.pid)
            self._are_ready = True

    async def __aenter__(self) -> Self:
        """Nothing to do yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes."""
        for process in self._processes:
            process.dismiss()
        for process in self._processes:
            await in_thread(process.wait)


class _Open:
    """An errand that is under way."""

    __slots__ = ("accepted", "delivery", "received")

    def __init__(self, delivery: asyncio.Future[Delivery], accepted: Accepted) -> None:
        self.delivery = delivery
        self.accepted = accepted
        self.received: Callable[[], None] = lambda: None


class _Process:
    """One courier.

    Raises:
        CourierLostError: the operating system does not allow another process.
    """

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._popen = _spawn(theirs.fileno())
            except BaseException:
                self._ours.close()
                raise
        self._numbers = itertools.count()
        self._open: dict[int, _Open] = {}
        self._lost: CourierLostError | None = None
        self._is_dismissed = False
        self._line: Line[ToCourier, FromCourier] = Line(
            messages.FROM_COURIERS, self._heard, self._is_gone
        )

    async def equip(self, equipment: Equipment) -> None:
        """Connect; it gets ready while it is given its first errands."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._line, sock=self._ours)
        self._line.say(Equip(equipment))

    @property
    def pid(self) -> int:
        """Of the operating system."""
        return self._popen.pid

    @property
    def errands(self) -> int:
        """How many are under way."""
        return len(self._open)

    async def bring(
        self,
        recording: Recording,
        path: str,
        known: Collection[str],
        key: str,
        accepted: Accepted,
    ) -> Delivery:
        if self._lost is not None:
            raise self._lost
        number = next(self._numbers)
        errand = _Open(asyncio.get_running_loop().create_future(), accepted)
        self._open[number] = errand
        self._line.say(Errand(number, recording, path, tuple(known), key))
        return await published(errand.delivery, recall=lambda: self._line.say(Recall(number)))

    def dismiss(self) -> None:
        """Ask it to end."""
        self._is_dismissed = True
        if not self._line.close():
            self._ours.close()

    def wait(self) -> None:
        """Until it has ended; blocks."""
        try:
            self._popen.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _heard(self, message: FromCourier) -> None:
        match message:
            case Begun(number):
                errand = self._open[number]
                errand.received = errand.accepted()
            case Received(number):
                self._open[number].received()
            case Delivered(number, delivery):
                self._open.pop(number).delivery.set_result(delivery)
            case Failed(number):
                self._fail(number, message.error())
            case Unwritable(number, text, hint):
                self._fail(number, DestinationError(text, hint=hint))
            case Recalled(number):
                self._fail(number, FetchError(ErrorKind.CANCELLED, "the run stopped meanwhile"))
            case Broken(number, trace):
                self._fail(number, RuntimeError(f"in the courier's process:\n{trace}"))

    def _fail(self, number: int, error: Exception) -> None:
        self._open.pop(number).delivery.set_exception(error)

    def _is_gone(self) -> None:
        """The connection has ended, and so has the process, or it is about to."""
        if self._is_dismissed:
            return
        self.wait()
        self._lost = CourierLostError(
            f"a courier's process (pid {self.pid}) {_ending(self._popen.returncode)}",
            hint="If memory was short, lower limits.processes. Run again to go on: what is archived"
            " is skipped.",
        )
        for number in list(self._open):
            self._fail(number, self._lost)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    begin = _BEGIN.format(path=sys.path, socket=descriptor)
    try:
        return subprocess.Popen(  # noqa: S603 (this very program)
            [sys.executable, "-c", begin],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
            process_group=0,  # Ctrl-C is for the run, which tells when to stop
        )
    except OSError as error:
        raise CourierLostError(
            f"a courier's process cannot be started: {error.strerror}",
            hint="Lower limits.processes, or allow this user more processes or memory.",
        ) from None


def _ending(code: int) -> str:
    """How a process ended, for people."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
