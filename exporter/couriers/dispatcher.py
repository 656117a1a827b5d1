"""Couriers in processes of their own, seen from the run: starts them, and gives them errands.

One process of Python uses little more than one core. Requests, hashing and writing may use more:
then the run only decides, records and reports. A courier's process knows nothing of the run but
its errands, gets the key with each of them, and ends when the run does, however that ends. It
inherits the run's locks on the archive: they are let go of when the last of them has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    Delivered,
    Equip,
    Errand,
    Failed,
    Line,
    Ready,
    Recall,
    Recalled,
    Received,
    Unwritable,
)
from exporter.errors import CourierLostError, DestinationError, ErrorKind, FetchError
from exporter.sinks.threads import in_thread, published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from types import TracebackType
    from typing import Self

    from exporter.asking import Accepted
    from exporter.couriers.courier import Delivery
    from exporter.couriers.equipment import Equipment
    from exporter.couriers.messages import FromCourier, ToCourier
    from exporter.model import Recording
    from exporter.sinks.base import Sink

_PATIENCE: Final = 5  # seconds; then a process that does not end is killed
_BEGIN: Final = (
    "import sys; sys.path[:] = {path!a}; from exporter.courier_process import main; main({socket})"
)
_FOR_THE_RUN: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Who asks for the end may ask the whole group of processes; but the run says when to stop."""

_WITHOUT_LANES: Final = (
    "Recordings are hashed by Python's hashlib, one after the other: upgrade the package"
    " stringzilla, or remove it."
)

_log = structlog.get_logger()


class Dispatcher:
    """Makes attempts in other processes; a context manager.

    Args:
        count: of processes.
        equipment: of each.
        sink: the archive that they write.
        locks: descriptors that each process inherits.
        check: called before each errand; raises where there is to be none.
    """

    def __init__(
        self,
        count: int,
        equipment: Equipment,
        sink: Sink,
        *,
        locks: Sequence[int] = (),
        check: Callable[[Recording], None] = lambda _: None,
    ) -> None:
        self._count = count
        self._equipment = equipment
        self._sink = sink
        self._locks = locks
        self._check = check
        self._processes: list[_Process] = []
        self._is_ready = False

    def begin(self) -> None:
        """Start the processes: until they can do errands, the run may do something else."""
        with contextlib.suppress(CourierLostError):  # it is tried once more before they are needed
            self._start()

    async def get_ready(self) -> None:
        """Wait for the processes.

        Raises:
            CourierLostError: one cannot be started, or ends at once.
        """
        if self._is_ready:
            return
        self._start()
        for process in self._processes:
            await process.equip(self._equipment)
        for process in self._processes:
            await process.get_ready()
            _log.debug("courier.ready", pid=process.pid)
        self._is_ready = True
        for reason in {each.digests_refused for each in self._processes} - {""}:
            _log.error("digests.refused", reason=reason, hint=_WITHOUT_LANES)

    def _start(self) -> None:
        while len(self._processes) < self._count:
            self._processes.append(_Process(self._locks))

    def bring(
        self,
        recording: Recording,
        path: str,
        *,
        known: Collection[str],
        key: str,
        accepted: Accepted,
    ) -> Coroutine[None, None, Delivery]:
        """See `Brings`.

        Raises:
            CourierLostError: the process that did it has ended.
        """
        self._check(recording)
        process = min(self._processes, key=_load)
        return process.bring(recording, path, known, key, accepted)

    async def __aenter__(self) -> Self:
        """Nothing to do yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes, and remove what those that died left half written."""
        for process in self._processes:
            process.dismiss()
        unfinished: set[str] = set()
        for process in self._processes:
            await process.ended()
            unfinished |= process.unfinished
        if unfinished:
            folders = {path.rpartition("/")[0] for path in unfinished}
            with contextlib.suppress(DestinationError):  # which ended the run, very likely
                await self._sink.sweep({self._equipment.run_id}, folders)


class _Open:
    """An errand that is under way.

    Attributes:
        path: of the recording.
        accepted: as of `Brings.bring`.
        received: what it returned.
        delivery: waited for; cancelled with whoever waits.
    """

    __slots__ = ("accepted", "delivery", "path", "received")

    def __init__(self, path: str, accepted: Accepted) -> None:
        self.path = path
        self.accepted = accepted
        self.received: Callable[[], None] = lambda: None
        self.delivery: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

    def to_be_told(self) -> asyncio.Future[Delivery]:
        """What its end is told to, even where nobody waits for it any more."""
        if self.delivery.cancelled():
            self.delivery = asyncio.get_running_loop().create_future()
        return self.delivery


