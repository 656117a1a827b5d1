"""Runs that are killed, archives that are held, full, read-only or gone; chaos in short."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.sandbox import AudioSettings, Match, Rule, Stall, World
from tests.archives import (
    BY_ONE_OR_TWO,
    JOB,
    verified,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process


# Killed, held, full.


@BY_ONE_OR_TWO
def test_a_killed_run_is_told_and_tidied_up_by_the_next(
    exporter: Command, start_sandbox: Callable[..., Sandbox], processes: int
) -> None:
    """After `kill -9` the next run removes the half-written file and tells the dead one."""
    exporter.use_processes(processes)
    stuck = start_sandbox(
        world=World(audio=AudioSettings(seconds=(200, 200))),
        scenario=[Rule(match=Match(conversation="CA2"), action=Stall(after_bytes=2_500_000))],
    )
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", stuck.base_url, "-j", 2)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) >= 2)
    wait_for(lambda: len(list(exporter.archive.rglob("CA2/.*.part"))) == 2)  # both are stuck
    process.kill()
    process.communicate()
    assert list(exporter.archive.rglob(".*.part"))
    sound = start_sandbox(world=World(audio=AudioSettings(seconds=(200, 200))))
    done = exporter("run", job, "--base-url", sound.base_url)
    assert done.exit_code == 0, done.text
    assert "archive.swept" in done.stderr
    assert not list(exporter.archive.rglob(".*.part"))
    files = list(exporter.archive.glob("_exporter/runs/*/results.json"))
    told = {found["run"]["status"]: found for found in map(json.loads, map(Path.read_bytes, files))}
    assert (len(files), set(told)) == (2, {"interrupted", "complete"})
    dead = told["interrupted"]
    assert dead["run"]["exit_code"] == 137
    assert dead["summary"]["requested"] == 6
    assert dead["summary"]["cancelled"] >= 2
    assert verified(exporter, exporter.archive)[0] == 0


def test_only_one_run_at_a_time_holds_the_archive(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The second one ends with exit 5 and says who holds it; with --wait it gets its turn."""
    slow = start_sandbox(
        scenario=[Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None))]
    )
    job = exporter.write("job.yaml", JOB)
    first = exporter.start("run", job, "--base-url", slow.base_url)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) == 4)
    refused = exporter("run", job, "--base-url", slow.base_url)
    assert refused.exit_code == 5
    assert f"process {first.pid}" in refused.stderr
    assert "--wait" in refused.stderr
    # A file has its name a moment before the ledger has its record.
    wait_for(lambda: json.loads(exporter("plan", job, "--json").stdout)["archived"] == 4)
    assert verified(exporter, exporter.archive)[0] == 0
    waiting = exporter.start("run", job, "--base-url", slow.base_url, "--wait", "90s", "-j", "1")
    first.kill()
    first.communicate()
    wait_for(lambda: "CA3" in str(slow.requests[-1].path) and len(slow.requests) > 6)
    waiting.kill()
    waiting.communicate()


def test_a_run_does_not_start_on_a_nearly_full_disk(
    exporter: Command, run: Callable[..., Finished], sandbox: Sandbox
) -> None:
    """`min_free_bytes` is checked before the first request."""
    exporter.environment["EXPORTER_LIMITS__MIN_FREE_BYTES"] = "900TiB"
    done = run()
    assert done.exit_code == 4
    assert "limits.min_free_bytes" in done.stderr
    assert not sandbox.requests


@BY_ONE_OR_TWO
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(
    exporter: Command, sandbox: Sandbox, run: Callable[..., Finished], processes: int
) -> None:
    """Exit 4 with advice, results all the same, nothing half written, and then the rest."""
    exporter.use_processes(processes)
    job = exporter.folder / "job.yaml"
    process = exporter.start(
        "run", job, "--base-url", sandbox.base_url,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )  # fmt: skip
    _, stderr = process.communicate()
    assert process.returncode == 4, stderr
    assert "Traceback" not in stderr
    assert not list(exporter.archive.rglob(".*.part"))
    done = run()
    assert done.exit_code == 0, done.text
    assert verified(exporter, exporter.archive)[0] == 0


@BY_ONE_OR_TWO
def test_results_go_elsewhere_when_the_archive_vanishes(
    exporter: Command, start_sandbox: Callable[..., Sandbox], processes: int
) -> None:
    """The archive is gone in the middle of a run: exit 4, and it says where results are."""
    exporter.use_processes(processes)
    slow = start_sandbox(
        world=World(audio=AudioSettings(seconds=(1, 1))),
        scenario=[Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None, seconds=3))],
    )
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", slow.base_url)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) == 4)
    exporter.archive.rename(exporter.folder / "elsewhere")
    _, stderr = process.communicate()
    assert process.returncode == 4, stderr
    (results,) = exporter.folder.glob(".local/state/exporter/results/*.json")
    assert results.name in stderr
    assert json.loads(results.read_bytes())["run"]["exit_code"] == 4
    assert not exporter.archive.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_read_only_file_system_is_refused_and_can_be_verified(
    archive: Path, exporter: Command, run: Callable[..., Finished]
) -> None:
    """Exit 4 with advice; verify and plan read it all the same."""
    if subprocess.run(["mount", "--bind", archive, archive], check=False).returncode:  # noqa: S607
        pytest.skip("this machine does not let us mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", archive], check=True)  # noqa: S607
        done = run()
        assert done.exit_code == 4
        assert "read-only" in done.stderr
        assert verified(exporter, archive)[0] == 0
        assert exporter("plan", exporter.folder / "job.yaml").exit_code == 0
    finally:
        subprocess.run(["umount", archive], check=True)  # noqa: S607


# Chaos.


def test_chaos_in_short(exporter: Command) -> None:
    """Three rounds of the chaos suite; `make chaos` plays two hundred."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*exporter.arguments()[:1], "-m", "tests.chaos.chaos", "--rounds", "3"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("flags", [(), ("--json",), ("--log-format", "json")])
@pytest.mark.parametrize("lost", ["stdout", "stderr", "both"])
def test_a_run_outlives_whoever_read_what_it_says(
    exporter: Command, sandbox: Sandbox, flags: tuple[str, ...], lost: str
) -> None:
    """The recordings, the results and the exit code are the same without a reader."""
    process = exporter.start(
        "run", exporter.write("job.yaml", JOB), "--base-url", sandbox.base_url, *flags
    )
    for name in ("stdout", "stderr"):
        if lost in (name, "both"):
            getattr(process, name).close()
            setattr(process, name, None)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "Traceback" not in (stderr or "")
    (results,) = exporter.archive.glob("_exporter/runs/*/results.json")
    assert json.loads(results.read_bytes())["run"]["status"] == "complete"


def test_a_full_disk_for_the_log_loses_the_log_alone(exporter: Command, sandbox: Sandbox) -> None:
    """What is said is lost; the run goes on."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            exporter.arguments(
                "run", exporter.write("job.yaml", JOB), "--base-url", sandbox.base_url
            ),
            cwd=exporter.folder,
            env=exporter.environment,
            stdin=subprocess.DEVNULL,
            stderr=full,
        )
        assert process.wait() == 0
    assert list(exporter.archive.glob("_exporter/runs/*/results.json"))
