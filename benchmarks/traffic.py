"""How well a run lives with rate limits and latency: figures on this machine.

    python benchmarks/traffic.py [--quick] [--json FILE]

*Loopback*: real requests to the sandbox, with a token bucket that the client is not told; what is
fetched is thrown away. *Simulated*: the same decisions in virtual time, many seeds.
*Latency-bound*: pool, retry and throttle around a stand-in that takes 100 ms, with 256 workers.
*Overhead*: what one request costs in them when nothing is limited.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from exporter import log
from exporter.asking import Asker
from exporter.client import Client
from exporter.connections import Timeouts
from exporter.couriers.courier import Courier
from exporter.credentials import Credentials
from exporter.fetch import Fetcher
from exporter.model import AudioFormat, Direction, Recording, Redaction, Surface
from exporter.pool import run_pool
from exporter.retry import RetryPolicy, with_retries
from exporter.sandbox import AudioSettings, Limits, Sandbox, SystemClock, World
from exporter.settings import Settings
from exporter.stopping import Stop, StopReason, deadline_passed
from exporter.target import Target
from exporter.throttle import Throttle
from exporter.trust import Host, Refusals
from exporter.writer import Written
from tests.simulation import Server, halved, simulate, steady

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from exporter.writer import Writer

LEARNING_SECONDS = 10.0
ON_ITS_WAY = 0.25  # seconds; what left before the refusal could be known


class BendableClock(SystemClock):
    """Its limits run slower for a while: half the speed is half the rate."""

    def __init__(self, speed: Callable[[float], float]) -> None:
        super().__init__()
        self._speed = speed
        self._start = self._seen = time.monotonic()
        self._bent = 0.0

    def monotonic(self) -> float:
        """Bent seconds."""
        now = time.monotonic()
        self._bent += (now - self._seen) * self._speed(now - self._start)
        self._seen = now
        return self._bent


@dataclass(frozen=True)
class Case:
    """One limit for a whole run."""

    name: str
    rate: float
    burst: int
    seconds: float
    concurrency: int = 32
    latency: float = 0.02
    speed: Callable[[float], float] = lambda _now: 1.0

    def capacity(self, start: float, end: float) -> float:
        """What the server would take between two times."""
        steps = 1000
        step = (end - start) / steps
        return sum(self.rate * self.speed(start + step * (i + 0.5)) for i in range(steps)) * step


def loopback(case: Case) -> dict[str, Any]:
    """Fetch until the time is over; figures from what the server saw."""
    sandbox = Sandbox(
        world=World(audio=AudioSettings(seconds=(0.1, 0.1))),
        limits=Limits(requests_per_second=case.rate, burst=case.burst, latency=case.latency),
        clock=BendableClock(case.speed),
        journal_limit=10**7,
    )
    with _Serving(sandbox):
        asyncio.run(_fetch(sandbox.base_url, case))
    seen = sandbox.requests
    start = seen[0].at
    refusals = [each.at - start for each in seen if each.status == 429]  # noqa: PLR2004
    accepted = [each.at - start for each in seen if each.status == 200]  # noqa: PLR2004
    end = accepted[-1]
    broken = 0
    quiet_until = 0.0
    for each in seen:
        at = each.at - start
        broken += quiet_until - 1 + ON_ITS_WAY < at < quiet_until
        if each.status == 429:  # noqa: PLR2004
            quiet_until = max(quiet_until, at + 1)
    late = sum(at >= LEARNING_SECONDS for at in refusals)
    good = sum(at >= LEARNING_SECONDS for at in accepted)
    return {
        "case": case.name,
        "seconds": round(end, 1),
        "goodput": round(good / case.capacity(LEARNING_SECONDS, end), 4),
        "refused": round(late / max(1, late + good), 5),
        "refused_while_learning": len(refusals) - late,
        "retry_after_broken": broken,
    }


async def _fetch(base_url: str, case: Case) -> None:
    stop = Stop()
    asyncio.get_running_loop().call_later(
        case.seconds, stop.request, deadline_passed(timedelta(seconds=case.seconds))
    )
    projects = {("a", "p"): "POLYAI_API_KEY"}
    throttle = Throttle(concurrency=case.concurrency, sleep=stop.sleep, stopped=stop.event.is_set)
    surface, timeouts = Surface.PLATFORM_V3, Timeouts(connect=10, read=60, total=900)
    async with Client(origin=base_url, surface=surface, timeouts=timeouts) as client:
        asker = Asker(
            credentials=Credentials(Settings().credentials, {"POLYAI_API_KEY": "sandbox-key"}),
            throttle=throttle,
            retry=RetryPolicy(sleep=stop.sleep),
            refusals=Refusals(projects),
            host=Host(max_outage=60, max_delay=60, clock=time.monotonic, chance=random.random),
            give_up=lambda error: stop.request(StopReason.of(error)),
        )
        fetcher = Fetcher(
            asker=asker,
            courier=Courier(client, cast("Writer", _Bin())),
            pending_grace=timedelta(),
        )

        async def recordings() -> AsyncIterator[Recording]:
            for number in itertools.count():
                yield Recording("a", "p", f"CA{number}", Direction.COMBINED, Redaction.REDACTED)

        async def work(recording: Recording) -> None:
            await fetcher.fetch(recording, Target("wherever.wav"))

        await run_pool(recordings(), work, concurrency=case.concurrency, stop=stop.event)


class _Bin:
    """Takes bodies and throws them away: disks are measured elsewhere."""

    async def write(self, chunks: AsyncGenerator[bytes], _path: str, **_options: object) -> Written:
        async for _ in chunks:
            pass
        return Written(0, "", AudioFormat("pcm_s16le", 8000, 1, 16, 0.1))


class _Serving:
    """A sandbox in a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        async with self._sandbox:
            self._ready.set()
            await self._ended.wait()

    def __enter__(self) -> None:
        self._thread.start()
        self._ready.wait()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


