"""The sandbox as a program of its own: `exporter sandbox`."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.sandbox.clock import SystemClock
from exporter.sandbox.scenario import Scenario, load_scenario
from exporter.sandbox.server import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox.calls import RedactionStyle
    from exporter.sandbox.wav import Codec, HeaderStyle
    from exporter.sandbox.world import Framing


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    scenario: Path | None = None,
    requests_per_second: float | None = None,
    burst: int | None = None,
    max_concurrent: int | None = None,
    latency: float | None = None,
    call_seconds: tuple[float, float] | None = None,
    codec: Codec | None = None,
    sample_rate: int | None = None,
    header_style: HeaderStyle | None = None,
    framing: Framing | None = None,
    redaction: RedactionStyle | None = None,
    comfort_noise_dbfs: float | None = None,
    pii_share: float | None = None,
    pii_access: bool = True,
    clock_skew: float = 0.0,
    allow_any_address: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    What is given here wins over the scenario file, which wins over the defaults.

    Args:
        host: address to listen at.
        port: port to listen at; 0: any free one.
        scenario: a scenario file.
        requests_per_second: sustained rate of each key; more is answered with 429.
        burst: requests that may come at once before the rate counts.
        max_concurrent: requests under way at once; more are answered with 429.
        latency: seconds before any answer.
        call_seconds: shortest and longest call.
        codec: how samples are stored.
        sample_rate: samples a second.
        header_style: how WAV headers are written.
        framing: how the end of a recording is told.
        redaction: what redacted recordings have in place of what is private.
        comfort_noise_dbfs: level of comfort noise.
        pii_share: how many calls of 1 have something private.
        pii_access: False takes PII access from every key.
        clock_skew: seconds that the sandbox's clock is fast.
        allow_any_address: listen even where other machines can connect.
        announce: told the base URL when the sandbox is ready; by default it is printed.

    Raises:
        ScenarioError: the scenario file is wrong.
        ValueError: another argument is.
        OSError: the address is not to be had.
    """
    described = load_scenario(scenario) if scenario else Scenario()
    world = described.world
    audio = _override(
        world.audio,
        seconds=call_seconds,
        codec=codec,
        sample_rate=sample_rate,
        header_style=header_style,
        redaction=redaction,
        comfort_noise_dbfs=comfort_noise_dbfs,
        pii_share=pii_share,
    )
    world = _override(world, audio=audio, framing=framing)
    if not pii_access:
        world = replace(world, keys=tuple(replace(key, pii_access=False) for key in world.keys))
    limits = _override(
        described.limits,
        requests_per_second=requests_per_second,
        burst=burst,
        max_concurrent=max_concurrent,
        latency=latency,
    )
    sandbox = Sandbox(
        world=world,
        scenario=described.rules,
        limits=limits,
        clock=SystemClock(skew=clock_skew),
        host=host,
        port=port,
        allow_any_address=allow_any_address,
        journal_limit=1,  # nobody reads it here
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        async with sandbox:
            (announce or _print)(sandbox.base_url)
            await stopped.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def parse_call_seconds(text: str) -> tuple[float, float]:
    """From `20-600`, or `5` where all calls are equally long.

    Raises:
        ValueError: it is neither.
    """
    shortest, _, longest = text.partition("-")
    try:
        return float(shortest), float(longest or shortest)
    except ValueError:
        raise ValueError(f"expected seconds such as 20-600, found {text!r}") from None


def _override(settings: Any, **given: Any) -> Any:  # noqa: ANN401
    """The settings with what is given in place of what they say."""
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def _print(line: str) -> None:
    # Flushed: whoever waits for this line reads it through a pipe.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
