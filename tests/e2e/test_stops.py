"""Runs that are stopped: what is under way, what lies in the archive, what is written."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter import export as exporter_export
from exporter import running
from exporter.errors import DestinationError
from exporter.pairing import Pairing
from exporter.partitions import Partitions
from exporter.sandbox import Match, Respond, Rule, Stall, Times
from exporter.settings import Flag
from exporter.sinks.local import LocalSink
from exporter.stopping import Stop, StopReason, deadline_passed, too_many_failures
from tests.archives import BY_ONE_OR_TWO

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

MANIFEST = "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n"
# The first scouts are answered; then everything stops in the middle of a body.
STALLED = [Rule(match=Match(requests=Times(5, None)), action=Stall(1000))]
BOTH = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)


def wait_until(process: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    """Until something holds; a process that ends before is a failure."""
    while not holds():
        if process.poll() is not None:
            pytest.fail(f"ended early: {process.communicate()}")
        time.sleep(0.02)


def signals(pid: int, which: str) -> int:
    """A set of signals of a process, as the kernel tells it."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    lines = status.read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(which))


def no_partial_file(exporter: Command, sandbox: Sandbox) -> int:
    """Every file under a final name is whole; returns how many there are."""
    files = list(exporter.archive.rglob("*.wav"))
    for file in files:
        call = sandbox.world.call("a", "p", file.parent.name)
        assert file.read_bytes() == call.wav("combined", redacted=True)
    leftovers = [
        path
        for path in exporter.archive.rglob("*")
        if path.is_file()
        and path.suffix != ".wav"
        and path.name != "manifest.json"
        and "_exporter" not in path.parts
    ]
    assert leftovers == []
    return len(files)


@BY_ONE_OR_TWO
@BOTH
def test_a_second_signal_rolls_back_at_once(
    exporter: Command,
    start_sandbox: Callable[..., Sandbox],
    number: signal.Signals,
    code: int,
    processes: int,
) -> None:
    """Stalled downloads are not waited for; results are written, and nothing partial is left."""
    exporter.use_processes(processes)
    sandbox = start_sandbox(scenario=STALLED)
    exporter.write("job.yaml", MANIFEST + "".join(f"- CA{n}\n" for n in range(50)))
    process = exporter.start("run", "job.yaml", "--base-url", sandbox.base_url, "--no-progress")
    wait_until(process, lambda: len(sandbox.requests) >= 8)
    process.send_signal(number)
    # The kernel keeps only one of two equal signals that are not delivered yet.
    wait_until(process, lambda: not signals(process.pid, "ShdPnd"))
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in text
    files = no_partial_file(exporter, sandbox)
    assert len(list(exporter.archive.glob("_exporter/runs/*/results.json"))) == 1
    again = exporter("plan", "job.yaml", "--json")
    assert f'"archived":{files}' in again.stdout.replace(" ", "")


@BY_ONE_OR_TWO
@BOTH
def test_a_signal_lets_finish_what_is_under_way(
    exporter: Command,
    start_sandbox: Callable[..., Sandbox],
    number: signal.Signals,
    code: int,
    processes: int,
) -> None:
    """Whole files, balanced results, the signal's exit code, and a reason for people."""
    exporter.use_processes(processes)
    slow = [Rule(match=Match(requests=Times(5, None)), delay=0.3)]
    sandbox = start_sandbox(scenario=slow)
    exporter.write("job.yaml", MANIFEST + "".join(f"- CA{n}\n" for n in range(400)))
    process = exporter.start(
        "run", "job.yaml", "--base-url", sandbox.base_url, "--no-progress", "--json"
    )
    wait_until(process, lambda: len(sandbox.requests) >= 8)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in text
    assert f"interrupted by {number.name}" in text
    assert "recording.cancelled" not in text
    assert f"a second signal rolls it back at once signal={number.name}" in text.replace("'", "")
    files = no_partial_file(exporter, sandbox)
    (results,) = exporter.archive.glob("_exporter/runs/*/results.json")
    content = results.read_text()
    assert content.count('"status":"exported"') == files >= 4
    assert content.count('"status":"cancelled"') == 400 - files
    assert '"status": "interrupted"' in content


