"""Secrets appear nowhere: not in logs, results, ledgers, names or messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from exporter.sandbox import Key, Match, Respond, Rule, World
from tests.conftest import SHORT_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

SECRET = "s3cr3t-k3y-that-must-not-leak"
TELEPHONE = "+44 20 7946 0958"


def test_nothing_that_a_run_writes_holds_the_key_or_a_telephone_number(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """A server that echoes the key and a caller's number cannot make us write them anywhere."""
    echo = f"no luck with x-api-key: {SECRET} for caller {TELEPHONE}"
    sandbox = start_sandbox(
        world=World(keys=(Key(name="k", secret=SECRET),), audio=SHORT_CALLS),
        scenario=[
            Rule(match=Match(conversation="echo"), action=Respond(500, message=echo)),
            Rule(match=Match(conversation="bad"), action=Respond(400, message=echo)),
        ],
    )
    exporter.environment["POLYAI_API_KEY"] = SECRET
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations: [CA1, echo, bad]\n",
    )
    told = ""
    for log_format in ("console", "json"):
        done = exporter(
            *("run", "job.yaml", "--base-url", sandbox.base_url, "--log-level", "debug"),
            *("--log-format", log_format, "--json", "--results", "results.json"),
        )
        assert done.exit_code == 1, done.stderr
        told += done.text
    for path in exporter.folder.rglob("*"):
        told += str(path)
        if path.is_file():
            told += path.read_bytes().decode("latin-1")

    assert "no luck" in told
    assert SECRET not in told
    assert TELEPHONE not in told


def test_json_logs_are_one_object_a_line(exporter: Command, sandbox: Sandbox) -> None:
    """With `--log-format json` standard error holds nothing else, so that machines can read it."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations: [CA1, gone-1]\n",
    )

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--log-format", "json")

    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == [
        "run.started",
        "run.planned",
        "recording.gone",
        "run.finished",
    ]
    assert all({"timestamp", "level"} <= event.keys() for event in events)
    assert done.stdout == ""
