"""The doctor asks the API: hosts, keys, PII access."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from exporter.sandbox import AudioSettings, Key, RedactionStyle, Respond, Rule, World
from exporter.sandbox.clock import SystemClock
from tests.checkups import (
    AUDIO,
    PROJECT,
    examined,
)
from tests.sandboxes import SandboxThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process


# The host.


@pytest.mark.parametrize(
    ("address", "step"),
    [
        ("https://nobody.invalid", "dns"),
        ("http://127.0.0.1:1", "connect"),
        ("https://127.0.0.1:{port}", "tls"),
    ],
)
def test_a_host_that_cannot_be_reached(
    exporter: Command, calls: Sandbox, address: str, step: str
) -> None:
    """The first step that fails is told; those behind it are not tried, and no key is shown."""
    url = address.format(port=calls.base_url.rpartition(":")[2])
    found = examined(exporter, *PROJECT, "--base-url", url, code=1)
    steps = ["dns", "connect", "tls", "http", "clock", "key", "pii_access"]
    position = steps.index(step)
    assert [found.state(each) for each in steps[position:]] == [
        "failed",
        *["skipped"] * (len(steps) - position - 1),
    ]
    assert url in found.of(step)["message"]
    assert not [request for request in calls.requests if request.key]


def test_something_else_answers_there(exporter: Command, calls: Sandbox) -> None:
    """A 404 that is not the API's own is a wrong host."""
    url = f"{calls.base_url}/gateway"
    found = examined(exporter, *PROJECT, "--base-url", url, code=1)
    assert found.state("http") == "ok"
    assert "wrong host" in found.of("key")["message"]


@pytest.mark.parametrize(("skew", "word"), [(600.0, "slow"), (-600.0, "fast")])
def test_a_wrong_clock(exporter: Command, skew: float, word: str) -> None:
    """It is compared with the host's; a difference is a warning, and says which way."""
    with SandboxThread(world=World(audio=AUDIO), clock=SystemClock(skew=skew)) as sandbox:
        found = examined(exporter, "--base-url", sandbox.base_url)
    assert found.state("clock") == "warning"
    assert f" s {word}" in found.of("clock")["message"]


# Keys.


@pytest.mark.parametrize(
    ("key", "project", "code", "words"),
    [
        ("sandbox-key-expired", "p", 3, "is expired, or malformed"),
        ("sandbox-key-of-another-region", "p", 3, "is not known there"),
        ("sandbox-key-no-access", "p", 3, "is known, but may not read this project"),
        ("sandbox-key", "q", 1, "no such project at"),
    ],
)
def test_a_key_that_does_not_open_the_project(
    exporter: Command, calls: Sandbox, *, key: str, project: str, code: int, words: str
) -> None:
    """What the API answers tells what is wrong: the key, its region, its rights, the project."""
    exporter.environment["POLYAI_API_KEY"] = key
    arguments = ("--account", "a", "--project", project, "--base-url", calls.base_url)
    found = examined(exporter, *arguments, code=code)
    assert words in found.of("key")["message"]
    assert ", correlation id" in found.of("key")["message"]
    assert "., " not in found.of("key")["message"]
    assert found.state("pii_access") == "skipped"


@pytest.mark.parametrize(
    ("answer", "code", "state", "words"),
    [
        (Respond(401, code="AUTH_USER_UNAUTHORISED"), 3, "failed", "was refused"),
        (Respond(429, retry_after=3600), 0, "warning", "takes no more requests for now"),
        (Respond(500), 1, "failed", "did not answer as it should"),
    ],
)
def test_other_answers(
    exporter: Command,
    start_sandbox: Callable[..., Sandbox],
    *,
    answer: Respond,
    code: int,
    state: str,
    words: str,
) -> None:
    """Each is told in its own words; what may pass is asked three times, and no more."""
    sandbox = start_sandbox(scenario=[Rule(action=answer)])
    found = examined(exporter, *PROJECT, "--base-url", sandbox.base_url, code=code)
    assert found.state("key") == state
    assert words in found.of("key")["message"]
    asked = [request for request in sandbox.requests if request.conversation]
    assert len(asked) == (3 if answer.status == 500 else 1)


