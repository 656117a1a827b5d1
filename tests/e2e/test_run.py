"""The main job from manifest to results, through the real command and real sockets."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import typer.main

from exporter.cli import app
from exporter.sandbox import Match, Respond, Rule, Times
from exporter.schemas import schema
from tests.balance import balanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

DIRECTIONS = ("combined", "user", "agent")
REDACTIONS = ("redacted", "raw")


@pytest.fixture
def big_manifest(exporter: Command) -> list[tuple[str, str, str, str]]:
    """3 accounts x 2 projects x 2 conversations, all six variants."""
    entries = []
    lines = [
        "version: 1",
        "defaults: {directions: [combined, user, agent], redaction: [redacted, raw]}",
        "conversations:",
    ]
    for number, (account, project, day) in enumerate(
        itertools.product(("acme", "ws-fd112d8f", "zeta"), ("P-1", "P-2"), ("20", "21"))
    ):
        identifier = f"CA{number:04}"
        lines.append(
            f"- {{account_id: {account}, project_id: {project}, id: {identifier},"
            f" started_at: 2026-05-{day}T23:30:00Z}}"
        )
        entries.append((account, project, f"2026-05-{day}", identifier))
    exporter.write("job.yaml", "\n".join(lines))
    return entries


def test_every_variant_of_every_project_lands_where_it_belongs(
    exporter: Command, sandbox: Sandbox, big_manifest: list[tuple[str, str, str, str]]
) -> None:
    """Path, bytes, hash, audio and status are right for 72 recordings, each asked for once."""
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--json")

    assert done.exit_code == 0, done.stderr
    document = done.results()
    jsonschema.validate(document, json.loads(schema("results")))
    assert balanced(document)
    rows = {
        (
            row["account_id"],
            row["project_id"],
            row["conversation_id"],
            row["direction"],
            row["redaction"],
        ): row
        for row in document["results"]
    }
    expected_order = []
    for account, project, date, identifier in big_manifest:
        call = sandbox.world.call(account, project, identifier)
        for direction, redaction in itertools.product(DIRECTIONS, REDACTIONS):
            expected_order.append((account, project, identifier, direction, redaction))
            row = rows[expected_order[-1]]
            body = call.wav(direction, redacted=redaction == "redacted")
            path = f"{account}/{project}/{date}/{identifier}/{direction}.{redaction}.wav"
            assert row["status"] == "exported"
            assert row["path"] == path
            assert (done.archive / path).read_bytes() == body
            assert row["bytes"] == len(body)
            assert row["sha256"] == hashlib.sha256(body).hexdigest()
            assert row["audio"] == {
                "codec": "pcm_s16le",
                "sample_rate": 8000,
                "channels": 1,
                "bits_per_sample": 16,
                "duration_seconds": call.duration,
            }
            assert row["attempts"] == 1
            assert row["error"] is None
    assert [
        tuple(
            row[key]
            for key in ("account_id", "project_id", "conversation_id", "direction", "redaction")
        )
        for row in document["results"]
    ] == expected_order
    asked = [
        (r.account, r.project, r.conversation, r.direction, r.redacted) for r in sandbox.requests
    ]
    assert len(asked) == len(set(asked)) == 72
    assert all("direction=" in r.query and "redacted=" in r.query for r in sandbox.requests)
    summary = json.loads(done.stdout)
    assert summary["exported"] == summary["requested"] == summary["requests"] == 72
    assert summary["conversations"] == 12
    wanted = {row["path"] for row in rows.values()}
    found = {str(path.relative_to(done.archive)) for path in done.archive.rglob("*.wav")}
    assert found == wanted


def test_archive_is_private(exporter: Command, sandbox: Sandbox) -> None:
    """Whatever the umask, folders are 0700 and files 0600 by default, the ledger among them."""
    exporter.write("job.yaml", MINIMAL)

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    assert done.exit_code == 0, done.stderr
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in done.archive.rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert stat.S_IMODE(done.archive.stat().st_mode) == 0o700


def test_second_run_sends_no_request(exporter: Command, sandbox: Sandbox) -> None:
    """What is archived is skipped, without asking the API, and the results say where it lies."""
    exporter.write("job.yaml", MINIMAL)
    first = exporter("run", "job.yaml", "--base-url", sandbox.base_url).results()
    sent = len(sandbox.requests)

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    assert done.exit_code == 0, done.stderr
    assert len(sandbox.requests) == sent
    second = done.results()
    assert balanced(second)
    assert second["summary"]["skipped"] == first["summary"]["exported"]
    assert [row["path"] for row in second["results"]] == [row["path"] for row in first["results"]]
    assert [row["sha256"] for row in second["results"]] == [r["sha256"] for r in first["results"]]


def test_recordings_named_twice_are_exported_once(exporter: Command, sandbox: Sandbox) -> None:
    """A repeated conversation, or an overlapping choice of variants, is counted as duplicates."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n"
        "- {id: CA1, directions: [user]}\n- CA1\n- {id: CA1, directions: [agent, user]}\n- CA2\n",
    )

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    document = done.results()
    assert done.exit_code == 0, done.stderr
    assert balanced(document)
    assert document["summary"]["duplicates"] == 1
    assert document["summary"]["requested"] == 4
    assert document["summary"]["conversations"] == 2
    assert len(sandbox.requests) == 4


