"""Trouble around a run: each ends with its own code and reason, and leaves nothing to wonder at."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.sandbox import Match, Rule, Stall

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

JOB = "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations: [CA1, CA2]\n"


def test_a_manifest_at_the_top_is_no_partitions(exporter: Command, sandbox: Sandbox) -> None:
    """`verify` takes a manifest.json that lies in the archive's root for what it is: unexpected."""
    exporter.write("job.yaml", JOB)
    exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    (exporter.archive / "manifest.json").write_text("{}")

    done = exporter("verify", "archive", "--json")

    assert "Traceback" not in done.stderr
    assert done.exit_code == 6
    (found,) = json.loads(done.stdout)["differences"]
    assert (found["status"], found["path"]) == ("unexpected", "manifest.json")


def test_the_ledger_says_how_a_run_ended_whose_results_could_not_be_written(
    exporter: Command, sandbox: Sandbox
) -> None:
    """Ledger, process and results agree; the next run writes the results where they belong."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations: [CA1]\n",
    )
    command = ("run", "job.yaml", "--base-url", sandbox.base_url)
    in_the_way = exporter.archive / "_exporter" / "runs"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file, where a folder is needed")

    def told() -> list[tuple[str, int]]:
        ledger = exporter.archive / "_exporter" / "ledger.sqlite"
        with contextlib.closing(sqlite3.connect(ledger)) as db:
            return db.execute("SELECT status, exit_code FROM runs ORDER BY id").fetchall()

    done = exporter(*command, "--json")
    assert done.exit_code == 4
    assert told() == [("stopped", 4)]
    elsewhere = json.loads(Path(json.loads(done.stdout)["results"]).read_bytes())
    assert elsewhere["run"]["exit_code"] == 4
    in_the_way.unlink()
    assert exporter(*command).exit_code == 0
    assert told() == [("stopped", 4), ("complete", 0)]
    codes = sorted(
        json.loads(path.read_bytes())["run"]["exit_code"]
        for path in exporter.archive.glob("_exporter/runs/*/results.json")
    )
    assert codes == [0, 4]


def test_a_deadline_while_waiting_for_another_run_is_a_deadline(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Who is stopped in the queue says so with the code of what stopped it, not with 5."""
    slow = start_sandbox(scenario=[Rule(match=Match(), action=Stall(after_bytes=None))])
    exporter.write("job.yaml", JOB)
    first = exporter.start("run", "job.yaml", "--base-url", slow.base_url)
    while not slow.requests and first.poll() is None:
        os.sched_yield()

    second = exporter(
        *("run", "job.yaml", "--base-url", slow.base_url, "--wait", "60s", "--deadline", "0.2s")
    )

    first.kill()
    first.communicate()
    assert second.exit_code == 8, second.stderr
    assert "waiting for the archive" in second.stderr


def test_results_that_cannot_be_written_are_known_beforehand(
    exporter: Command, sandbox: Sandbox
) -> None:
    """A bad `--results` ends the run before the first request, not after the last."""
    exporter.write("job.yaml", JOB)

    done = exporter(
        *("run", "job.yaml", "--base-url", sandbox.base_url, "--results", "/proc/nowhere/r.json")
    )

    assert done.exit_code == 4
    assert "/proc/nowhere" in done.stderr
    assert not sandbox.requests


def test_a_bad_proxy_is_no_killed_run(exporter: Command, sandbox: Sandbox) -> None:
    """What ends before the run begins leaves nothing for the next run to recover."""
    exporter.write("job.yaml", JOB)
    exporter.environment["HTTPS_PROXY"] = "socks5://h:1"
    refused = exporter("run", "job.yaml", "--base-url", "https://api.example.invalid")
    del exporter.environment["HTTPS_PROXY"]

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    assert refused.exit_code == 2, refused.stderr
    assert done.exit_code == 0, done.stderr
    assert "run.was_killed" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(exporter: Command, sandbox: Sandbox, closed: str) -> None:
    """As services start programs: the run is done, and no file takes the missing stream's number.

    What went to standard error would be written into it otherwise.
    """
    exporter.write("job.yaml", JOB)
    words = exporter.arguments("run", "job.yaml", "--base-url", sandbox.base_url, "--json")
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *words],
        cwd=exporter.folder,
        env=exporter.environment,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    results = exporter("verify", "archive", "--json")
    assert (results.exit_code, json.loads(results.stdout)["summary"]["ok"]) == (0, 2)
