"""Raw recordings in an archive of their own: two archives, one run, one record of both."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from exporter.hold import this_process
from exporter.sandbox import AudioSettings, World
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process

REDACTED, RAW = "combined.redacted.wav", "combined.raw.wav"
DAY = "a/p/2026-05-21"


@pytest.fixture
def calls(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox whose calls all hold something private, so that raw and redacted differ."""
    return start_sandbox(world=World(audio=AudioSettings(seconds=(0.5, 1.0), pii_share=1.0)))


@pytest.fixture
def raw(exporter: Command, calls: Sandbox) -> Path:
    """The archive for raw recordings, as the environment names it."""
    folder = exporter.folder / "raw"
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(folder)
    exporter.environment["EXPORTER_API__BASE_URL"] = calls.base_url
    return folder


def job(exporter: Command, *names: str, redaction: str = "[redacted, raw]") -> str:
    entries = "".join(f"- {{id: {name}, started_at: 2026-05-21T10:00:00Z}}\n" for name in names)
    exporter.write(
        "job.yaml",
        f"version: 1\ndefaults: {{account_id: a, project_id: p, redaction: {redaction}}}\n"
        f"conversations:\n{entries}",
    )
    return "job.yaml"


def files(folder: Path) -> set[str]:
    """The archive's files but for the program's own."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).as_posix().startswith("_exporter/")
    }


def verified(exporter: Command, folder: Path) -> dict[str, Any]:
    """What `verify` says of an archive that is as it should be."""
    done = exporter("verify", folder, "--json")
    assert done.exit_code == 0, done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(exporter: Command, *arguments: object, code: int = 0) -> Finished:
    done = exporter("run", "job.yaml", *arguments)
    assert done.exit_code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def evidence(done: Finished) -> list[str]:
    return [row["redaction_evidence"] for row in done.results()["results"]]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_two_archives_each_explain_themselves(exporter: Command, raw: Path) -> None:
    """Files, modes and manifests are each archive's own; pairs are compared across the two."""
    exporter.environment["EXPORTER_OUTPUT__RAW_DIR_MODE"] = "0750"
    exporter.environment["EXPORTER_OUTPUT__RAW_FILE_MODE"] = "0640"
    job(exporter, "CA1", "CA2")

    done = run(exporter)

    assert files(done.archive) == {f"{DAY}/manifest.json"} | {
        f"{DAY}/{name}/{REDACTED}" for name in ("CA1", "CA2")
    }
    assert files(raw) == {f"{DAY}/manifest.json"} | {
        f"{DAY}/{name}/{RAW}" for name in ("CA1", "CA2")
    }
    assert [mode(raw / path) for path in (DAY, f"{DAY}/manifest.json")] == [0o750, 0o640]
    assert [mode(done.archive / path) for path in (DAY, f"{DAY}/manifest.json")] == [0o700, 0o600]
    document = done.results()
    assert document["run"]["config"]["output"]["raw_url"] == str(raw)
    assert [row["path"] for row in document["results"]] == [
        f"{DAY}/{name}/{file}" for name in ("CA1", "CA2") for file in (REDACTED, RAW)
    ]
    assert evidence(done) == ["confirmed"] * 4
    for folder in (done.archive, raw):
        partition = json.loads((folder / DAY / "manifest.json").read_bytes())
        assert [row["redaction_evidence"] for row in partition["recordings"]] == ["confirmed"] * 2
        assert all((folder / row["path"]).is_file() for row in partition["recordings"])
    main = verified(exporter, done.archive)
    assert (main["summary"]["ok"], main["source"]) == (2, "ledger")
    assert (main["raw_archives"], main["holds_raw_of"]) == ([str(raw)], None)
    other = verified(exporter, raw)
    assert (other["summary"]["ok"], other["source"]) == (2, "partition manifests")
    assert (other["raw_archives"], other["holds_raw_of"]) == ([], str(done.archive))
    assert f"raw recordings of this archive lie in {raw}" in exporter("verify", done.archive).stdout


def test_the_archive_remembers_where_its_raw_recordings_go(
    exporter: Command, calls: Sandbox, raw: Path
) -> None:
    """A run without the setting skips what lies there, and puts no raw audio into the main one."""
    job(exporter, "CA1")
    run(exporter)
    del exporter.environment["EXPORTER_OUTPUT__RAW_URL"]
    sent = len(calls.requests)

    planned = exporter("plan", job(exporter, "CA1", "CA2"), "--json")
    done = run(exporter)

    assert json.loads(planned.stdout)["archived"] == 2
    assert len(calls.requests) == sent + 2
    assert done.results()["run"]["config"]["output"]["raw_url"] == str(raw)
    assert f"raw recordings: {raw}" in done.stderr
    assert f"{DAY}/CA2/{RAW}" in files(raw)
    assert not any(path.endswith(RAW) for path in files(done.archive))


def test_a_lost_ledger_is_made_anew_from_both(exporter: Command, calls: Sandbox, raw: Path) -> None:
    """Nothing is fetched or compared again, and the manifests stay as they were."""
    job(exporter, "CA1", "CA2")
    first = run(exporter)
    before = [(folder / DAY / "manifest.json").read_bytes() for folder in (first.archive, raw)]
    for file in (first.archive / "_exporter").glob("ledger.sqlite*"):
        file.unlink()
    sent = len(calls.requests)

    done = run(exporter)

    assert len(calls.requests) == sent
    assert "pairs.compared" not in done.stderr
    assert evidence(done) == ["confirmed"] * 4
    after = [(folder / DAY / "manifest.json").read_bytes() for folder in (first.archive, raw)]
    assert after == before


