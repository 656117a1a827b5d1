"""The jobs of `configs/`, run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.sandbox import History, World
from tests.balance import balanced
from tests.conftest import SHORT_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

DAY = 86_400.0
CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_rehearsal_for_pipelines_passes(exporter: Command, sandbox: Sandbox) -> None:
    """`ci.yaml` exports everything from the sandbox, again skips it, and the archive verifies."""
    del exporter.environment["EXPORTER_OUTPUT__URL"]
    job = CONFIGS / "ci.yaml"
    first = exporter("run", job, "--base-url", sandbox.base_url, "--json")
    assert first.exit_code == 0, first.stderr
    again = exporter("run", job, "--base-url", sandbox.base_url, "--json")
    assert again.exit_code == 0, again.stderr
    assert '"skipped":30' in again.stdout
    checked = exporter("verify", "ci-archive")
    assert checked.exit_code == 0, checked.text


def test_the_nightly_job_archives_the_last_days(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """`nightly.yaml` archives every call of three days with its description, and then rests."""
    world = World(
        audio=SHORT_CALLS,
        histories=(History(per_day=4, seconds=(0.1, 0.4)),),
        default_account="ws-fd112d8f",
    )
    sandbox = start_sandbox(world=world)
    job = CONFIGS / "nightly.yaml"
    first = exporter("run", job, "--base-url", sandbox.base_url, "-j", "1")
    document = first.results()
    assert first.exit_code == 0, first.stderr
    assert balanced(document)
    assert document["summary"]["exported"] == 12
    assert document["summary"]["metadata"]["exported"] == 12
    asked = [one.conversation or "" for one in sandbox.requests if one.endpoint == "audio"]
    assert asked == sorted(asked)  # the sandbox numbers calls by their start: the oldest first
    again = exporter("run", job, "--base-url", sandbox.base_url)
    assert (again.exit_code, again.results()["summary"]["skipped"]) == (0, 12)
    assert exporter("verify", exporter.archive).exit_code == 0
