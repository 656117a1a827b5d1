"""What is not there yet, or failed, is remembered: later runs, `status`, `retry`, a manifest."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sandbox import Match, Respond, Rule, Times
from exporter.sinks.base import Holder
from exporter.sinks.local import LocalSink
from tests.balance import balanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

AN_HOUR_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
NOT_YET = Respond(404, code="CONVERSATIONS_RECORDING_NOT_FOUND")


def job(*entries: str, head: str = "", project: str = "p") -> str:
    lines = "".join(f"- {each}\n" for each in entries)
    defaults = f"{{account_id: a, project_id: {project}{head}}}"
    return f"version: 1\ndefaults: {defaults}\nconversations:\n{lines}"


def call(identifier: str) -> str:
    return f"{{id: {identifier}, started_at: {AN_HOUR_AGO}}}"


def status(exporter: Command, *arguments: object) -> Any:
    done = exporter("status", exporter.archive, "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def late(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """The recordings of `late…` are there from the second time on; `broken…` fail at first."""
    return start_sandbox(
        scenario=[
            Rule(match=Match(conversation="late*", attempts=Times(1, 1)), action=NOT_YET),
            Rule(match=Match(conversation="never*"), action=NOT_YET),
            Rule(match=Match(conversation="broken*", attempts=Times(1, 6)), action=Respond(500)),
        ]
    )


def test_what_is_pending_is_asked_for_by_the_next_run_of_another_manifest(
    exporter: Command, late: Sandbox
) -> None:
    """A night that does not name it any more fetches it, and its numbers balance; then it rests."""
    exporter.write("monday.yaml", job(call("late-1"), call("CA1")))
    exporter.write("tuesday.yaml", job(call("CA2")))

    monday = exporter("run", "monday.yaml", "--base-url", late.base_url)
    assert (monday.exit_code, monday.results()["summary"]["pending"]) == (0, 1)
    assert status(exporter)["pending"] == 1

    tuesday = exporter("run", "tuesday.yaml", "--base-url", late.base_url)
    document = tuesday.results()
    assert tuesday.exit_code == 0, tuesday.stderr
    assert balanced(document)
    assert document["summary"]["requested"] == 2
    assert document["summary"]["carried_over"] == 1
    assert [row["conversation_id"] for row in document["results"]] == ["CA2", "late-1"]
    assert [row.get("carried_over") for row in document["results"]] == [None, True]
    assert [row["status"] for row in document["results"]] == ["exported", "exported"]
    assert status(exporter)["pending"] == 0

    wednesday = exporter("run", "tuesday.yaml", "--base-url", late.base_url)
    assert wednesday.results()["summary"]["requested"] == 1


def test_after_the_grace_time_it_is_not_found_and_not_asked_for_again(
    exporter: Command, late: Sandbox
) -> None:
    """Pending ends: the run that finds the grace time over says not found, and exits 1."""
    exporter.write("monday.yaml", job(call("never-1")))
    exporter.write("tuesday.yaml", job(call("CA2")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)

    exporter.environment["EXPORTER_EXPORT__PENDING_GRACE"] = "30m"
    tuesday = exporter("run", "tuesday.yaml", "--base-url", late.base_url)
    assert tuesday.exit_code == 1
    assert tuesday.results()["summary"]["not_found"] == 1
    assert balanced(tuesday.results())
    (row,) = status(exporter)["missing"]
    assert (row["status"], row["runs"]) == ("not_found", 2)
    assert row["since"] < row["asked_at"]

    wednesday = exporter("run", "tuesday.yaml", "--base-url", late.base_url)
    assert (wednesday.exit_code, wednesday.results()["summary"]["requested"]) == (0, 1)


def test_named_again_it_is_the_manifests_own(exporter: Command, late: Sandbox) -> None:
    """A pending recording that the manifest names is asked for once, in the manifest's order."""
    exporter.write("job.yaml", job(call("late-1"), call("CA1")))
    exporter("run", "job.yaml", "--base-url", late.base_url)
    again = exporter("run", "job.yaml", "--base-url", late.base_url)
    document = again.results()
    assert [row["conversation_id"] for row in document["results"]] == ["late-1", "CA1"]
    assert (document["summary"]["carried_over"], document["summary"]["duplicates"]) == (0, 0)