def test_each_answer_has_its_status_and_the_numbers_balance(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Missing, gone, failing and late recordings are told apart in results and exit code."""
    sandbox = start_sandbox(
        scenario=[
            Rule(match=Match(conversation="flaky", attempts=Times(1, 2)), action=Respond(503)),
            Rule(match=Match(conversation="broken"), action=Respond(500)),
        ]
    )
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n"
        "- fine\n- no-recording-1\n- unknown-1\n- gone-1\n- flaky\n- broken\n"
        f"- {{id: no-recording-2, started_at: {datetime.now(UTC).isoformat()}}}\n"
        "- {id: no-recording-3, started_at: 2999-01-01T00:00:00Z}\n",
    )

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    document = done.results()
    assert done.exit_code == 1
    assert balanced(document)
    assert document["run"]["status"] == "partial"
    rows = {row["conversation_id"]: row for row in document["results"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "fine": "exported",
        "no-recording-1": "not_found",
        "unknown-1": "not_found",
        "gone-1": "gone",
        "flaky": "exported",
        "broken": "failed",
        "no-recording-2": "pending",
        "no-recording-3": "not_found",  # a mistyped year is not waited for
    }
    assert rows["flaky"]["attempts"] == 3
    assert rows["broken"]["attempts"] == 6
    assert rows["broken"]["error"]["kind"] == "server_error"
    error = rows["no-recording-1"]["error"]
    assert (error["kind"], error["http_status"]) == ("recording_not_found", 404)
    assert error["code"] == "CONVERSATIONS_RECORDING_NOT_FOUND"
    assert error["correlation_id"] in {r.correlation_id for r in sandbox.requests}
    assert document["summary"]["requests"] == len(sandbox.requests)
    assert document["summary"]["retries"] == 2 + 5
    assert document["summary"]["errors"]["CONVERSATIONS_RECORDING_NOT_FOUND"] == 3


def test_missing_ones_may_be_allowed(exporter: Command, sandbox: Sandbox) -> None:
    """`--allow-missing` lets not found and gone pass, and nothing else."""
    exporter.write("job.yaml", MINIMAL + "- gone-1\n- no-recording-1\n")

    strict = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    lenient = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--allow-missing")

    assert (strict.exit_code, lenient.exit_code) == (1, 0)


def test_manifest_through_a_pipe(exporter: Command, sandbox: Sandbox) -> None:
    """`-` reads the manifest from standard input, as YAML or in the format that is named."""
    yaml = exporter("run", "-", "--base-url", sandbox.base_url, stdin=MINIMAL)
    jsonl = exporter(
        *("run", "-", "--manifest-format", "jsonl", "--base-url", sandbox.base_url),
        stdin='{"id": "CA7", "account_id": "a", "project_id": "p"}\n',
    )

    assert (yaml.exit_code, jsonl.exit_code) == (0, 0)
    assert (jsonl.archive / "a/p/undated/CA7/combined.redacted.wav").is_file()


def test_one_file_can_be_the_whole_job(exporter: Command, sandbox: Sandbox) -> None:
    """The manifest's own `config` decides where nothing with precedence says otherwise."""
    del exporter.environment["EXPORTER_OUTPUT__URL"]
    exporter.write(
        "job.yaml",
        "version: 1\nconfig:\n"
        f"  api: {{base_url: '{sandbox.base_url}'}}\n"
        "  output: {url: ./elsewhere, layout: hive, timezone: America/New_York}\n"
        "  export: {directions: [user]}\n"
        "defaults: {account_id: a, project_id: p}\n"
        "conversations:\n- {id: CA1, started_at: 2026-05-21T02:00:00Z}\n",
    )

    done = exporter("run", "job.yaml")

    assert done.exit_code == 0, done.stderr
    path = "elsewhere/account_id=a/project_id=p/date=2026-05-20/CA1/user.redacted.wav"
    assert (exporter.folder / path).is_file()


def test_a_list_may_be_given_in_parts(exporter: Command, sandbox: Sandbox) -> None:
    """`--directions` given twice adds up; nothing that was asked for is dropped silently."""
    exporter.write("job.yaml", MINIMAL)

    done = exporter(
        *("run", "job.yaml", "--base-url", sandbox.base_url),
        *("--directions", "user", "--directions", "agent,user"),
    )

    assert done.exit_code == 0, done.stderr
    assert [row["direction"] for row in done.results()["results"]] == ["user", "agent"]


def test_the_other_surface_serves_the_same_audio(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """`--surface agents-v1` asks the newer API family and gets the same file."""
    sandbox = start_sandbox()
    exporter.write("job.yaml", MINIMAL.replace("account_id: a,", "account_id: sandbox,"))

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--surface", "agents-v1")

    assert done.exit_code == 0, done.stderr
    assert {request.path for request in sandbox.requests} == {
        "/v1/agents/p/conversations/CA1/audio"
    }
    row = done.results()["results"][0]
    body = sandbox.world.call("sandbox", "p", "CA1").wav("combined", redacted=True)
    assert row["sha256"] == hashlib.sha256(body).hexdigest()


def test_identifiers_that_differ_by_case_only_never_share_a_file(
    exporter: Command, sandbox: Sandbox
) -> None:
    """The second of such a pair is refused with a kind of its own, now and in later runs."""
    exporter.write("one.yaml", MINIMAL + "- ca1\n")
    exporter.write("two.yaml", MINIMAL.replace("CA1", "cA1"))

    first = exporter("run", "one.yaml", "--base-url", sandbox.base_url)
    rows = first.results()["results"]
    second = exporter("run", "two.yaml", "--base-url", sandbox.base_url)
    rows += second.results()["results"]

    assert (first.exit_code, second.exit_code) == (1, 1)
    ends = [(r["conversation_id"], r["status"], r["error"] and r["error"]["kind"]) for r in rows]
    assert ends == [
        ("CA1", "exported", None),
        ("ca1", "failed", "identifier_collision"),
        ("cA1", "failed", "identifier_collision"),
    ]
    assert len(sandbox.requests) == 1


def test_plan_takes_every_flag_of_run(exporter: Command, sandbox: Sandbox) -> None:
    """In any command line the word `plan` can stand for `run`; what a flag says is checked."""
    exporter.write(
        "job.yaml", "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations: [CA1]\n"
    )
    flags = [*("--base-url", sandbox.base_url, "--surface", "agents-v1", "--region", "us")]
    flags += ["-j", "3", "--rate", "5", "--results", "out.json", "--wait", "1s", "--require-raw"]
    flags += ["--max-failures", "3", "--deadline", "1h", "--allow-missing", "--no-progress"]
    flags += ["--log-format", "json", "--log-level", "info", "--refresh", "--recheck", "--json"]
    planned = exporter("plan", "job.yaml", *flags)
    assert planned.exit_code == 0, planned.stderr
    assert json.loads(planned.stdout)["new"] == 1
    assert not (exporter.folder / "out.json").exists()
    assert sandbox.requests == []
    assert exporter("run", "job.yaml", *flags).exit_code == 0
    wrong = exporter("plan", "job.yaml", "--deadline", "soon")
    assert wrong.exit_code == 2
    assert "--deadline" in wrong.stderr
    group: Any = typer.main.get_command(app)
    options = {
        name: {option for parameter in group.commands[name].params for option in parameter.opts}
        for name in ("run", "plan")
    }
    assert options["plan"] == options["run"]


def test_plan_says_what_run_would_do_and_touches_nothing(
    exporter: Command, sandbox: Sandbox
) -> None:
    """`plan` needs no key and no archive, writes nothing, and agrees with what `run` then does."""
    del exporter.environment["POLYAI_API_KEY"]
    exporter.write("job.yaml", MINIMAL + "- CA1\n- {id: CA2, redaction: [redacted, raw]}\n")

    before = exporter("plan", "job.yaml", "--json")

    assert before.exit_code == 0, before.stderr
    assert not exporter.archive.exists()
    assert sandbox.requests == []
    plan = json.loads(before.stdout)
    assert {key: plan[key] for key in ("conversations", "requested", "new", "archived")} == {
        "conversations": 2,
        "requested": 3,
        "new": 3,
        "archived": 0,
    }
    assert plan["duplicates"] == 1
    assert plan["partitions"] == [
        {"account_id": "a", "project_id": "p", "date": "undated", "new": 3, "archived": 0}
    ]
    exporter.environment["POLYAI_API_KEY"] = "sandbox-key"
    exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    after = json.loads(exporter("plan", "job.yaml", "--json").stdout)
    assert (after["new"], after["archived"]) == (0, 3)


@pytest.mark.in_process
@pytest.mark.parametrize("has_name", [True, False])
def test_the_results_say_who_ran_it(
    exporter: Command, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *, has_name: bool
) -> None:
    """Machine and account are on record; in a container the account may have no name."""

    def account(number: int) -> SimpleNamespace:
        if not has_name:
            raise KeyError(number)
        return SimpleNamespace(pw_name="night-job")

    monkeypatch.setattr("pwd.getpwuid", account)
    manifest = exporter.write("job.yaml", "version: 1\nconversations: []\n")
    run = exporter("run", manifest, "--base-url", sandbox.base_url).results()["run"]
    assert run["host"] == os.uname().nodename
    assert run["user"] == ("night-job" if has_name else str(os.geteuid()))


def test_results_are_also_written_where_asked(exporter: Command, sandbox: Sandbox) -> None:
    """`--results` writes a second copy, equal to the one in the archive."""
    exporter.write("job.yaml", MINIMAL)

    done = exporter(
        "run", "job.yaml", "--base-url", sandbox.base_url, "--results", "out/results.json"
    )

    assert done.exit_code == 0, done.stderr
    assert json.loads((exporter.folder / "out/results.json").read_bytes()) == done.results()


MINIMAL = "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n- CA1\n"
