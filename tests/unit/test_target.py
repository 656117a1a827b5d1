"""Where a recording is written, and what becomes of the file that is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from structlog.testing import capture_logs

from exporter.layout import Layout, LayoutStyle
from exporter.ledger import Ledger, LedgerThread, Planned
from exporter.model import Archived, AudioFormat, Direction, Recording, Redaction
from exporter.plan import Decision
from exporter.sinks.local import LocalSink
from exporter.target import Target, target_of

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
RUN = "20260521T000000Z-0001"
PATH = "acme/shop/2026-05-21/CA1/user.raw.wav"
CHANGED = Planned(
    1,
    1,
    Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW, NOW),
    Decision.CHANGED,
    Archived(PATH, 9, "00" * 32, AudioFormat("pcm_u8", 8000, 1, 8, 0.5), NOW, None),
)


async def target(sink: LocalSink) -> tuple[Target, list[str]]:
    """Where the changed recording is to be written, and what the log says."""
    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, None)
        layout = Layout(LayoutStyle.PLAIN, ZoneInfo("UTC"))
        with capture_logs() as logs:
            found = await target_of(CHANGED, layout, sink, ledger, thread)
        await thread.run(ledger.close)
    return found, [one["event"] for one in logs]


async def test_a_changed_file_makes_room(tmp_path: Path) -> None:
    """What somebody changed is kept under another name, and its path is free."""
    sink = LocalSink(tmp_path, run_id=RUN, dir_mode=0o700, file_mode=0o600)
    await sink.put(PATH, b"changed")
    assert await target(sink) == (Target(PATH), ["recording.set_aside"])
    assert await sink.sizes([PATH, f"{PATH}.damaged-{RUN}"]) == [None, 7]


async def test_a_changed_file_that_is_deleted_before_its_turn_has_vanished(
    tmp_path: Path,
) -> None:
    """Deleted between plan and fetch there is nothing to keep: it is fetched all the same."""
    sink = LocalSink(tmp_path, run_id=RUN, dir_mode=0o700, file_mode=0o600)
    await sink.prepare()
    assert await target(sink) == (Target(PATH), ["recording.vanished"])
