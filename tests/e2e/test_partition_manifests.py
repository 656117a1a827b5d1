"""Partitions tell what they hold: ledgers that are lost, machines that take turns, copies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.archives import (
    JOB,
    MANIFEST,
    lose_ledger,
    recordings,
    statuses,
    verified,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process


# Manifests of partitions.


def test_equal_archives_have_equal_manifests(
    archive: Path, exporter: Command, sandbox: Sandbox
) -> None:
    """Another order, another day of fetching, another machine: the same bytes."""
    backwards = [line for line in JOB.splitlines() if "- {id" in line][::-1]
    head = JOB.partition("conversations:\n")[0]
    for number, line in enumerate(backwards):
        exporter.write("part.yaml", f"{head}conversations:\n{line}\n")
        flags = ["-o", "other", "-j", number + 1, "--base-url", sandbox.base_url]
        assert exporter("run", "part.yaml", *flags).exit_code == 0
    others = exporter.folder / "other"
    manifests = [path.relative_to(archive) for path in archive.rglob("manifest.json")]
    assert len(manifests) == 2
    for path in manifests:
        assert (archive / path).read_bytes() == (others / path).read_bytes()


def test_a_manifest_has_the_published_schema(archive: Path, exporter: Command) -> None:
    """`exporter schema partition` describes what is written, to the last key."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(exporter("schema", "partition").stdout)
    document = json.loads((archive / MANIFEST).read_bytes())
    jsonschema.validate(document, schema)
    assert [one["path"] for one in document["recordings"]] == sorted(
        path for path in recordings(archive) if path.startswith("acme/shop/2026-05-20/")
    )


def test_a_manifest_that_cannot_be_read_is_reported_and_kept(
    archive: Path, run: Callable[..., Finished], exporter: Command
) -> None:
    """The run goes on, says so, keeps the damaged one aside and writes a sound one."""
    sound = (archive / MANIFEST).read_bytes()
    (archive / MANIFEST).write_bytes(sound[:300])
    code, found = verified(exporter, archive)
    assert (code, statuses(found)) == (6, {MANIFEST: "corrupt"})
    done = run()
    assert done.exit_code == 0
    assert "partition.unreadable" in done.stderr
    assert (archive / MANIFEST).read_bytes() == sound
    (aside,) = (archive / MANIFEST).parent.glob("manifest.json.damaged-*")
    assert aside.read_bytes() == sound[:300]


def test_a_manifest_of_the_future_stops_the_run(
    archive: Path, run: Callable[..., Finished]
) -> None:
    """What a newer version wrote is not touched; the message says to upgrade."""
    newer = (archive / MANIFEST).read_bytes().replace(b'version": 1', b'version": 9')
    (archive / MANIFEST).write_bytes(newer)
    done = run()
    assert done.exit_code == 4
    assert "newer exporter" in done.stderr
    assert (archive / MANIFEST).read_bytes() == newer


def test_two_machines_take_turns(archive: Path, exporter: Command, sandbox: Sandbox) -> None:
    """Each keeps a ledger of its own; neither loses the other's entries from the manifests."""
    head = JOB.partition("conversations:\n")[0]
    for number, state in enumerate(["one", "two", "one"]):
        exporter.write(
            "more.yaml",
            f"{head}conversations: [{{id: CB{number}, started_at: 2026-05-20T12:00:00Z}}]\n",
        )
        done = exporter(
            "run", "more.yaml", "--state-dir", exporter.folder / state,
            "--base-url", sandbox.base_url,
        )  # fmt: skip
        assert done.exit_code == 0, done.text
    told = json.loads((archive / MANIFEST).read_bytes())["recordings"]
    assert {one["conversation_id"] for one in told} == {"CA1", "CA2", "CB0", "CB1", "CB2"}
    assert verified(exporter, archive, "--state-dir", exporter.folder / "two")[0] == 0
    assert len(list(exporter.folder.glob("one/archive-*/ledger.sqlite"))) == 1


