"""Work on files in other threads, which goes on to its end even when its caller is cancelled.

A pool of our own, because the standard one costs a hundred microseconds of the event loop's time a
call (measured: 100 against 20), and a small recording is one such call. What ends while the loop is
busy comes back to it together, in one wake-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


class Enduring(asyncio.Future[T]):
    """A future that is not cancelled with whoever waits for it, who learns of it afterwards.

    Attributes:
        recall: called when that is so.
    """

    recall: Callable[[], None] | None = None

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 (asyncio's)
        """Not this; but the task that awaits it is cancelled when it has ended."""
        if self.recall is not None:
            self.recall()
        return False


_THREADS: Final = 16  # syncs overlap in the disk's queue: 35 to 46 % more small files than with 4
_PATIENCE: Final = 0.001  # seconds that a step may lie before one more thread is woken

_Step = tuple["asyncio.Future[Any]", "Callable[[], Any]"]
_End = tuple["asyncio.Future[Any]", Any, BaseException | None]


class _Crew:
    """The threads of one event loop; they end when it is forgotten.

    A thread is woken when none is up, or when those that are up leave something lying: waking one
    costs more than many a step does, and whoever is up takes the next step when it is done.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._steps: deque[_Step] = deque()
        self._changing = threading.Lock()  # how many are up
        self._up = _THREADS
        self._alarm: SimpleQueue[None] = SimpleQueue()  # a semaphore takes ten times as long
        self._is_dismissed = False
        self._is_watched = False
        self._ended: deque[_End] = deque()
        self._is_woken = False
        self._loop = weakref.ref(loop)
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"files-{number}", daemon=True).start()
        weakref.finalize(loop, self._dismiss)

    def begin(self, future: asyncio.Future[T], function: Callable[[], T]) -> None:
        """Call `function` in some thread; the future gets what comes of it."""
        self._steps.append((future, function))
        if len(self._steps) > 1 or self._up == 0:
            self._wake()
        elif not self._is_watched:
            self._is_watched = True
            future.get_loop().call_later(_PATIENCE, self._watch)

    def _watch(self) -> None:
        """A thread that is up may be busy for long."""
        self._is_watched = False
        if self._steps:
            self._wake()

    def _wake(self) -> None:
        with self._changing:
            if self._up == _THREADS:
                return
            self._up += 1
        self._alarm.put(None)

    def _work(self) -> None:
        while True:
            try:
                future, function = self._steps.popleft()
            except IndexError:
                if self._is_dismissed:
                    return
                self._rest()
                continue
            try:
                end: _End = future, function(), None
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
                end = future, None, error
            del future, function
            self._give_back(end)
            del end

    def _rest(self) -> None:
        """Until there may be something to do."""
        with self._changing:
            self._up -= 1
        # What came before we were counted out was not thought to need an alarm.
        if self._steps or self._is_dismissed:
            self._wake()
        self._alarm.get()

    def _give_back(self, end: _End) -> None:
        self._ended.append(end)
        if not self._is_woken:
            self._is_woken = True
            loop = self._loop()
            if loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_woken = False  # before looking: what ends from now on wakes the loop again
        while self._ended:
            future, result, error = self._ended.popleft()
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _dismiss(self) -> None:
        self._is_dismissed = True
        for _ in range(_THREADS):
            self._wake()


_crews: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Crew] = weakref.WeakKeyDictionary()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread and, even when cancelled, wait for it: no file changes behind our back."""
    future, cancelled = await ended(function, *args, **kwargs)
    if cancelled is not None:
        raise cancelled
    return future.result()


async def to_its_end(step: Awaitable[T]) -> T:
    """The same for a step that somebody else runs in a thread, such as `aiofiles`."""
    future, cancelled = await its_end(asyncio.ensure_future(step))
    if cancelled is not None:
        raise cancelled
    return future.result()


async def publishing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for what gives a file its final name: who has that done is told so in any case.

    Whoever was cancelled meanwhile learns of it where it waits next, and can note before that
    what is now in the archive.
    """
    return _published(*await ended(function, *args, **kwargs))


async def published(step: Awaitable[T], *, recall: Callable[[], None] = lambda: None) -> T:
    """The same for a step that somebody else does, who is asked to stop if nobody wants it now."""
    return _published(*await its_end(asyncio.ensure_future(step), recall))


def _published(future: asyncio.Future[T], cancelled: asyncio.CancelledError | None) -> T:
    if cancelled is not None:
        task = asyncio.current_task()
        if future.exception() is not None or task is None:
            raise cancelled
        task.cancel()
    return future.result()


async def ended(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """What came of it in a thread, and whether we were cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    crew = _crews.get(loop)
    if crew is None:
        crew = _crews[loop] = _Crew(loop)
    future: Enduring[T] = Enduring(loop=loop)
    crew.begin(future, partial(function, *args, **kwargs))
    return await its_end(future)


async def its_end(
    future: asyncio.Future[T], recall: Callable[[], None] = lambda: None
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """What came of it, whoever does it, and whether we were cancelled meanwhile."""
    cancelled = None
    if isinstance(future, Enduring):
        future.recall = recall
        try:
            await future
        except asyncio.CancelledError as error:
            cancelled = error
        except GeneratorExit:
            raise
        except BaseException:  # noqa: BLE001, S110 (it is in the future)
            pass
    while not future.done():
        # Not the future itself: cancelling its waiter would cancel it, and lose what came of it.
        waiter: asyncio.Future[None] = future.get_loop().create_future()
        wake = partial(_wake, waiter)
        future.add_done_callback(wake)
        try:
            await waiter
        except asyncio.CancelledError as error:
            future.remove_done_callback(wake)
            cancelled = error
            recall()
    if cancelled is not None:
        future.exception()  # has been looked at
    return future, cancelled


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)