def simulated(seeds: int) -> list[dict[str, Any]]:
    """The worst and the middle of many seeds."""
    rows = []
    for name, server, seconds, workers, share in (
        ("60/s, burst 30", Server(steady(60), 30), 120, 64, 1.0),
        ("5/s, burst 30", Server(steady(5), 30), 300, 64, 1.0),
        ("500/s, burst 250", Server(steady(500), 250), 180, 256, 0.1),
        ("60/s, halved for a third", Server(halved(60, 130, 260), 30), 400, 64, 0.5),
        ("500/s, burst 30", Server(steady(500), 30), 180, 256, 0.1),
        ("60/s, burst 1", Server(steady(60), 1), 120, 64, 0.2),
    ):
        count = max(2, round(seeds * share))
        found = [
            simulate(server, seconds=seconds, workers=workers, seed=seed) for seed in range(count)
        ]
        goodput = sorted(each.goodput for each in found)
        rows.append(
            {
                "case": name,
                "seeds": count,
                "goodput_worst": round(goodput[0], 4),
                "goodput_median": round(goodput[count // 2], 4),
                "refused_worst": round(max(each.refused for each in found), 5),
                "retry_after_broken": sum(each.broken for each in found),
            }
        )
    return rows


async def latency_bound(workers: int, latency: float, seconds: float) -> dict[str, Any]:
    """Requests a second, against workers ÷ latency."""
    throttle = Throttle(concurrency=workers)
    policy = RetryPolicy()
    count = round(workers / latency * seconds)

    async def items() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def attempt() -> None:
        turn = await throttle.turn("key")
        await asyncio.sleep(latency)
        throttle.accepted(turn)
        throttle.leave(turn)

    async def work(_: int) -> None:
        await with_retries(attempt, policy)

    async def bare(_: int) -> None:
        await asyncio.sleep(latency)

    start = time.perf_counter()
    await run_pool(items(), work, concurrency=workers)
    rate = count / (time.perf_counter() - start)
    start = time.perf_counter()
    await run_pool(items(), bare, concurrency=workers)
    possible_here = count / (time.perf_counter() - start)
    return {
        "workers": workers,
        "latency": latency,
        "requests_per_second": round(rate),
        "of_workers_by_latency": round(rate * latency / workers, 4),
        "of_the_pool_alone": round(rate / possible_here, 4),
    }


async def overhead(count: int) -> dict[str, Any]:
    """Microseconds a request."""
    throttle = Throttle(concurrency=16)
    policy = RetryPolicy()

    async def attempt() -> None:
        turn = await throttle.turn("key")
        throttle.accepted(turn)
        throttle.leave(turn)

    start = time.perf_counter()
    for _ in range(count):
        await with_retries(attempt, policy)
    return {"microseconds_a_request": round((time.perf_counter() - start) / count * 1e6, 1)}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute instead of many")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    log.configure(json=False, level="error", redactor=log.Redactor())
    scale = 0.25 if arguments.quick else 1.0

    def fell(start: float, end: float) -> Callable[[float], float]:
        return lambda now: 0.5 if start * scale <= now < end * scale else 1.0

    cases = [
        Case("60/s, burst 30", 60, 30, 120 * scale),
        Case("5/s, burst 30", 5, 30, 120 * scale),
        Case("500/s, burst 250", 500, 250, 90 * scale, concurrency=64),
        Case("60/s, halved for a third", 60, 30, 300 * scale, speed=fell(100, 200)),
    ]
    figures: dict[str, Any] = {
        "overhead": asyncio.run(overhead(100_000)),
        "latency_bound": asyncio.run(latency_bound(256, 0.1, 40 * scale)),
        "simulated": simulated(8 if arguments.quick else 100),
        "loopback": [],
    }
    for name in ("overhead", "latency_bound"):
        _print(name, [figures[name]])
    _print("simulated", figures["simulated"])
    for case in cases:
        figures["loopback"].append(loopback(case))
        _print("loopback", figures["loopback"][-1:])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def _print(name: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        fields = "  ".join(f"{key} {value}" for key, value in row.items())
        sys.stdout.write(f"{name:14} {fields}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
