"""The archive's promises, kept by the real command: resume, manifests, holds, drift, full disks."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from exporter.sandbox import AudioSettings, World
from tests.archives import (
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
FIRST = "acme/shop/2026-05-20/CA1/combined.redacted.wav"


# Resume.


def test_a_second_run_sends_no_request(
    archive: Path, run: Callable[..., Finished], sandbox: Sandbox
) -> None:
    """What is archived is skipped, and the results say where it lies."""
    before = len(sandbox.requests)
    done = run()
    assert (done.exit_code, len(sandbox.requests)) == (0, before)
    assert {one["status"] for one in done.results()["results"]} == {"skipped"}
    assert (archive / done.results()["results"][0]["path"]).exists()


def test_a_lost_ledger_is_made_anew_from_the_partitions(
    archive: Path, run: Callable[..., Finished], sandbox: Sandbox, exporter: Command
) -> None:
    """Without the ledger, plan and run know the archive by its partitions' manifests."""
    lose_ledger(archive)
    before = len(sandbox.requests)
    plan = exporter("plan", exporter.folder / "job.yaml", "--json")
    assert json.loads(plan.stdout)["archived"] == 6
    assert not (archive / "_exporter/ledger.sqlite").exists()
    done = run("--json")
    assert json.loads(done.stdout)["skipped"] == 6
    assert len(sandbox.requests) == before
    assert verified(exporter, archive)[0] == 0


def test_a_lost_ledger_is_made_anew_for_conversations_without_a_date(
    archive: Path, exporter: Command, sandbox: Sandbox
) -> None:
    """Where the date is not known, all partitions of the project are asked."""
    lose_ledger(archive)
    before = len(sandbox.requests)
    undated = exporter.write(
        "undated.yaml",
        "version: 1\ndefaults: {account_id: acme, project_id: shop}\nconversations: [CA1, CA3]\n",
    )
    done = exporter("run", undated, "--base-url", sandbox.base_url, "--json")
    assert json.loads(done.stdout)["skipped"] == 2
    assert len(sandbox.requests) == before


def test_a_lost_ledger_and_a_lost_manifest_cost_requests_and_no_file(
    archive: Path, run: Callable[..., Finished], exporter: Command
) -> None:
    """With nothing to know them by, files are fetched again, compared, and left in place."""
    held = recordings(archive)
    lose_ledger(archive)
    (archive / MANIFEST).unlink()
    done = run("--json")
    summary = json.loads(done.stdout)
    assert (summary["exported"], summary["skipped"]) == (4, 2)
    assert recordings(archive) == held
    assert verified(exporter, archive)[0] == 0


def test_vanished_and_changed_files_are_fetched_again(
    archive: Path, run: Callable[..., Finished], exporter: Command
) -> None:
    """A missing file comes back; one of another size is kept aside and replaced; both logged."""
    held = recordings(archive)
    (archive / FIRST).unlink()
    second = FIRST.replace("CA1", "CA2")
    (archive / second).write_bytes(b"spoilt")
    done = run("--json")
    assert json.loads(done.stdout)["exported"] == 2
    assert "recording.vanished" in done.stderr
    assert "recording.changed" in done.stderr
    now = recordings(archive)
    (aside,) = set(now) - set(held)
    assert aside.startswith(f"{second}.damaged-")
    assert now.pop(aside) == b"spoilt"
    assert now == held
    code, found = verified(exporter, archive)
    assert (code, [one["kind"] for one in found["warnings"]]) == (0, ["set_aside"])


def test_recheck_finds_what_the_size_does_not_tell(
    archive: Path, run: Callable[..., Finished], sandbox: Sandbox
) -> None:
    """A flipped byte passes an ordinary run and is mended by one with --recheck."""
    held = recordings(archive)
    body = bytearray(held[FIRST])
    body[-1] ^= 1
    (archive / FIRST).write_bytes(body)
    assert run().exit_code == 0
    assert (archive / FIRST).read_bytes() == body
    before = len(sandbox.requests)
    assert run("--recheck").exit_code == 0
    assert len(sandbox.requests) == before + 1
    assert (archive / FIRST).read_bytes() == held[FIRST]


# Drift.