def test_what_lies_in_two_partitions_stays_in_both_manifests(
    exporter: Command, sandbox: Sandbox
) -> None:
    """Fetched without a date and, with the ledger lost, again with one: no manifest loses a row."""
    head = "version: 1\ndefaults: {account_id: acme, project_id: shop}\nconversations: "
    dated = (
        "[{id: CA1, started_at: 2026-05-20T10:00:00Z}, {id: CA2, started_at: 2026-05-20T11:00:00Z}]"
    )

    def export(conversations: str) -> dict[str, Any]:
        job = exporter.write("job.yaml", f"{head}{conversations}\n")
        done = exporter("run", job, "--base-url", sandbox.base_url, "--json")
        assert done.exit_code == 0, done.text
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    export("[CA1, CA2]")
    lose_ledger(exporter.archive)
    export(dated)
    assert verified(exporter, exporter.archive)[1]["summary"]["ok"] == 4
    before = (exporter.archive / MANIFEST).read_bytes()
    assert export("[CA9]")["exported"] == 1
    told = json.loads((exporter.archive / "acme/shop/undated/manifest.json").read_bytes())
    assert [one["conversation_id"] for one in told["recordings"]] == ["CA1", "CA2", "CA9"]
    assert (exporter.archive / MANIFEST).read_bytes() == before
    code, found = verified(exporter, exporter.archive)
    assert (code, found["summary"]["ok"], found["warnings"]) == (0, 5, [])
    plan = exporter("plan", exporter.write("job.yaml", f"{head}[CA1, CA2, CA9]\n"), "--json")
    assert json.loads(plan.stdout)["archived"] == 3
    assert export(dated)["skipped"] == 2
    lose_ledger(exporter.archive)
    assert export("[CA1, CA2, CA8]")["skipped"] == 2
    assert verified(exporter, exporter.archive)[1]["summary"]["ok"] == 6


def test_a_second_copy_that_is_lost_goes_off_the_record(
    exporter: Command, sandbox: Sandbox
) -> None:
    """Deleted or changed in the second of two partitions, it is told, and then told no more."""
    head = "version: 1\ndefaults: {account_id: acme, project_id: shop}\nconversations: "
    dated = "[" + ", ".join(f"{{id: CA{n}, started_at: 2026-05-20T10:00:00Z}}" for n in "123") + "]"

    def export(conversations: str, *flags: str) -> str:
        job = exporter.write("job.yaml", f"{head}{conversations}\n")
        done = exporter("run", job, "--base-url", sandbox.base_url, *flags)
        assert done.exit_code == 0, done.text
        return done.stderr

    export("[CA1, CA2, CA3]")
    lose_ledger(exporter.archive)
    export(dated)
    export("[CA9]")  # which makes the ledger know both partitions
    first, second, third = (f"acme/shop/undated/CA{n}/combined.redacted.wav" for n in "123")
    (exporter.archive / first).unlink()
    (exporter.archive / second).write_bytes(b"changed")
    flipped = bytearray((exporter.archive / third).read_bytes())
    flipped[-1] ^= 1
    (exporter.archive / third).write_bytes(flipped)
    code, found = verified(exporter, exporter.archive)
    assert code == 6
    assert statuses(found) == {first: "missing", second: "corrupt", third: "corrupt"}
    before = len(sandbox.requests)
    said = export(dated)
    assert (said.count("copy.vanished"), said.count("copy.set_aside")) == (1, 1)
    assert export(dated, "--recheck").count("copy.set_aside") == 1
    assert len(sandbox.requests) == before
    code, found = verified(exporter, exporter.archive)
    assert (code, found["summary"]["ok"]) == (0, 4)
    assert [one["kind"] for one in found["warnings"]] == ["set_aside", "set_aside"]
    told = json.loads((exporter.archive / "acme/shop/undated/manifest.json").read_bytes())
    assert [one["conversation_id"] for one in told["recordings"]] == ["CA9"]


def test_an_archive_that_is_not_mounted_is_not_filled_anew(
    archive: Path, exporter: Command, run: Callable[..., Finished]
) -> None:
    """A ledger kept elsewhere knows that the archive should not be empty."""
    state = exporter.folder / "state"
    assert run("--state-dir", state).exit_code == 0
    archive.rename(exporter.folder / "elsewhere")
    done = run("--state-dir", state)
    assert done.exit_code == 4
    assert "mounted" in done.stderr
