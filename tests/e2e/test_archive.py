"""The archive's promises, kept by the real command: resume, manifests, holds, drift, full disks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sandbox import AudioSettings, Match, Rule, Stall, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process

JOB = """\
version: 1
defaults: {account_id: acme, project_id: shop, directions: [combined, user], redaction: [redacted]}
conversations:
  - {id: CA1, started_at: 2026-05-20T10:00:00Z}
  - {id: CA2, started_at: 2026-05-20T11:00:00Z}
  - {id: CA3, started_at: 2026-05-21T10:00:00Z}
"""
FIRST = "acme/shop/2026-05-20/CA1/combined.redacted.wav"
MANIFEST = "acme/shop/2026-05-20/manifest.json"


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


# Killed, held, full.


def test_a_killed_run_is_told_and_tidied_up_by_the_next(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """After `kill -9` the next run removes the half-written file and tells the dead one."""
    stuck = start_sandbox(
        world=World(audio=AudioSettings(seconds=(200, 200))),
        scenario=[Rule(match=Match(conversation="CA2"), action=Stall(after_bytes=2_000_000))],
    )
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", stuck.base_url, "-j", 2)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) >= 2)
    wait_for(lambda: len(list(exporter.archive.rglob("CA2/.*.part"))) == 2)  # both are stuck
    process.kill()
    process.communicate()
    assert list(exporter.archive.rglob(".*.part"))
    sound = start_sandbox(world=World(audio=AudioSettings(seconds=(200, 200))))
    done = exporter("run", job, "--base-url", sound.base_url)
    assert done.exit_code == 0, done.text
    assert "archive.swept" in done.stderr
    assert not list(exporter.archive.rglob(".*.part"))
    files = list(exporter.archive.glob("_exporter/runs/*/results.json"))
    told = {found["run"]["status"]: found for found in map(json.loads, map(Path.read_bytes, files))}
    assert (len(files), set(told)) == (2, {"interrupted", "complete"})
    dead = told["interrupted"]
    assert dead["run"]["exit_code"] == 137
    assert dead["summary"]["requested"] == 6
    assert dead["summary"]["cancelled"] >= 2
    assert verified(exporter, exporter.archive)[0] == 0


def test_only_one_run_at_a_time_holds_the_archive(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The second one ends with exit 5 and says who holds it; with --wait it gets its turn."""
    slow = start_sandbox(
        scenario=[Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None))]
    )
    job = exporter.write("job.yaml", JOB)
    first = exporter.start("run", job, "--base-url", slow.base_url)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) == 4)
    refused = exporter("run", job, "--base-url", slow.base_url)
    assert refused.exit_code == 5
    assert f"process {first.pid}" in refused.stderr
    assert "--wait" in refused.stderr
    plan = exporter("plan", job, "--json")
    assert json.loads(plan.stdout)["archived"] == 4
    assert verified(exporter, exporter.archive)[0] == 0
    waiting = exporter.start("run", job, "--base-url", slow.base_url, "--wait", "90s", "-j", "1")
    first.kill()
    first.communicate()
    wait_for(lambda: "CA3" in str(slow.requests[-1].path) and len(slow.requests) > 6)
    waiting.kill()
    waiting.communicate()


def test_a_run_does_not_start_on_a_nearly_full_disk(
    exporter: Command, run: Callable[..., Finished], sandbox: Sandbox
) -> None:
    """`min_free_bytes` is checked before the first request."""
    exporter.environment["EXPORTER_LIMITS__MIN_FREE_BYTES"] = "900TiB"
    done = run()
    assert done.exit_code == 4
    assert "limits.min_free_bytes" in done.stderr
    assert not sandbox.requests


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(
    exporter: Command, sandbox: Sandbox, run: Callable[..., Finished]
) -> None:
    """Exit 4 with advice, results all the same, nothing half written, and then the rest."""
    job = exporter.folder / "job.yaml"
    process = exporter.start(
        "run", job, "--base-url", sandbox.base_url,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )  # fmt: skip
    _, stderr = process.communicate()
    assert process.returncode == 4, stderr
    assert "Traceback" not in stderr
    assert not list(exporter.archive.rglob(".*.part"))
    done = run()
    assert done.exit_code == 0, done.text
    assert verified(exporter, exporter.archive)[0] == 0


def test_results_go_elsewhere_when_the_archive_vanishes(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """The archive is gone in the middle of a run: exit 4, and it says where results are."""
    slow = start_sandbox(
        world=World(audio=AudioSettings(seconds=(1, 1))),
        scenario=[Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None, seconds=3))],
    )
    job = exporter.write("job.yaml", JOB)
    process = exporter.start("run", job, "--base-url", slow.base_url)
    wait_for(lambda: len(list(exporter.archive.rglob("[!.]*.wav"))) == 4)
    exporter.archive.rename(exporter.folder / "elsewhere")
    _, stderr = process.communicate()
    assert process.returncode == 4, stderr
    (results,) = exporter.folder.glob(".local/state/exporter/results/*.json")
    assert results.name in stderr
    assert json.loads(results.read_bytes())["run"]["exit_code"] == 4
    assert not exporter.archive.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_read_only_file_system_is_refused_and_can_be_verified(
    archive: Path, exporter: Command, run: Callable[..., Finished]
) -> None:
    """Exit 4 with advice; verify and plan read it all the same."""
    if subprocess.run(["mount", "--bind", archive, archive], check=False).returncode:  # noqa: S607
        pytest.skip("this machine does not let us mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", archive], check=True)  # noqa: S607
        done = run()
        assert done.exit_code == 4
        assert "read-only" in done.stderr
        assert verified(exporter, archive)[0] == 0
        assert exporter("plan", exporter.folder / "job.yaml").exit_code == 0
    finally:
        subprocess.run(["umount", archive], check=True)  # noqa: S607


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
    assert exporter("verify", archive).exit_code == 6


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


# Chaos.


def test_chaos_in_short(exporter: Command) -> None:
    """Three rounds of the chaos suite; `make chaos` plays two hundred."""
    root = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    done = subprocess.run(
        [*exporter.arguments()[:1], f"{root}/chaos/chaos.py", "--rounds", "3"],
        env={**os.environ, "PYTHONPATH": os.path.dirname(root)},  # noqa: PTH120
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.01)  # leaves the processor to what is waited for
