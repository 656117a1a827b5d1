"""Manifests of partitions that others remove or spoil at the wrong moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.ledger import Ledger, LedgerThread
from exporter.model import Archived, AudioFormat, Direction, Outcome, Recording, Redaction, Status
from exporter.partitions import Partitions
from exporter.plan import Decision
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
FOLDER = "acme/shop/2026-05-21"
MANIFEST = f"{FOLDER}/manifest.json"
AUDIO = AudioFormat("pcm_u8", 8000, 1, 8, 0.5)


class FickleSink(LocalSink):
    """A manifest that is there when it is looked at, and gone when it is read."""

    content: bytes | None = None  # what is read, once
    looks: int = 2  # when learning and before writing

    async def tag(self, path: str) -> str | None:
        self.looks -= 1
        return await super().tag(path) or ("seen" if self.looks >= 0 else None)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        if self.content is None:
            raise FileNotFoundError(path)
        yield self.content


@pytest.mark.parametrize("content", [None, b"{spoilt"], ids=["before", "after"])
async def test_a_manifest_that_is_removed_while_it_is_looked_at_is_written_anew(
    tmp_path: Path, content: bytes | None
) -> None:
    """Removed before or after it is read, it ends no run: what the ledger knows is written."""
    sink = FickleSink(tmp_path, run_id="20260521T000000Z-0001", dir_mode=0o700, file_mode=0o600)
    sink.content = content
    await sink.prepare()
    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, None)
        partitions = Partitions(sink, ledger, thread)
        await partitions.learn([FOLDER])
        record(ledger)
        assert await partitions.write() == 1
        await thread.run(ledger.close)
    assert (tmp_path / MANIFEST).read_bytes().count(b"CA1/user.raw.wav") == 1
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["manifest.json"]


def record(ledger: Ledger) -> None:
    """One recording of the partition is archived."""
    ledger.begin_run("run", NOW)
    looked = ledger.look_up([Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW, NOW)])
    ledger.plan([(looked[0], Decision.NEW, None)])
    (planned,) = ledger.planned(0, 1)
    held = Archived(f"{FOLDER}/CA1/user.raw.wav", 9, "00" * 32, AUDIO, NOW, None)
    ledger.record([(planned.seq, Outcome(Status.EXPORTED, held, attempts=1))], NOW)