@BOTH
def test_a_signal_before_the_run_begins(
    exporter: Command, number: signal.Signals, code: int
) -> None:
    """While the manifest is still being read, there is nothing to finish, and no traceback."""
    process = exporter.start("run", "-", "--base-url", "http://127.0.0.1:9")
    assert process.stdin is not None
    process.stdin.write(MANIFEST)
    process.stdin.flush()
    # Once the reader has its catcher for SIGTERM, it waits for more of the manifest.
    wait_until(process, lambda: _is_reading(process.pid))
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in text
    assert "nothing was under way" in text


def _is_reading(pid: int) -> bool:
    """Whether it waits on its standard input, and has a catcher for SIGTERM."""
    caught = signals(pid, "SigCgt") & (1 << (signal.SIGTERM - 1))
    return bool(caught) and "pipe" in Path(f"/proc/{pid}/wchan").read_text()


def test_a_signal_ends_planning_once_the_grace_is_over(
    exporter: Command, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the archive is hashed again, a signal ends that too, and results are written."""
    manifest = exporter.write("job.yaml", MANIFEST + "".join(f"- CA{n}\n" for n in range(20)))
    assert exporter("run", manifest, "--base-url", sandbox.base_url).exit_code == 0
    stop = Stop()
    hashed: list[str] = []
    feed = LocalSink.feed

    async def feed_late(self: LocalSink, path: str, into: Callable[[bytes], None]) -> None:
        if not hashed:
            os.kill(os.getpid(), signal.SIGTERM)
        hashed.append(path)
        await stop.hurry.wait()
        await feed(self, path, into)

    monkeypatch.setattr(running, "Stop", lambda: stop)
    monkeypatch.setattr(exporter_export, "_GRACE_SECONDS", 0)
    monkeypatch.setattr(LocalSink, "feed", feed_late)
    results = exporter.folder / "results.json"
    code = running.run(
        str(manifest),
        manifest_format=None,
        config_file=None,
        flags=[
            Flag("--base-url", ("api", "base_url"), sandbox.base_url),
            Flag("--recheck", ("export", "recheck"), value=True),
        ],
        wishes=running.Wishes(results_file=results, progress=False),
        environ=exporter.environment,
    )
    assert code == 143
    assert 0 < len(hashed) < 20
    assert '"status": "interrupted"' in results.read_text()


def exported(exporter: Command, sandbox: Sandbox, manifest: str) -> tuple[int, str]:
    """Export in this process; returns the exit code and the results."""
    job = exporter.write("job.yaml", manifest)
    results = exporter.folder / "results.json"
    code = running.run(
        str(job),
        manifest_format=None,
        config_file=None,
        flags=[Flag("--base-url", ("api", "base_url"), sandbox.base_url)],
        wishes=running.Wishes(results_file=results, progress=False),
        environ=exporter.environment,
    )
    return code, results.read_text()


@pytest.mark.parametrize("how", ["signal", "deadline", "failures"])
@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)], ids=["fine", "failing"])
def test_what_comes_after_everything_is_done_changes_nothing(
    exporter: Command,
    start_sandbox: Callable[..., Sandbox],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    code: int,
    *,
    fails: bool,
) -> None:
    """A run whose every recording has its outcome is what its outcomes say."""
    gone = Rule(match=Match(conversation="CA1"), action=Respond(status=410, code="GONE"))
    sandbox = start_sandbox(scenario=[gone] if fails else [])
    stop = Stop()
    write = Partitions.write

    async def write_late(self: Partitions) -> int:
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        elif how == "deadline":
            stop.request(deadline_passed(timedelta(hours=1)))
        else:
            stop.request(too_many_failures(1))
        await stop.event.wait()
        return await write(self)

    monkeypatch.setattr(running, "Stop", lambda: stop)
    monkeypatch.setattr(Partitions, "write", write_late)
    ended, results = exported(exporter, sandbox, f"{MANIFEST}- CA1\n- CA2\n")
    assert ended == code
    assert f'"status": "{"partial" if fails else "complete"}"' in results
    assert f'"exit_code": {code}' in results


def test_a_long_run_keeps_the_manifests_up_to_date(
    exporter: Command, start_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one recording keeps it busy, the manifest tells what is archived by then."""
    stuck = Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None))
    sandbox = start_sandbox(scenario=[stuck])
    stop = Stop()
    write = Partitions.write
    manifest = exporter.archive / "a" / "p" / "undated" / "manifest.json"
    told: list[str] = []

    async def write_and_look(self: Partitions) -> int:
        written = await write(self)
        if not stop.requested and written and manifest.read_text().count("conversation_id") == 2:
            told.append(manifest.read_text())
            stop.request(StopReason.of_signal(signal.SIGTERM))
            stop.hurry.set()
        return written

    monkeypatch.setattr(running, "Stop", lambda: stop)
    monkeypatch.setattr(exporter_export, "_MANIFESTS_EVERY", 0.01)
    monkeypatch.setattr(Partitions, "write", write_and_look)
    assert exported(exporter, sandbox, f"{MANIFEST}- CA1\n- CA2\n- CA3\n")[0] == 143
    assert told == [manifest.read_text()]


