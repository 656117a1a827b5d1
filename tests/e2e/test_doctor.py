"""`exporter doctor`: each trouble is found before a run meets it, and told how to mend."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from exporter.doctor import NAMES
from exporter.hold import this_process
from exporter.sandbox import AudioSettings, Key, RedactionStyle, Respond, Rule, World
from exporter.sandbox.clock import SystemClock
from exporter.sinks.local import LocalSink
from tests.conftest import SandboxThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process

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


def test_all_is_well(exporter: Command, calls: Sandbox) -> None:
    """Every check passes or is not asked for, and nothing is left behind."""
    found = examined(exporter, *PROJECT, "--base-url", calls.base_url)
    states = {one["name"]: one["state"] for one in found.checks}
    assert {name for name in states if states[name] == "skipped"} == {
        "manifest",
        "tls",
        "pii_access",
    }
    assert set(states.values()) == {"ok", "skipped"}
    assert tuple(one["name"] for one in found.checks) == NAMES
    assert not exporter.archive.exists()
    assert [request.status for request in calls.requests if request.conversation] == [404]


def test_people_read_a_table(exporter: Command, calls: Sandbox) -> None:
    """A line a check, how to mend under what is not well, and the exit code of a run."""
    exporter.environment["POLYAI_API_KEY"] = "sandbox-key-expired"
    done = exporter("doctor", *PROJECT, "--base-url", calls.base_url)
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    (position,) = (n for n, line in enumerate(lines) if line.startswith("failed"))
    assert lines[position].split()[1:3] == ["key", "a/p:"]
    assert lines[position + 1].strip().startswith("to mend:")
    assert lines[-1].startswith("16 checks: ")
    assert "1 failed" in lines[-1]
    assert "sandbox-key-expired" not in done.text


# Before anything is asked.


def test_a_wrong_config(exporter: Command) -> None:
    """It is told with its place; nothing else can be looked at."""
    exporter.write("config.yaml", "limits: {concurency: 3}")
    found = examined(exporter, "-c", "config.yaml", code=2)
    assert "config.yaml:1:10: limits: found the unknown key" in found.of("config")["message"]
    assert found.state("versions") == "ok"
    assert {one["state"] for one in found.checks[2:]} == {"skipped"}


@pytest.mark.parametrize("config", ["", "policies: [{project_id: p, never_raw: true}]"])
def test_a_wrong_manifest(exporter: Command, calls: Sandbox, config: str) -> None:
    """Its last line is read, too; so is what `policies` forbid."""
    exporter.write("config.yaml", config)
    entry = "- {id: CA1, redaction: [raw]}" if config else "- {id: CA1, started: x}"
    exporter.write(
        "job.yaml",
        f"version: 1\ndefaults: {{account_id: a, project_id: p}}\nconversations:\n{entry}",
    )
    arguments = ("job.yaml", "-c", "config.yaml", "--base-url", calls.base_url)
    found = examined(exporter, *arguments, code=2)
    assert "job.yaml:4:" in found.of("manifest")["message"]
    assert found.state("config") == "ok"
    assert not calls.requests


def test_no_key(exporter: Command, calls: Sandbox) -> None:
    """Its variable is named; host and destination are looked at all the same."""
    exporter.environment["EXPORTER_CREDENTIALS"] = '[{"api_key_env": "NOT_SET"}]'
    found = examined(exporter, *PROJECT, "--base-url", calls.base_url, code=2)
    assert "NOT_SET is not set" in found.of("key_found")["message"]
    assert (found.state("http"), found.state("destination")) == ("ok", "ok")
    assert (found.state("key"), found.state("pii_access")) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--account", "a"), "one of --account and --project"),
        (("--conversation", "CA1"), "--conversation: expected --account and --project"),
    ],
)
def test_flags_that_do_not_fit_together(
    exporter: Command, arguments: tuple[str, ...], message: str
) -> None:
    """A project has two names, and a conversation is one of a project."""
    done = exporter("doctor", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


# The destination.


def test_a_destination_that_cannot_be(exporter: Command, calls: Sandbox) -> None:
    """Told as the run would fail of it; also where the folder cannot even be made."""
    (exporter.folder / "file").write_text("")
    exporter.environment["EXPORTER_OUTPUT__URL"] = str(exporter.folder / "file/archive")
    found = examined(exporter, "--base-url", calls.base_url, code=4)
    assert found.state("destination") == "failed"
    assert (found.state("space"), found.state("hold")) == ("skipped", "skipped")


def test_an_archive_that_others_may_look_into(exporter: Command, calls: Sandbox) -> None:
    """Wider modes than private ones are a warning, those of the folder and those of the config."""
    exporter.archive.mkdir()
    exporter.archive.chmod(0o755)
    exporter.environment["EXPORTER_OUTPUT__FILE_MODE"] = "0644"
    found = examined(exporter, "--base-url", calls.base_url)
    assert found.state("privacy") == "warning"
    message = found.of("privacy")["message"]
    assert "its folder has mode 0755" in message
    assert "files are created with mode 0644" in message
    assert list(exporter.archive.iterdir()) == []


def test_a_full_disk(exporter: Command, calls: Sandbox) -> None:
    """Less free space than is to stay free fails as a run would."""
    exporter.environment["EXPORTER_LIMITS__MIN_FREE_BYTES"] = "900TB"
    found = examined(exporter, "--base-url", calls.base_url, code=4)
    assert "MiB are to stay free" in found.of("space")["message"]


def test_an_archive_that_is_held(exporter: Command, calls: Sandbox) -> None:
    """The run that holds it is named."""

    async def meanwhile() -> Checkup:
        run_id = "20260101T000000Z-0001"
        sink = LocalSink(exporter.archive, run_id=run_id, dir_mode=0o700, file_mode=0o600)
        await sink.prepare()
        hold = await sink.hold(this_process(run_id))
        try:
            return await asyncio.to_thread(examined, exporter, "--base-url", calls.base_url, code=5)
        finally:
            await hold.release()

    found = asyncio.run(meanwhile())
    assert "run 20260101T000000Z-0001 holds it" in found.of("hold")["message"]


def test_both_archives_are_looked_at(exporter: Command, calls: Sandbox) -> None:
    """Raw recordings' own archive has its own lines; one within the other is refused."""
    raw = exporter.folder / "raw"
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(raw)
    found = examined(exporter, "--base-url", calls.base_url)
    for name in ("destination", "privacy", "space", "hold"):
        assert found.of(name, str(raw))["state"] == "ok"
        assert found.of(name, str(exporter.archive))["state"] == "ok"
    assert not raw.exists()
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(exporter.archive / "raw")
    refused = examined(exporter, "--base-url", calls.base_url, code=2)
    assert "an archive of its own" in refused.of("destination")["message"]


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
    assert "correlation id" in found.of("key")["message"]
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


def test_a_folder_for_the_ledger(exporter: Command, calls: Sandbox, tmp_path: Path) -> None:
    """Where the ledger lies elsewhere, that place is looked at as well."""
    state = tmp_path / "state"
    found = examined(exporter, "--state-dir", state, "--base-url", calls.base_url)
    assert found.of("destination", str(state))["state"] == "ok"
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "state"
    refused = examined(exporter, "--state-dir", below, "--base-url", calls.base_url, code=4)
    assert refused.of("destination", str(below))["state"] == "failed"