class _Process:
    """One courier.

    Attributes:
        errands: those that are under way, by number.
        unfinished: paths of the errands that it died with.
        digests_refused: see `Digests`; known when it is ready.

    Raises:
        CourierLostError: the operating system does not allow another process.
    """

    def __init__(self, locks: Sequence[int]) -> None:
        self._ours, self._popen = _spawn(locks)
        self._numbers = itertools.count()
        self.errands: dict[int, _Open] = {}
        self._is_settled = asyncio.Event()  # ready, or lost
        self._lost: CourierLostError | None = None
        self._burial: asyncio.Task[None] | None = None
        self._line: Line[ToCourier, FromCourier] = Line(
            messages.FROM_COURIERS, self._heard, self._is_gone
        )
        self.unfinished: set[str] = set()
        self.digests_refused = ""

    async def equip(self, equipment: Equipment) -> None:
        """Connect, and tell it what it needs."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._line, sock=self._ours)
        self._line.say(Equip(equipment))

    async def get_ready(self) -> None:
        """Return when it can do errands: till then requests that were let through would gather.

        Raises:
            CourierLostError: it has ended.
        """
        await self._is_settled.wait()
        if self._lost is not None:
            raise self._lost

    @property
    def pid(self) -> int:
        """Of the operating system."""
        return self._popen.pid

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
        self._line.say(Errand(number, recording, path, tuple(known), key))
        errand = self.errands[number] = _Open(path, accepted)
        try:
            return await errand.delivery
        except asyncio.CancelledError as cancelled:
            return await self._recall(number, errand, cancelled)

    async def _recall(
        self, number: int, errand: _Open, cancelled: asyncio.CancelledError
    ) -> Delivery:
        """Nobody wants it any more; what is delivered all the same is to be noted before that."""

        def recall() -> None:
            self._line.say(Recall(number))

        delivery = errand.to_be_told()
        if not delivery.done():
            recall()
        with contextlib.suppress(Exception):
            brought = await published(delivery, recall=recall)
            if (task := asyncio.current_task()) is not None:
                task.cancel()
            return brought
        raise cancelled

    def dismiss(self) -> None:
        """Ask it to end."""
        if not self._line.close():
            self._ours.close()

    async def ended(self) -> None:
        """Return when it has ended; one that does not is killed."""
        await in_thread(self._wait)
        if self._burial is not None:
            await self._burial

    def _wait(self) -> None:
        try:
            self._popen.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _heard(self, message: FromCourier) -> None:
        match message:  # in the order of how often they come
            case Begun():
                errand = self.errands[message.number]
                errand.received = errand.accepted()
            case Received():
                self.errands[message.number].received()
            case Delivered():
                self.errands.pop(message.number).to_be_told().set_result(message.delivery)
            case Failed():
                self._fail(message.number, message.error())
            case Unwritable():
                self._fail(message.number, DestinationError(message.message, hint=message.hint))
            case Recalled():
                stopped = FetchError(ErrorKind.CANCELLED, "the run stopped meanwhile")
                self._fail(message.number, stopped)
            case Ready():
                self.digests_refused = message.digests_refused
                self._is_settled.set()

    def _fail(self, number: int, error: Exception) -> None:
        self.errands.pop(number).to_be_told().set_exception(error)

    def _is_gone(self) -> None:
        """The connection has ended, and so has the process, or it is about to."""
        self._burial = asyncio.get_running_loop().create_task(self._bury())

    async def _bury(self) -> None:
        """Tell those who wait for it, once it can do nothing more."""
        await in_thread(self._wait)
        self.unfinished = {errand.path for errand in self.errands.values()}
        self._lost = _lost(self._popen)
        self._is_settled.set()
        for number in list(self.errands):
            self._fail(number, self._lost)


def _load(process: _Process) -> int:
    return len(process.errands)


def _spawn(locks: Sequence[int]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A new process, and our end of the connection to it."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_RUN)  # which it inherits
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                begin = _BEGIN.format(path=sys.path, socket=theirs.fileno())
                return ours, subprocess.Popen(  # noqa: S603 (this very program)
                    [sys.executable, "-c", begin],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *locks],
                )
            except BaseException:
                ours.close()
                raise
    except OSError as error:
        raise CourierLostError(
            f"a courier's process cannot be started: {error.strerror}",
            hint="Lower limits.processes, or allow this user more processes, files or memory.",
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _lost(process: subprocess.Popen[bytes]) -> CourierLostError:
    """How a process ended, for people."""
    code = process.returncode
    if code < 0:
        how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        hint = "If memory was short, lower limits.processes."
    else:
        how = f"ended with exit code {code}"
        hint = "What it said on standard error tells why."
    return CourierLostError(
        f"a courier's process (pid {process.pid}) {how}",
        hint=f"{hint} Run again to go on: what is archived is skipped.",
    )