def test_a_manifest_that_cannot_be_written_stops_a_long_run(
    exporter: Command, start_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way is finished and recorded, nothing new is begun, and the exit code is 4."""
    slow = Rule(match=Match(), action=None, delay=0.3)
    sandbox = start_sandbox(scenario=[slow])
    exporter.environment["EXPORTER_LIMITS__CONCURRENCY"] = "1"
    write = Partitions.write
    failures = [DestinationError("no space left")]

    async def write_in_trouble(self: Partitions) -> int:
        if failures and sandbox.requests:
            raise failures.pop()
        return await write(self)

    monkeypatch.setattr(exporter_export, "_MANIFESTS_EVERY", 0.01)
    monkeypatch.setattr(Partitions, "write", write_in_trouble)
    code, results = exported(
        exporter, sandbox, MANIFEST + "".join(f"- CA{number}\n" for number in range(20))
    )
    assert code == 4
    exported_ones, cancelled = (
        results.count(f'"status":"{status}"') for status in ("exported", "cancelled")
    )
    assert exported_ones >= 1
    assert cancelled >= 1
    assert exported_ones + cancelled == 20
    manifest = exporter.archive / "a" / "p" / "undated" / "manifest.json"
    assert manifest.read_text().count("conversation_id") == exported_ones


def test_a_signal_that_keeps_pairs_from_being_compared_is_told(
    exporter: Command, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is archived, but not compared: the run was cut short, and the next one goes on."""
    stop = Stop()
    compare = Pairing.run

    async def compare_late(self: Pairing) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.event.wait()
        return await compare(self)

    monkeypatch.setattr(running, "Stop", lambda: stop)
    monkeypatch.setattr(Pairing, "run", compare_late)
    manifest = f"{MANIFEST}- {{id: CA1, redaction: [redacted, raw]}}\n"
    assert exported(exporter, sandbox, manifest)[0] == 143


def test_trouble_behind_a_signal_that_came_too_late_is_told(
    exporter: Command, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal changed nothing; that the results cannot be written does: exit 4."""
    stop = Stop()
    write = Partitions.write

    async def write_late(self: Partitions) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.event.wait()
        (exporter.archive / "_exporter" / "runs").write_text("in the way")
        return await write(self)

    monkeypatch.setattr(running, "Stop", lambda: stop)
    monkeypatch.setattr(Partitions, "write", write_late)
    monkeypatch.setenv("XDG_STATE_HOME", str(exporter.folder / "state"))
    assert exported(exporter, sandbox, f"{MANIFEST}- CA1\n")[0] == 4
    assert list(exporter.folder.glob("state/exporter/results/*.results.json"))


def test_a_third_signal_ends_the_process_as_it_stands(exporter: Command, sandbox: Sandbox) -> None:
    """Even while a thread hangs in the file system; the next run takes over and completes."""
    exporter.write("job.yaml", MANIFEST + "- CA1\n")
    folder = exporter.archive / "a" / "p" / "undated"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "manifest.json")  # who opens it to read hangs
    command = ("run", "job.yaml", "--base-url", sandbox.base_url, "--no-progress")
    process = exporter.start(*command)
    wait_until(process, lambda: _hangs_in_open(process.pid))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        process.send_signal(number)
        # The kernel keeps only one of two equal signals that are not delivered yet.
        while process.poll() is None and signals(process.pid, "ShdPnd"):
            pass
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted before the results were written" in text
    (folder / "manifest.json").unlink()
    assert exporter(*command).exit_code == 0
    assert len(list(exporter.archive.glob("_exporter/runs/*/results.json"))) == 2


def _hangs_in_open(pid: int) -> bool:
    """Whether one of its threads waits for a pipe's other end."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return any("wait_for_partner" in (thread / "wchan").read_text() for thread in threads)
