"""Runs and commands that are stopped or killed while the list is read."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from exporter.sandbox import (
    Stall,
)
from tests.listings import (
    JOB,
    QUERY,
    WORLD,
    listing,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command


def test_a_stop_while_listing(exporter: Command, start_sandbox: Callable[..., Sandbox]) -> None:
    """The run ends tidily, and its results say that the list was not read to its end."""
    sandbox = start_sandbox(world=WORLD, scenario=[listing(Stall(after_bytes=100))])
    exporter.write("job.yaml", JOB)
    process = exporter.start("run", "job.yaml", "--base-url", sandbox.base_url)
    while not sandbox.requests and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in {130, 143}, stderr
    results = next(exporter.archive.glob("_exporter/runs/*/results.json"))
    (window,) = json.loads(results.read_text())["run"]["discovered"]
    assert not window["complete"]


def test_a_stop_of_the_command(exporter: Command, start_sandbox: Callable[..., Sandbox]) -> None:
    """`exporter discover` that is told to end does so at once, and writes nothing."""
    sandbox = start_sandbox(world=WORLD, scenario=[listing(Stall(after_bytes=100))])
    process = exporter.start("discover", *QUERY, "--base-url", sandbox.base_url)
    while not sandbox.requests and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (143, ""), stderr
    assert "Traceback" not in stderr


def test_a_run_that_is_killed_while_listing(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The next run tells of it that its window was never listed to its end."""
    stalling = start_sandbox(world=WORLD, scenario=[listing(Stall(after_bytes=100))])
    exporter.write("job.yaml", JOB)
    process = exporter.start("run", "job.yaml", "--base-url", stalling.base_url)
    while not stalling.requests and process.poll() is None:
        os.sched_yield()
    process.kill()
    process.communicate()
    assert run(exporter, start_sandbox(world=WORLD)).exit_code == 0
    found = [
        json.loads(file.read_text())["run"]
        for file in exporter.archive.glob("_exporter/runs/*/results.json")
    ]
    (killed,) = (each for each in found if each["exit_code"] == 137)
    assert not killed["discovered"][0]["complete"]
    assert killed["discovered"][0]["error"]["kind"] == "cancelled"
