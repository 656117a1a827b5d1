"""The jobs of `configs/`, run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.sandbox import Sandbox
    from tests.conftest import Command

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
