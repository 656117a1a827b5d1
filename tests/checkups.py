"""The doctor called as users do, and its findings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from exporter.doctor import NAMES
from exporter.sandbox import AudioSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

AUDIO = AudioSettings(seconds=(0.3, 0.6), pii_share=1.0)
PROJECT = ("--account", "a", "--project", "p")


@dataclass
class Checkup:
    """What the doctor said."""

    done: Finished
    checks: list[dict[str, Any]]

    def of(self, name: str, about: str | None = None) -> dict[str, Any]:
        (found,) = (
            one for one in self.checks if one["name"] == name and about in (None, one["about"])
        )
        return found

    def state(self, name: str) -> str:
        return str(self.of(name)["state"])


def examined(exporter: Command, *arguments: object, code: int = 0) -> Checkup:
    """The answer as JSON; what holds for every answer is checked here."""
    done = exporter("doctor", *arguments, "--json")
    assert done.exit_code == code, done.text
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert (document["schema_version"], document["ok"], document["exit_code"]) == (
        1,
        not code,
        code,
    )
    for one in document["checks"]:
        assert list(one) == ["name", "about", "state", "message", "hint"]
        assert one["name"] in NAMES
        assert one["state"] in {"ok", "warning", "failed", "skipped"}
        assert bool(one["hint"]) == (one["state"] in {"warning", "failed"})
    assert exporter.environment["POLYAI_API_KEY"] not in done.text
    return Checkup(done, document["checks"])


@pytest.fixture
def calls(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return start_sandbox(world=World(audio=AUDIO, projects=frozenset({("a", "p")})))