def test_refresh_keeps_what_changed_beside_the_old(
    archive: Path,
    exporter: Command,
    run: Callable[..., Finished],
    sandbox: Sandbox,
    start_sandbox: Callable[..., Sandbox],
) -> None:
    """The same content is skipped; other content gets a versioned name and is told as drift."""
    held = recordings(archive)
    same = run("--refresh", "--json")
    assert (json.loads(same.stdout)["skipped"], len(sandbox.requests)) == (6, 12)
    other = start_sandbox(world=World(audio=AudioSettings(seconds=(0.5, 0.9))))
    drifted = run("--refresh", "--json", base_url=other.base_url)
    assert json.loads(drifted.stdout)["exported"] == 6
    assert "recording.drifted" in drifted.stderr
    now = recordings(archive)
    assert {path: now[path] for path in held} == held
    versioned = FIRST.replace(".wav", ".v2.wav")
    assert versioned in now
    row = drifted.results()["results"][0]
    assert row["path"] == versioned
    assert row["drift"]["version"] == 2
    assert row["drift"]["previous_path"] == FIRST
    told = json.loads((archive / MANIFEST).read_bytes())["recordings"]
    assert [one["version"] for one in told if one["conversation_id"] == "CA1"] == [1, 2, 1, 2]
    assert verified(exporter, archive)[0] == 0
    again = run("--json")
    assert json.loads(again.stdout)["skipped"] == 6
    back = run("--refresh", "--json")
    assert json.loads(back.stdout)["skipped"] == 6
    lose_ledger(archive)
    assert json.loads(run("--json").stdout)["skipped"] == 6
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(drifted.results(), json.loads(exporter("schema", "results").stdout))


# Verify.


def test_verify_tells_every_kind_of_difference(archive: Path, exporter: Command) -> None:
    """ok, corrupt, missing, unexpected, unrecorded; exit 6; the same from ledger and manifests."""
    code, found = verified(exporter, archive)
    assert (code, found["summary"]["ok"], found["source"]) == (0, 6, "ledger")
    names = sorted(recordings(archive))
    flipped = bytearray((archive / names[0]).read_bytes())
    flipped[-1] ^= 1
    (archive / names[0]).write_bytes(flipped)
    (archive / names[1]).write_bytes(b"short")
    (archive / names[2]).unlink()
    (archive / "acme/notes.txt").write_text("mine")
    unrecorded = "acme/shop/2026-05-20/CA9/combined.redacted.wav"
    (archive / unrecorded).parent.mkdir()
    shutil.copy(archive / names[3], archive / unrecorded)
    expected = {
        names[0]: "corrupt",
        names[1]: "corrupt",
        names[2]: "missing",
        "acme/notes.txt": "unexpected",
        unrecorded: "unrecorded",
    }
    code, found = verified(exporter, archive)
    assert (code, statuses(found), found["summary"]["ok"]) == (6, expected, 3)
    lose_ledger(archive)
    code, found = verified(exporter, archive)
    assert (code, statuses(found), found["source"]) == (6, expected, "partition manifests")
    told = exporter("verify", archive)
    assert told.exit_code == 6
    assert "hint: `exporter run` with their manifest fetches again what is missing" in told.stdout
    assert "hint: What is on no record stays where it is" in told.stdout


def test_verify_leaves_the_archive_as_it_was(archive: Path, exporter: Command) -> None:
    """Not a file is added, removed or touched, with or without a ledger."""

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in archive.rglob("*")}

    for _ in range(2):
        before = state()
        assert verified(exporter, archive)[0] == 0
        assert state() == before
        lose_ledger(archive)


def test_verify_can_read_a_part(archive: Path, exporter: Command) -> None:
    """`--sample` and `--since` read fewer files back, and still compare all names and sizes."""
    code, found = verified(exporter, archive, "--sample", "2")
    assert (code, found["summary"]["ok"], found["summary"]["not_read"]) == (0, 2, 4)
    code, found = verified(exporter, archive, "--sample", "50%")
    assert (code, found["summary"]["ok"]) == (0, 3)
    code, found = verified(exporter, archive, "--since", "2100-01-01")
    assert (code, found["summary"]["ok"]) == (0, 0)
    code, found = verified(exporter, archive, "--since", "1h")
    assert (code, found["summary"]["ok"]) == (0, 6)
    (archive / FIRST).unlink()
    assert verified(exporter, archive, "--sample", "0")[0] == 6
    for flags in (["--sample", "many"], ["--since", "soon"]):
        assert exporter("verify", archive, *flags).exit_code == 2
    assert exporter("verify", exporter.folder / "nowhere").exit_code == 2


def test_verify_warns_where_lengths_do_not_belong_together(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Sides of a call, and redacted and raw, of different lengths are a warning, no difference."""
    short = start_sandbox(world=World(audio=AudioSettings(seconds=(1, 1))))
    long = start_sandbox(world=World(audio=AudioSettings(seconds=(4, 4))))
    head = "version: 1\ndefaults: {account_id: acme, project_id: shop}\nconversations:\n"
    for sandbox, variant in (
        (short, "directions: [user], redaction: [redacted]"),
        (long, "directions: [user], redaction: [raw]"),
        (long, "directions: [agent], redaction: [redacted]"),
    ):
        entry = f"  - {{id: CA1, started_at: 2026-05-20T10:00:00Z, {variant}}}\n"
        exporter.write("job.yaml", head + entry)
        assert exporter("run", "job.yaml", "--base-url", sandbox.base_url).exit_code == 0
    code, found = verified(exporter, exporter.archive)
    assert code == 0
    assert sorted(one["kind"] for one in found["warnings"]) == ["directions", "redaction"]