def test_no_raw_recording_is_carried_over_where_none_may_be_asked_for(
    exporter: Command, late: Sandbox
) -> None:
    """With `--never-raw` the pending raw recording waits; the redacted one comes."""
    exporter.write("monday.yaml", job(call("late-1"), head=", redaction: [redacted, raw]"))
    exporter.write("tuesday.yaml", job(call("CA2")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    tuesday = exporter("run", "tuesday.yaml", "--base-url", late.base_url, "--never-raw")
    assert tuesday.exit_code == 0, tuesday.stderr
    rows = tuesday.results()["results"]
    assert [row["redaction"] for row in rows] == ["redacted", "redacted"]
    (left,) = status(exporter)["missing"]
    assert (left["redaction"], left["status"]) == ("raw", "pending")
    again = exporter(
        "retry", exporter.archive, "--base-url", late.base_url, "--never-raw", "--json"
    )
    assert json.loads(again.stdout)["requested"] == 0


def test_a_run_leaves_alone_what_it_has_no_key_for_or_was_asked_for_elsewhere(
    exporter: Command, late: Sandbox, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Another project's key, or another address of the API, fails no pending recording."""
    exporter.write("monday.yaml", job(call("late-1")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    exporter.write("other.yaml", job(call("CA2"), project="q"))
    exporter.write("keys.yaml", "credentials: [{project_id: q, api_key_env: POLYAI_API_KEY}]\n")
    other_key = exporter("run", "other.yaml", "--base-url", late.base_url, "-c", "keys.yaml")
    assert other_key.results()["summary"]["requested"] == 1
    elsewhere = exporter("run", "other.yaml", "--base-url", start_sandbox().base_url)
    assert elsewhere.results()["summary"]["requested"] == 1
    assert status(exporter)["pending"] == 1


def test_plan_tells_what_is_carried_over(exporter: Command, late: Sandbox) -> None:
    """`exporter plan` counts what the run will ask for again."""
    exporter.write("monday.yaml", job(call("never-1")))
    exporter.write("tuesday.yaml", job(call("CA2")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    planned = exporter(
        "plan",
        "tuesday.yaml",
        "--json",
        "-c",
        exporter.write("api.yaml", f"api: {{base_url: {late.base_url}}}\n"),
    )
    found = json.loads(planned.stdout)
    assert (found["requested"], found["new"], found["carried_over"]) == (2, 2, 1)


def test_failed_ones_are_known_and_not_asked_for_by_other_manifests(
    exporter: Command, late: Sandbox
) -> None:
    """What failed stays so through other runs, until `retry` asks for it and for nothing else."""
    exporter.write("monday.yaml", job(call("broken-1"), call("never-1"), "gone-1"))
    exporter.write("tuesday.yaml", job(call("CA2")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    exporter("run", "tuesday.yaml", "--base-url", late.base_url)

    found = status(exporter)
    assert (found["archived"], found["failed"], found["pending"], found["gone"]) == (1, 1, 1, 1)
    (failed,) = (row for row in found["missing"] if row["status"] == "failed")
    assert failed["error"]["kind"] == "server_error"
    assert failed["error"]["correlation_id"]
    assert failed["runs"] == 1
    assert [run["exit_code"] for run in found["runs"]] == [0, 1]

    again = exporter("retry", exporter.archive, "--base-url", late.base_url)
    document = again.results()
    assert again.exit_code == 0, again.stderr
    assert {row["conversation_id"]: row["status"] for row in document["results"]} == {
        "broken-1": "exported",
        "never-1": "pending",
    }
    assert document["run"]["manifest"] == {"path": "<pending and failed>", "sha256": None}
    assert status(exporter)["failed"] == 0


@pytest.mark.parametrize("ending", ["yaml", "jsonl"])
def test_the_failed_ones_make_a_manifest_that_run_takes(
    exporter: Command, late: Sandbox, ending: str
) -> None:
    """There and back: exactly the variants that failed are in it, and a run of it exports them."""
    entry = f"{{id: broken-1, started_at: {AN_HOUR_AGO}, directions: [user, agent]}}"
    exporter.write("monday.yaml", job(entry, "broken-2", call("CA1"), call("never-1")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)

    told = exporter("status", exporter.archive, "--failed-manifest", f"failed.{ending}")
    assert told.exit_code == 0, told.stderr
    assert "3 failed recordings written to" in told.stderr
    again = exporter("run", f"failed.{ending}", "--base-url", late.base_url)
    assert again.exit_code == 0, again.stderr
    rows = [row for row in again.results()["results"] if "carried_over" not in row]
    assert {(row["conversation_id"], row["direction"], row["status"]) for row in rows} == {
        ("broken-1", "user", "exported"),
        ("broken-1", "agent", "exported"),
        ("broken-2", "combined", "exported"),
    }
    nothing = exporter("status", exporter.archive, "--failed-manifest", f"none.{ending}")
    assert "nothing failed" in nothing.stderr
    assert not (exporter.folder / f"none.{ending}").exists()


def test_the_failed_ones_go_through_a_pipe(exporter: Command, late: Sandbox) -> None:
    """`--failed-manifest -` prints what `run -` reads, and nothing else."""
    exporter.write("monday.yaml", job("broken-1"))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    printed = exporter("status", exporter.archive, "--failed-manifest", "-")
    again = exporter("run", "-", "--base-url", late.base_url, stdin=printed.stdout)
    assert again.exit_code == 0, again.stderr
    nothing = exporter("status", exporter.archive, "--failed-manifest", "-")
    assert "nothing failed" in nothing.stderr
    idle = exporter("run", "-", "--base-url", late.base_url, stdin=nothing.stdout)
    assert idle.exit_code == 0, idle.stderr
    assert idle.results()["summary"]["conversations"] == 0


def test_status_for_people(exporter: Command, late: Sandbox) -> None:
    """It says what is missing, how much of it, why, and how the runs ended; `--all` shows more."""
    entries = [call(f"never-{number}") for number in range(25)]
    exporter.write("monday.yaml", job(*entries, call("broken-1"), call("CA1")))
    exporter("run", "monday.yaml", "--base-url", late.base_url)
    short = exporter("status", exporter.archive)
    assert short.exit_code == 0, short.stderr
    assert "1 recording archived; missing: 25 pending, 1 failed" in short.stdout
    assert "server error" in short.stdout
    assert "and 6 more; --all tells all" in short.stdout
    assert "partial" in short.stdout
    whole = exporter("status", exporter.archive, "--all")
    assert all(f"never-{number} combined.redacted" in whole.stdout for number in range(25))


def test_status_tells_what_a_stopped_run_did_not_reach(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Nobody is told that nothing is missing, until a run went to its end."""
    once = Match(conversation="refused", attempts=Times(1, 1))
    sandbox = start_sandbox(scenario=[Rule(match=once, action=Respond(422))])
    names = [f"CA{number}" for number in range(60)]
    exporter.write("job.yaml", job("refused", *names))
    exporter.write("rest.yaml", job(*names))
    api = ("--base-url", sandbox.base_url)
    stopped = exporter("run", "job.yaml", *api, "--max-failures", 1, "-j", 1)
    assert stopped.exit_code == 8, stopped.stderr
    found = status(exporter)
    assert found["failed"] == 1
    assert found["not_reached"] == 60 - found["archived"] > 0
    left, run = found["not_reached"], found["runs"][0]["run_id"]
    told = exporter("status", exporter.archive).stdout
    assert f"{left} recordings not reached: run {run} ended" in told

    exporter("run", "rest.yaml", *api)
    assert status(exporter)["not_reached"] == 0
    exporter("run", "job.yaml", *api)
    told = exporter("status", exporter.archive).stdout
    assert "61 recordings archived; nothing is missing that the latest run was asked for" in told


async def test_status_says_who_holds_the_archive(exporter: Command, sandbox: Sandbox) -> None:
    """While a run goes on, `status` names it; afterwards nobody."""
    exporter.write("job.yaml", job("CA1"))
    await asyncio.to_thread(exporter, "run", "job.yaml", "--base-url", sandbox.base_url)
    sink = LocalSink(exporter.archive, run_id="r-1", dir_mode=0o700, file_mode=0o600)
    hold = await sink.hold(Holder("r-1", "here", os.getpid(), datetime.now(UTC)))
    held = await asyncio.to_thread(status, exporter)
    await hold.release()
    assert (held["held_by"]["run_id"], held["held_by"]["host"]) == ("r-1", "here")
    free = await asyncio.to_thread(status, exporter)
    assert free["held_by"] is None


def test_status_and_retry_find_the_ledger_elsewhere(exporter: Command, late: Sandbox) -> None:
    """With `--state-dir` all of it works, and without it the ledger is missed in plain words."""
    exporter.write("job.yaml", job("broken-1"))
    elsewhere = ("--state-dir", "state")
    exporter("run", "job.yaml", "--base-url", late.base_url, *elsewhere)
    assert status(exporter, *elsewhere)["failed"] == 1
    again = exporter("retry", exporter.archive, "--base-url", late.base_url, *elsewhere)
    assert again.exit_code == 0, again.stderr
    for command in ("status", "retry"):
        lost = exporter(command, exporter.archive)
        assert lost.exit_code == 2
        assert "there is no ledger" in lost.stderr
        assert "--state-dir" in lost.stderr
        nowhere = exporter(command, "nowhere")
        assert nowhere.exit_code == 2
        assert "Traceback" not in nowhere.stderr


def test_a_wrong_ending_is_refused(exporter: Command, sandbox: Sandbox) -> None:
    """A manifest of failed ones is YAML or JSON lines; anything else is named."""
    exporter.write("job.yaml", job("CA1"))
    exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    done = exporter("status", exporter.archive, "--failed-manifest", "failed.csv")
    assert done.exit_code == 2
    assert "expected a file that ends in .yaml or .jsonl" in done.stderr
