"""Discovery as people use it: the command, pipes, manifests that look for themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.sandbox import (
    BadPage,
    Endpoint,
    History,
    Match,
    PageFault,
    Respond,
    Rule,
    Times,
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
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process


@pytest.fixture
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return start_sandbox(world=WORLD)


def discover(exporter: Command, sandbox: Sandbox, *arguments: str) -> Finished:
    return exporter("discover", *QUERY, "--base-url", sandbox.base_url, *arguments)


def windows(done: Finished) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done.results()["run"]["discovered"]
    return found


def test_a_manifest_of_yesterday(exporter: Command, sandbox: Sandbox) -> None:
    """It is whole, says what was left out, holds nothing private, and `run` takes it."""
    done = discover(exporter, sandbox, "-o", "m.yaml")

    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    text = (exporter.folder / "m.yaml").read_text()
    manifest = yaml.safe_load(text)
    ids = [one["id"] for one in manifest["conversations"]]
    assert 0 < len(ids) < 24
    assert re.search(rf"24 found: {len(ids)} listed; {24 - len(ids)} left out: of a channel", text)
    assert f"left_out_channel={24 - len(ids)}" in done.stderr
    assert "+1555" not in text
    assert "Caller" not in text
    assert set(manifest["conversations"][0]) == {"id", "started_at"}
    done = exporter("run", "m.yaml", "--base-url", sandbox.base_url)
    assert done.exit_code == 0, done.stderr
    assert [row["conversation_id"] for row in done.results()["results"]] == ids


def test_a_pipe(exporter: Command, sandbox: Sandbox) -> None:
    """`exporter discover … | exporter run -`."""
    exporter.in_process = False
    listed = discover(exporter, sandbox)
    done = exporter("run", "-", "--base-url", sandbox.base_url, stdin=listed.stdout)
    assert done.exit_code == 0, done.stderr
    assert done.results()["summary"]["exported"] > 0


def test_nothing_to_be_found(exporter: Command, start_sandbox: Callable[..., Sandbox]) -> None:
    """An empty list is a manifest for nothing."""
    sandbox = start_sandbox(world=replace(WORLD, histories=()))
    listed = discover(exporter, sandbox)
    assert yaml.safe_load(listed.stdout)["conversations"] == []
    done = exporter("run", "-", "--base-url", sandbox.base_url, stdin=listed.stdout)
    assert done.exit_code == 0, done.stderr


def test_a_part_is_never_written(exporter: Command, start_sandbox: Callable[..., Sandbox]) -> None:
    """When the list breaks off, there is no manifest: not in the file, not in the pipe."""
    exporter.write("m.yaml", "the old one")
    sandbox = start_sandbox(world=WORLD, scenario=[listing(BadPage(PageFault.UNREADABLE))])
    for arguments in (("-o", "m.yaml"), ()):
        done = discover(exporter, sandbox, *arguments)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert "could not be read to its end" in done.stderr
        assert "correlation id" in done.stderr
        assert "Traceback" not in done.stderr
    assert (exporter.folder / "m.yaml").read_text() == "the old one"
    assert [each.name for each in exporter.folder.iterdir()] == ["m.yaml"]
    assert exporter("run", "-", stdin="").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "soon"), "--from: found 'soon', expected a date"),
        (("--to", "yesterday"), "expected its end after its start"),
        (("--account", "../x"), "--account: "),
        (("--client-env", "prod"), "--client-env: found 'prod'"),
        (("--timezone", "Mars"), "--timezone: found 'Mars'"),
        (("--channel", "a b"), "--channel: found 'a b'"),
        (("--query", "refund"), "--query: query_type is missing"),
        (("--sample", "all"), "--sample: found 'all', expected random"),
        (("-o", "."), "--output: found the folder"),
        (("--region", "mars"), "found 'mars'"),
    ],
)
def test_mistakes(exporter: Command, arguments: tuple[str, ...], message: str) -> None:
    """A wrong flag is told in the flag's name, and nothing is asked for."""
    done = exporter("discover", *QUERY, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_key(exporter: Command, sandbox: Sandbox) -> None:
    """The code is 3 for the command and for a run that has nothing else to ask for."""
    exporter.environment["POLYAI_API_KEY"] = "sandbox-key-expired"
    done = discover(exporter, sandbox)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "refused the key" in done.stderr
    assert run(exporter, sandbox).exit_code == 3


def test_a_manifest_that_looks_for_itself(exporter: Command, sandbox: Sandbox) -> None:
    """One file is the job: run again it asks for pages only; the certificate balances."""
    first = run(exporter, sandbox)

    assert first.exit_code == 0, first.stderr
    (window,) = windows(first)
    taken = window["conversations"]["archived"]
    assert window["balances"]
    assert window["complete"]
    assert window["found"] == taken + window["left_out"]["channel"]
    assert window["recordings"]["archived"] == taken == first.results()["summary"]["exported"]
    assert window["timezone"] == "Europe/London"
    assert f"{window['found']} found = {taken} archived + " in first.stderr
    asked = len(sandbox.requests)
    again = run(exporter, sandbox)
    assert again.exit_code == 0, again.stderr
    assert [each.endpoint for each in sandbox.requests[asked:]] == ["list"]
    (window,) = windows(again)
    assert window["conversations"]["archived"] == taken
    assert (window["missing"], window["expired"]) == (0, 0)
    assert exporter("verify", "archive").exit_code == 0


def test_queries_beside_conversations(exporter: Command, sandbox: Sandbox) -> None:
    """What both name is exported once and counted; each window has its certificate."""
    listed = yaml.safe_load(discover(exporter, sandbox).stdout)["conversations"]
    job = (
        f"version: 1\ndefaults: {{account_id: a, project_id: p}}\ndiscover:\n"
        f"  - {{from: yesterday, to: today}}\n"
        f"  - {{from: -2d, to: today, channel: any, directions: [user]}}\n"
        f"conversations: [{listed[0]['id']}, CA-other]\n"
    )
    done = run(exporter, sandbox, job)
    assert done.exit_code == 1  # chats have no recording
    first, second = windows(done)
    assert first["balances"]
    assert second["balances"]
    assert (first["found"], second["found"], second["left_out"]) == (24, 48, {})
    assert first["recordings"]["archived"] >= first["conversations"]["archived"]
    assert second["conversations"]["not_found"] > 0
    assert done.results()["summary"]["duplicates"] == 1


def test_a_plan(exporter: Command, sandbox: Sandbox) -> None:
    """It lists first and says what it found; for that alone it needs a key."""
    exporter.write("job.yaml", JOB)
    exporter.environment["EXPORTER_API__BASE_URL"] = sandbox.base_url
    done = exporter("plan", "job.yaml")
    assert done.exit_code == 0, done.stderr
    assert "left out" in done.stdout
    found = json.loads(exporter("plan", "job.yaml", "--json").stdout)
    assert found["new"] == found["conversations"] > 24
    assert {each.endpoint for each in sandbox.requests} == {"list"}
    del exporter.environment["POLYAI_API_KEY"]
    refused = exporter("plan", "job.yaml")
    assert refused.exit_code == 2
    assert "POLYAI_API_KEY is not set" in refused.stderr
    assert not exporter.archive.exists()


def test_one_of_two_projects_cannot_be_listed(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The other is exported; the run says which is not whole, and fails."""
    sandbox = start_sandbox(
        world=WORLD, scenario=[listing(Respond(500), project="p", attempts=Times())]
    )
    job = (
        "version: 1\ndefaults: {account_id: a}\ndiscover:\n"
        "  - {project_id: p, from: yesterday, to: today}\n"
        "  - {project_id: q, from: yesterday, to: today}\n"
    )
    done = run(exporter, sandbox, job)
    assert done.exit_code == 1, done.stderr
    broken, whole = windows(done)
    assert not broken["complete"]
    assert broken["error"]["http_status"] == 500
    assert whole["complete"]
    assert whole["conversations"]["archived"] > 0
    assert done.results()["run"]["status"] == "partial"
    assert "the list was not read to its end" in done.stderr


def test_a_list_that_shrank(exporter: Command, start_sandbox: Callable[..., Sandbox]) -> None:
    """A list that lacks what an earlier run found there fails the run, also in another window."""
    assert run(exporter, start_sandbox(world=WORLD)).exit_code == 0
    shrunk = start_sandbox(
        world=WORLD, scenario=[listing(BadPage(PageFault.SHRUNK, share=0.5), attempts=Times())]
    )
    for job in (JOB, JOB.replace("-2d", "-3d")):
        done = run(exporter, shrunk, job)
        assert done.exit_code == 1
        assert windows(done)[0]["missing"] > 0
        assert windows(done)[0]["balances"]
        assert "the list shrank" in done.stderr
        assert "discover.shrunk" in done.stderr
    other = JOB.replace("timezone", "channel: any, timezone")
    assert windows(run(exporter, shrunk, other))[0]["missing"] == 0


def test_starts_are_looked_up(exporter: Command, sandbox: Sandbox) -> None:
    """Known ones get their date, unknown ones stay undated; nobody is asked twice."""
    listed = yaml.safe_load(discover(exporter, sandbox).stdout)["conversations"]
    one = listed[0]
    job = (
        "version: 1\nconfig: {export: {lookup_started_at: true}}\n"
        "defaults: {account_id: sandbox, project_id: p}\n"
    )
    # The other API family knows no account: its projects are those of the sandbox's own.
    exporter_query = ("--account", "sandbox", "--project", "p", "--from", "-1d", "--to", "today")
    own = yaml.safe_load(
        exporter("discover", *exporter_query, "--base-url", sandbox.base_url).stdout
    )["conversations"][0]
    job += f"conversations: [{own['id']}, CA-made-up]\n"
    done = run(exporter, sandbox, job)
    assert done.exit_code == 0, done.stderr
    dates = {row["conversation_id"]: row["path"].split("/")[2] for row in done.results()["results"]}
    assert dates == {own["id"]: f"{own['started_at']:%Y-%m-%d}", "CA-made-up": "undated"}
    assert "start.unknown" in done.stderr
    assert one["id"] != own["id"]

    def asked() -> list[str | None]:
        return [each.conversation for each in sandbox.requests if each.endpoint == "conversation"]

    assert sorted(filter(None, asked())) == sorted([own["id"], "CA-made-up"])
    assert run(exporter, sandbox, job).exit_code == 0
    assert asked()[2:] == ["CA-made-up"]


def test_a_key_that_may_not_look_up_starts_exports_all_the_same(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Refused descriptions speak of descriptions only: the recordings come, without a date."""
    refused = Rule(match=Match(endpoint=Endpoint.CONVERSATION), action=Respond(403))
    sandbox = start_sandbox(scenario=[refused])
    job = (
        "version: 1\nconfig: {export: {lookup_started_at: true}, limits: {concurrency: 1}}\n"
        "defaults: {account_id: a, project_id: p}\n"
        f"conversations: [{', '.join(f'CA{n}' for n in range(20))}]\n"
    )
    done = run(exporter, sandbox, job)
    assert done.exit_code == 0, done.stderr
    assert done.results()["summary"]["exported"] == 20
    assert {row["path"].split("/")[2] for row in done.results()["results"]} == {"undated"}
    assert done.stderr.count("start.given_up") == 1
    assert sum(each.endpoint == "conversation" for each in sandbox.requests) < 5


def test_calls_in_progress_carry_a_mark(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """They are included on request, and the manifest says what they are."""
    history = History(per_day=240, seconds=(7200, 7200))
    sandbox = start_sandbox(world=replace(WORLD, histories=(history,)))
    arguments = ("--account", "a", "--project", "p", "--from", "-1d", "--to", "2999-01-01")
    exporter.environment["EXPORTER_API__BASE_URL"] = sandbox.base_url
    with_them = exporter("discover", *arguments, "--include-in-progress")
    assert exporter("discover", *arguments).exit_code == 2  # a year too far
    arguments = (*arguments[:-1], "2998-01-01")
    with_them = exporter("discover", *arguments, "--include-in-progress")
    without = exporter("discover", *arguments)
    marked = [
        one.get("in_progress", False) for one in yaml.safe_load(with_them.stdout)["conversations"]
    ]
    assert 15 <= sum(marked) <= 25
    assert "in_progress" not in yaml.safe_load(without.stdout)["conversations"][0]
    assert "left_out_in_progress" in without.stderr


MEASURED = """
import sys, tracemalloc
from exporter import cli
tracemalloc.start()
try:
    cli.app(sys.argv[1:], standalone_mode=False)
finally:
    print("peak", tracemalloc.get_traced_memory()[1], file=sys.stderr)
"""


@pytest.mark.timeout(400)
def test_any_number_takes_the_same_memory(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Eight times the conversations fit into the same memory, and `plan` takes the manifest."""

    def peak(per_day: int) -> int:
        history = History(per_day=per_day, turns=1, seconds=(0.2, 0.4))
        sandbox = start_sandbox(world=replace(WORLD, histories=(history,)))
        arguments = ["discover", *QUERY, "--base-url", sandbox.base_url, "-o", f"{per_day}.yaml"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments],
            cwd=exporter.folder,
            env=exporter.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stderr.rpartition("peak ")[2])

    small, large = peak(1500), peak(12_000)
    # The spool keeps its first MiB in memory; 10 500 conversations would take three times that.
    assert large < small + 1_300_000
    planned = exporter("plan", "12000.yaml", "--json")
    assert json.loads(planned.stdout)["new"] == 12_000


def test_never_raw(exporter: Command, sandbox: Sandbox) -> None:
    """A query for raw recordings is refused before anything is asked for."""
    done = run(exporter, sandbox, JOB.replace("{from", "{redaction: raw, from"), "--never-raw")
    assert done.exit_code == 2
    assert "job.yaml:3:12: never_raw is set" in done.stderr
    assert not sandbox.requests
