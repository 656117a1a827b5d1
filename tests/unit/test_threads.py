"""Threads for work on files: every step is done, and none waits behind a long one."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from exporter.sinks.threads import Enduring, in_thread, its_end

THREADS = 16


async def test_a_step_does_not_wait_for_a_long_one() -> None:
    """While one thread is busy for long, the next step finds another one."""
    began, may_end = threading.Event(), threading.Event()

    def long() -> str:
        began.set()
        may_end.wait()
        return "long"

    first = asyncio.create_task(in_thread(long))
    await asyncio.sleep(0)  # the task begins
    began.wait()
    assert await in_thread(lambda: "short") == "short"
    assert not first.done()
    may_end.set()
    assert await first == "long"


async def test_all_threads_work_at_once() -> None:
    """As many steps as there are threads run side by side, and the others are done after them."""
    together = threading.Barrier(THREADS)
    rounds = 3
    steps = [in_thread(together.wait) for _ in range(rounds * THREADS)]
    places = await asyncio.gather(*steps)
    assert sorted(places) == sorted(list(range(THREADS)) * rounds)


@pytest.mark.parametrize("count", [1, 5, 500])
async def test_each_gets_its_own_result_or_error(count: int) -> None:
    """However many are begun together, each caller gets what came of its own step."""

    def step(number: int) -> int:
        if number % 3 == 0:
            raise ValueError(str(number))
        return number

    ends = await asyncio.gather(
        *(in_thread(step, number) for number in range(count)), return_exceptions=True
    )
    for number, end in enumerate(ends):
        assert (str(end) if isinstance(end, ValueError) else end) == (
            str(number) if number % 3 == 0 else number
        )


async def test_threads_that_rest_are_woken_again() -> None:
    """After everything was done, the next step is done as well, again and again."""
    for number in range(300):
        assert await in_thread(abs, number) == number
        if number % 100 == 0:
            await asyncio.gather(*(in_thread(int) for _ in range(2 * THREADS)))


@pytest.mark.parametrize("cancels", [0, 1, 2])
async def test_who_is_cancelled_learns_of_it_when_the_step_has_ended(cancels: int) -> None:
    """Each time whoever does the step is asked to stop; its end is known in any case."""
    recalled = 0

    def recall() -> None:
        nonlocal recalled
        recalled += 1

    step: Enduring[str] = Enduring()
    waiter = asyncio.create_task(its_end(step, recall))
    await asyncio.sleep(0)
    for _ in range(cancels):
        waiter.cancel()
        await asyncio.sleep(0)
    assert (waiter.done(), recalled) == (False, cancels)
    step.set_result("done")
    end, cancelled = await waiter
    assert end.result() == "done"
    assert (cancelled is not None) == bool(cancels)


async def test_who_is_forgotten_while_it_waits_ends() -> None:
    """A coroutine that nobody goes on with can be closed, as any other."""
    waiting = its_end(Enduring[None]())
    waiting.send(None)
    waiting.close()


def test_threads_end_with_their_loop() -> None:
    """A loop that is gone leaves no thread behind."""

    def mine() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name.startswith("files-")}

    before = mine()
    asyncio.run(in_thread(int))
    gc.collect()  # loops are part of cycles
    for thread in mine() - before:
        thread.join(timeout=60)
        assert not thread.is_alive()