def test_raw_recordings_from_before_count_as_archived(
    exporter: Command, calls: Sandbox, raw: Path
) -> None:
    """They stay where they are; only what has to be fetched again goes to the new archive."""
    del exporter.environment["EXPORTER_OUTPUT__RAW_URL"]
    job(exporter, "CA1", "CA2")
    first = run(exporter)
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(raw)
    sent = len(calls.requests)
    job(exporter, "CA1", "CA2", "CA3")
    damaged = first.archive / DAY / "CA2" / RAW
    damaged.write_bytes(b"RIFF")

    done = run(exporter)

    assert [request.conversation for request in calls.requests[sent:]].count("CA1") == 0
    assert files(raw) == {f"{DAY}/manifest.json", f"{DAY}/CA2/{RAW}", f"{DAY}/CA3/{RAW}"}
    kept = files(done.archive)
    assert f"{DAY}/CA1/{RAW}" in kept
    assert f"{DAY}/CA2/{RAW}" not in kept
    assert any(path.startswith(f"{DAY}/CA2/{RAW}.damaged-") for path in kept)
    assert evidence(done) == ["confirmed"] * 6
    assert verified(exporter, done.archive)["summary"]["ok"] == 4
    assert verified(exporter, raw)["summary"]["ok"] == 2
    sent = len(calls.requests)
    assert evidence(run(exporter, "--recheck")) == ["confirmed"] * 6
    assert len(calls.requests) == sent


def test_a_raw_archive_that_was_moved_is_known_again(
    exporter: Command, calls: Sandbox, raw: Path
) -> None:
    """Not found where it was, the run ends with code 4; named at its new place, all is archived."""
    job(exporter, "CA1")
    run(exporter)
    moved = raw.rename(raw.with_name("moved"))
    sent = len(calls.requests)

    for name in (None, raw):
        exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(name or "")
        lost = run(exporter, code=4)
        assert f"raw recordings of this archive lie in {raw}" in lost.stderr
        assert "name its new place as output.raw_url" in lost.stderr
    assert not raw.exists()

    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(moved)
    run(exporter)
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = ""
    done = run(exporter)

    assert len(calls.requests) == sent
    assert done.results()["summary"]["skipped"] == 2
    assert verified(exporter, done.archive)["raw_archives"] == [str(moved)]


def test_another_raw_archive_and_back(exporter: Command, calls: Sandbox, raw: Path) -> None:
    """New recordings go where the setting says; those of before are found where they are."""
    job(exporter, "CA1")
    run(exporter)
    second = raw.with_name("second")
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(second)
    job(exporter, "CA1", "CA2")
    run(exporter)
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = str(exporter.archive)
    job(exporter, "CA1", "CA2", "CA3")
    done = run(exporter)

    assert len(calls.requests) == 6
    assert [
        len([path for path in files(each) if path.endswith(RAW)]) for each in (raw, second)
    ] == [
        1,
        1,
    ]
    assert f"{DAY}/CA3/{RAW}" in files(done.archive)
    assert evidence(done) == ["confirmed"] * 6
    assert verified(exporter, done.archive)["raw_archives"] == [str(raw), str(second)]
    for file in (done.archive / "_exporter").glob("ledger.sqlite*"):
        file.unlink()
    del exporter.environment["EXPORTER_OUTPUT__RAW_URL"]
    assert evidence(run(exporter)) == ["confirmed"] * 6
    assert len(calls.requests) == 6


@pytest.mark.parametrize("place", [".", "archive/raw", "archive/../archive/a"])
def test_a_raw_archive_within_the_main_one_is_refused(
    exporter: Command, calls: Sandbox, place: str
) -> None:
    """Or around it: then nothing is sent."""
    exporter.environment["EXPORTER_OUTPUT__RAW_URL"] = place
    job(exporter, "CA1")
    done = run(exporter, "--base-url", calls.base_url, code=2)
    assert "expected an archive of its own" in done.stderr
    assert not calls.requests


def test_a_run_holds_both_archives(exporter: Command, calls: Sandbox, raw: Path) -> None:
    """Another run that holds the raw archive is waited for, and named."""
    job(exporter, "CA1")

    async def meanwhile() -> Finished:
        other = LocalSink(raw, run_id="20260101T000000Z-0001", dir_mode=0o700, file_mode=0o600)
        await other.prepare()
        hold = await other.hold(this_process("20260101T000000Z-0001"))
        try:
            return await asyncio.to_thread(run, exporter, code=5)
        finally:
            await hold.release()

    done = asyncio.run(meanwhile())
    assert "20260101T000000Z-0001 (process" in done.stderr
    assert f"holds the archive {raw}" in done.stderr
    assert not calls.requests
    assert not (exporter.archive / "_exporter/holder.json").exists()
    run(exporter)


def test_what_is_left_of_a_killed_run_is_removed_in_both(exporter: Command, raw: Path) -> None:
    """Half-written files of dead runs go, wherever recordings were on their way to."""
    job(exporter, "CA1")
    dead = "20260101T000000Z-dead"
    left = [
        folder / DAY / "CA1" / f".{name}.{dead}.part"
        for folder, name in ((exporter.archive, REDACTED), (raw, RAW))
    ]
    for file in left:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"RIFF")
    run(exporter)
    assert not any(file.exists() for file in left)
