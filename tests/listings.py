"""Jobs that look for their conversations themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.sandbox import (
    Endpoint,
    History,
    Match,
    Rule,
    World,
)
from tests.conftest import SHORT_CALLS

if TYPE_CHECKING:
    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

HISTORY = History(per_day=24, text_share=0.25)
WORLD = World(audio=SHORT_CALLS, histories=(HISTORY,))
QUERY = ("--account", "a", "--project", "p", "--from", "yesterday", "--to", "today")
JOB = """\
version: 1
defaults: {account_id: a, project_id: p}
discover: [{from: -2d, to: today, timezone: Europe/London}]
"""


def run(exporter: Command, sandbox: Sandbox, job: str = JOB, *arguments: str) -> Finished:
    exporter.write("job.yaml", job)
    return exporter("run", "job.yaml", "--base-url", sandbox.base_url, *arguments)


def listing(action: Any, **match: Any) -> Rule:
    return Rule(match=Match(endpoint=Endpoint.LIST, **match), action=action)
