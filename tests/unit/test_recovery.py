"""Tidying up after a run of which not everything can be read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.ledger import Ledger, LedgerThread
from exporter.model import Direction, Recording, Redaction
from exporter.recovery import recover
from exporter.results import ManifestInfo, RunInfo, RunStatus, encode_run, timestamp
from exporter.settings import Settings
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
DEAD = "20260521T000000Z-dead"


def leave(file: Path) -> Callable[[], bool]:
    """Write it, and give back what tells whether it is still there."""
    file.parent.mkdir(parents=True)
    file.write_bytes(b"RIFF")
    return file.exists


@pytest.mark.parametrize("status", [None, "complete"])
@pytest.mark.parametrize("info", ["{}", '{"id": 1}', "no JSON"])
async def test_a_run_that_noted_itself_in_another_way_stops_no_other(
    tmp_path: Path, info: str, status: str | None
) -> None:
    """It is ended and told as far as it is known, its half-written files go, and no error comes."""
    sink = LocalSink(tmp_path, run_id="20260522T000000Z-0001", dir_mode=0o700, file_mode=0o600)
    half_written = leave(tmp_path / f"acme/shop/undated/CA1/.user.raw.wav.{DEAD}.part")
    await sink.prepare()
    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, tmp_path / "ledger.sqlite")
        await thread.run(ledger.begin_run, DEAD, NOW, info)
        if status is not None:
            await thread.run(ledger.end_run, status, 0, NOW)
        with capture_logs() as logs:
            await recover(sink, ledger, thread, taken_over_from=None)
        left = await thread.run(ledger.left_run)
        await thread.run(ledger.close)
    assert left
    assert (left.status, left.exit_code) == ((status, 0) if status else ("interrupted", 137))
    events = {one["event"]: one for one in logs}
    assert events["results.not_written"]["run"] == DEAD
    assert ("run.was_killed" in events) == (status is None)
    assert half_written() == (status is not None)


async def test_half_written_raw_recordings_are_looked_for_in_their_archive(tmp_path: Path) -> None:
    """The folders of what a killed run was fetching are swept in every archive, and no others."""
    here = "20260522T000000Z-0001"
    main, raw = [
        LocalSink(tmp_path / name, run_id=here, dir_mode=0o700, file_mode=0o600)
        for name in ("main", "raw")
    ]
    info = RunInfo(
        id=DEAD,
        started_at=timestamp(NOW),
        finished_at=timestamp(NOW),
        exporter_version="0",
        status=RunStatus.INTERRUPTED,
        exit_code=137,
        manifest=ManifestInfo(path="job.yaml", sha256=None),
        archive=str(tmp_path / "main"),
        surface=Settings().api.surface,
        config=Settings().model_dump(mode="json"),
    )
    recording = Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW, None)
    half_written = leave(tmp_path / f"raw/acme/shop/undated/CA1/.user.raw.wav.{DEAD}.part")
    elsewhere = leave(tmp_path / f"raw/acme/shop/undated/CA2/.user.raw.wav.{DEAD}.part")
    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, tmp_path / "ledger.sqlite")
        await thread.run(ledger.begin_run, DEAD, NOW, encode_run(info))
        looked = await thread.run(ledger.look_up, [recording])
        await thread.run(ledger.plan, [(looked[0], "new", None)])
        sink = MountedSink(main, {"_raw": raw})
        await sink.prepare()
        await recover(sink, ledger, thread, mounts=["_raw"], taken_over_from=None)
        await thread.run(ledger.close)
    assert (half_written(), elsewhere()) == (False, True)
