"""Runs that fetch with several processes: the same archive, and whoever dies is noticed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sandbox import AudioSettings, Cut, Match, Respond, Rule, Stall, Times, World
from tests.archives import BY_ONE_OR_TWO, recordings, verified, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

JOB = (
    "version: 1\n"
    "defaults: {account_id: a, project_id: p, directions: [combined, user, agent],"
    " redaction: [redacted, raw]}\n"
    "conversations:\n"
) + "".join(f"- {{id: CA{n}, started_at: 2026-05-2{n % 3}T10:00:00Z}}\n" for n in range(12))


def couriers_of(pid: int) -> list[int]:
    """The processes that fetch for a run: its children, but for those that have ended."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(own) for own, parent, state in rows if int(parent) == pid and state[0] != "Z"]


def is_alive(pid: int) -> bool:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()[:1] not in {"", "Z"}


def told(document: dict[str, Any]) -> list[object]:
    """What results say of each recording, without times and addresses."""
    keys = "conversation_id", "direction", "redaction", "status", "path", "bytes", "sha256"
    return [[row.get(key) for key in keys] for row in document["results"]]


def test_a_library_that_cannot_be_used_is_told_of(
    exporter: Command, start_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes hashing faster and fails costs nothing but that, and the log says so, once."""
    (exporter.folder / "libraries").mkdir()
    (exporter.folder / "libraries/stringzilla.py").write_text(
        "raise OSError('no such instruction')"
    )
    monkeypatch.syspath_prepend(exporter.folder / "libraries")
    exporter.use_processes(2)
    done = exporter("run", exporter.write("job.yaml", JOB), "--base-url", start_sandbox().base_url)
    assert done.exit_code == 0, done.text
    assert done.stderr.count("digests.refused") == 1
    assert "stringzilla fails: OSError: no such instruction" in done.stderr


def test_two_processes_make_the_same_archive_as_one(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Paths, hashes, order and numbers are the same; failed attempts are repeated there, too."""
    job = exporter.write("job.yaml", JOB)
    trouble = [
        Rule(match=Match(conversation="CA3", attempts=Times(1, 1)), action=Cut(100)),
        Rule(match=Match(conversation="CA4", attempts=Times(1, 2)), action=Respond(503)),
        Rule(match=Match(conversation="CA5"), action=Respond(404)),
    ]
    documents, archives = [], []
    for processes in (1, 2):
        exporter.use_processes(processes)
        exporter.environment["EXPORTER_OUTPUT__URL"] = folder = str(
            exporter.folder / f"{processes}"
        )
        sandbox = start_sandbox(scenario=trouble)
        done = exporter("run", job, "--base-url", sandbox.base_url)
        assert done.exit_code == 1, done.text
        (file,) = (exporter.folder / f"{processes}").glob("_exporter/runs/*/results.json")
        documents.append(json.loads(file.read_bytes()))
        archives.append(recordings(exporter.folder / f"{processes}"))
        assert verified(exporter, exporter.folder / folder)[0] == 0
        assert "Traceback" not in done.stderr
    assert archives[0] == archives[1]
    assert len(archives[0]) == 66
    assert told(documents[0]) == told(documents[1])
    assert documents[0]["summary"]["failed"] == documents[1]["summary"]["failed"]


def test_a_courier_that_is_killed_ends_the_run_with_a_reason(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Exit 1 and advice instead of a hang; numbers add up, and the next run does the rest."""
    stuck = start_sandbox(
        scenario=[Rule(match=Match(conversation="CA7"), action=Stall(after_bytes=100))]
    )
    exporter.use_processes(2)
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", stuck.base_url)
    wait_for(lambda: sum("CA7" in each.path for each in stuck.requests) == 6)
    os.kill(couriers_of(process.pid)[0], signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert "was ended by signal 9" in stderr
    assert "Run again" in stderr
    assert "Traceback" not in stderr
    (file,) = exporter.archive.glob("_exporter/runs/*/results.json")
    summary = json.loads(file.read_bytes())["summary"]
    assert summary["requested"] == 72 == summary["exported"] + summary["cancelled"]
    sound = start_sandbox()
    done = exporter("run", job, "--base-url", sound.base_url)
    assert done.exit_code == 0, done.text
    assert verified(exporter, exporter.archive)[0] == 0


def test_what_a_dead_courier_left_half_written_is_removed(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The run that it died for ends in order, so that the next one would not look for any."""
    stuck = start_sandbox(
        world=World(audio=AudioSettings(seconds=(200, 200))),
        scenario=[Rule(match=Match(conversation="CA2"), action=Stall(after_bytes=2_500_000))],
    )
    exporter.use_processes(2)
    process = exporter.start("run", exporter.write("job.yaml", JOB), "--base-url", stuck.base_url)
    wait_for(lambda: any(exporter.archive.rglob("CA2/.*.part")))
    for courier in couriers_of(process.pid):
        os.kill(courier, signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert not list(exporter.archive.rglob(".*.part"))


def test_couriers_leave_it_to_the_run_what_a_signal_means(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """A service manager's SIGTERM reaches them, too, even as they start: that is no accident."""
    exporter.use_processes(2)
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", start_sandbox().base_url)
    wait_for(lambda: len(couriers_of(process.pid)) == 2)
    for courier in couriers_of(process.pid):
        os.kill(courier, signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr


def test_processes_that_the_system_does_not_allow_end_the_run(
    exporter: Command, sandbox: Sandbox
) -> None:
    """Too few descriptors for 16 connections: exit 1, in words, nothing asked for, all planned."""
    exporter.use_processes(16)
    job = exporter.write("job.yaml", JOB)
    process = exporter.start(
        "run", job, "--base-url", sandbox.base_url,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)),
    )  # fmt: skip
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert "cannot be started: Too many open files" in stderr
    assert "Traceback" not in stderr
    assert not sandbox.requests
    (file,) = exporter.archive.glob("_exporter/runs/*/results.json")
    summary = json.loads(file.read_bytes())["summary"]
    assert summary["requested"] == 72 == summary["cancelled"]


@BY_ONE_OR_TWO
def test_an_archive_may_have_a_name_that_is_no_text(
    exporter: Command, sandbox: Sandbox, processes: int
) -> None:
    """A conflict in a folder whose bytes are not UTF-8 is recorded like any other."""
    exporter.use_processes(processes)
    archive = Path(os.fsdecode(bytes(exporter.folder) + b"/calls-\xff"))
    exporter.environment["EXPORTER_OUTPUT__URL"] = str(archive)
    run = "run", exporter.write("job.yaml", JOB), "--base-url", sandbox.base_url
    exporter.start(*run).communicate()
    shutil.rmtree(archive / "_exporter")
    for manifest in archive.rglob("manifest.json"):
        manifest.unlink()
    (one, *_) = sorted(archive.rglob("*.wav"))
    one.write_bytes(b"something else")
    process = exporter.start(*run)
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert "not exported: destination_conflict (1)" in stderr


def test_couriers_end_with_a_run_that_is_killed(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """`kill -9` of the run leaves no process behind that goes on writing."""
    stuck = start_sandbox(
        scenario=[Rule(match=Match(requests=Times(5, None)), action=Stall(after_bytes=100))]
    )
    exporter.use_processes(2)
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", stuck.base_url)
    wait_for(lambda: len(stuck.requests) >= 8)
    couriers = couriers_of(process.pid)
    assert len(couriers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(is_alive, couriers)))


def test_the_key_is_in_no_command_line(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Whoever lists processes sees neither keys nor conversations."""
    stuck = start_sandbox(
        scenario=[Rule(match=Match(requests=Times(5, None)), action=Stall(after_bytes=100))]
    )
    exporter.use_processes(2)
    process = exporter.start("run", exporter.write("job.yaml", JOB), "--base-url", stuck.base_url)
    wait_for(lambda: len(stuck.requests) >= 8)
    listed = subprocess.run(
        ["ps", "-A", "-w", "-w", "-o", "args="],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    process.kill()
    process.communicate()
    assert "courier_process" in listed.stdout
    assert exporter.environment["POLYAI_API_KEY"] not in listed.stdout


@pytest.mark.parametrize("name", ["EXPORTER_OUTPUT__URL", "EXPORTER_OUTPUT__RAW_URL"])
def test_archives_in_stores_are_written_by_one_process(
    exporter: Command, sandbox: Sandbox, name: str
) -> None:
    """Exit 2 says so before anything is asked for."""
    exporter.environment[name] = "s3://bucket/recordings"
    job = exporter.write("job.yaml", JOB)
    done = exporter("run", job, "--base-url", sandbox.base_url, "--processes", 2)
    assert done.exit_code == 2
    assert "--processes: found 2, expected 1" in done.stderr
    assert not sandbox.requests
