"""One job and the archive that it makes, for all tests that need an archive to work on."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

JOB = """\
version: 1
defaults: {account_id: acme, project_id: shop, directions: [combined, user], redaction: [redacted]}
conversations:
  - {id: CA1, started_at: 2026-05-20T10:00:00Z}
  - {id: CA2, started_at: 2026-05-20T11:00:00Z}
  - {id: CA3, started_at: 2026-05-21T10:00:00Z}
"""


MANIFEST = "acme/shop/2026-05-20/manifest.json"

BY_ONE_OR_TWO = pytest.mark.parametrize("processes", [1, 2], ids=["one process", "two processes"])
"""Whoever fetches, what an archive promises is the same."""


@pytest.fixture
def run(exporter: Command, sandbox: Sandbox) -> Callable[..., Finished]:
    """Exports the job, with further flags."""
    job = exporter.write("job.yaml", JOB)

    def run_it(*flags: object, base_url: str = sandbox.base_url) -> Finished:
        return exporter("run", job, "--base-url", base_url, *flags)

    return run_it


@pytest.fixture
def archive(exporter: Command, run: Callable[..., Finished]) -> Path:
    """An archive that holds the job."""
    done = run()
    assert done.exit_code == 0, done.text
    return exporter.archive


def recordings(archive: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(archive)): path.read_bytes()
        for path in archive.rglob("*.wav*")
        if path.is_file()
    }


def lose_ledger(archive: Path) -> None:
    for path in archive.glob("_exporter/ledger.sqlite*"):
        path.unlink()


def verified(exporter: Command, archive: Path, *flags: object) -> tuple[int, dict[str, Any]]:
    done = exporter("verify", archive, "--json", *flags)
    return done.exit_code, json.loads(done.stdout)


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["status"] for one in found["differences"]}


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.01)  # leaves the processor to what is waited for