def test_every_project_of_a_manifest(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Each is asked for once with its own key; trouble with one is told with its name."""
    keys = (
        Key(name="one", secret="key-of-p", scope=frozenset({("a", "p")})),
        Key(name="two", secret="key-of-q", scope=frozenset({("a", "q")})),
    )
    sandbox = start_sandbox(world=World(audio=AUDIO, keys=keys))
    exporter.environment |= {"KEY_P": "key-of-p", "KEY_Q": "key-of-p"}
    exporter.environment["EXPORTER_CREDENTIALS"] = json.dumps(
        [{"project_id": "p", "api_key_env": "KEY_P"}, {"api_key_env": "KEY_Q"}]
    )
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a}\nconversations:\n"
        "- {id: CA1, project_id: p}\n- {id: CA2, project_id: q}\n",
    )
    found = examined(exporter, "job.yaml", "--base-url", sandbox.base_url, code=3)
    assert found.of("key", "a/p")["state"] == "ok"
    assert "KEY_Q" in found.of("key", "a/q")["message"]
    both = examined(
        exporter,
        *("job.yaml", "--base-url", sandbox.base_url, "--account", "a", "--project", "p"),
    )
    assert [one["about"] for one in both.checks if one["name"] == "key"] == ["a/p"]


# PII access.


@pytest.mark.parametrize(
    ("key", "state", "word"),
    [("sandbox-key", "ok", "confirmed"), ("sandbox-key-no-pii", "warning", "unknown")],
)
@pytest.mark.parametrize("how", ["named", "manifest", "list"])
def test_pii_access_by_a_small_pair(
    exporter: Command, calls: Sandbox, *, key: str, state: str, word: str, how: str
) -> None:
    """One conversation's raw and redacted audio tells: one that is named, asked for, or listed."""
    exporter.environment["POLYAI_API_KEY"] = key
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p, redaction: [redacted, raw]}\n"
        "conversations: [CA1, CA2, CA3, CA4]\n",
    )
    arguments: tuple[object, ...] = {
        "named": (*PROJECT, "--conversation", "CA7"),
        "manifest": ("job.yaml",),
        "list": PROJECT,
    }[how]
    if how == "list":
        exporter.environment["EXPORTER_EXPORT__REDACTION"] = "raw"
    found = examined(exporter, *arguments, "--base-url", calls.base_url)
    assert found.state("pii_access") == state
    assert word in found.of("pii_access")["message"]
    audio = [request for request in calls.requests if request.path.endswith("/audio")]
    raw = [request for request in audio if request.redacted is False]
    assert len(raw) == (1 if state == "ok" or how == "named" else 3)
    if how == "named":
        assert {request.conversation for request in raw} == {"CA7"}
    assert not exporter.archive.exists()


def test_never_raw_holds_for_the_doctor_too(exporter: Command, calls: Sandbox) -> None:
    """No request for raw audio is sent where none may be, even if a conversation is named."""
    exporter.environment["EXPORTER_POLICIES"] = '[{"project_id": "p", "never_raw": true}]'
    found = examined(exporter, *PROJECT, "--conversation", "CA1", "--base-url", calls.base_url)
    assert found.of("pii_access")["message"] == "never_raw is set"
    assert all(request.redacted is not False for request in calls.requests)


def test_a_conversation_without_a_recording(exporter: Command, calls: Sandbox) -> None:
    """It proves nothing, and a better one is asked for."""
    found = examined(
        exporter, *PROJECT, "--conversation", "no-recording-1", "--base-url", calls.base_url
    )
    assert found.state("pii_access") == "warning"
    assert "Name one with --conversation" in found.of("pii_access")["hint"]


def test_a_conversation_of_which_project(exporter: Command, calls: Sandbox) -> None:
    """Where a manifest has several projects, the flags have to say."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a}\nconversations:\n"
        "- {id: CA1, project_id: p}\n- {id: CA2, project_id: q}\n",
    )
    arguments = ("job.yaml", "--conversation", "CA1", "--base-url", calls.base_url)
    found = examined(exporter, *arguments, code=2)
    assert "the manifest names 2 projects" in json.dumps(found.checks)
    assert not calls.requests


def test_raw_that_is_unlike_redacted(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """A pair that muting does not explain is a warning, not a proof."""
    audio = AudioSettings(seconds=(1.0, 2.0), redaction=RedactionStyle.SHORTEN, pii_share=1.0)
    sandbox = start_sandbox(world=World(audio=audio))
    found = examined(exporter, *PROJECT, "--conversation", "CA1", "--base-url", sandbox.base_url)
    assert found.state("pii_access") == "warning"
    assert "cannot be explained by muting" in found.of("pii_access")["message"]
