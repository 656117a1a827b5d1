"""`exporter doctor`: each trouble is found before a run meets it, and told how to mend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from exporter.doctor import NAMES
from exporter.hold import this_process
from exporter.sinks.local import LocalSink
from tests.checkups import (
    PROJECT,
    Checkup,
    examined,
)

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process


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


def test_every_mistake_of_a_config_is_a_check(exporter: Command) -> None:
    """Ten of them, and that there are more; the rest is looked at when they are mended."""
    exporter.write("config.yaml", "limits:\n" + "".join(f"  wrong{n}: 1\n" for n in range(12)))
    found = examined(exporter, "-c", "config.yaml", code=2)
    told = [one["message"] for one in found.checks if one["name"] == "config"]
    assert [message.split(":")[1] for message in told[:10]] == [str(n) for n in range(2, 12)]
    assert told[10:] == ["and more; these are the first 10"]
    assert {one["state"] for one in found.checks[12:]} == {"skipped"}


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


def test_a_folder_for_the_ledger(exporter: Command, calls: Sandbox, tmp_path: Path) -> None:
    """Where the ledger lies elsewhere, that place is looked at as well."""
    state = tmp_path / "state"
    found = examined(exporter, "--state-dir", state, "--base-url", calls.base_url)
    assert found.of("destination", str(state))["state"] == "ok"
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "state"
    refused = examined(exporter, "--state-dir", below, "--base-url", calls.base_url, code=4)
    assert refused.of("destination", str(below))["state"] == "failed"
