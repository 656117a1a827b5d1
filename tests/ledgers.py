"""Recordings, and a ledger that they are entered into."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.ledger import Ledger, Partition
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    Outcome,
    Recording,
    Redaction,
    Status,
)
from exporter.plan import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
AUDIO = AudioFormat("pcm_s16le", 8000, 1, 16, 1.5)
SHOP = Partition("acme", "shop", "2026-05-21", "acme/shop/2026-05-21")


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens one and the same ledger file, again and again."""
    opened = []

    def open_it() -> Ledger:
        opened.append(Ledger(tmp_path / "ledger.sqlite"))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


def recording(name: str = "CA1", started_at: datetime | None = NOW) -> Recording:
    return Recording("acme", "shop", name, Direction.USER, Redaction.RAW, started_at)


def archived(name: str = "CA1", *, digest: str = "aabb", version: int = 1) -> Archived:
    path = f"acme/shop/2026-05-21/{name}/user.raw.wav"
    return Archived(path, 9, digest, AUDIO, NOW, "corr-1", version)


def plan(ledger: Ledger, *wanted: Recording, decision: str = Decision.NEW) -> int:
    return ledger.plan([(looked, decision, None) for looked in ledger.look_up(wanted)])


def export_all(ledger: Ledger, held: Callable[[str], Archived] = archived) -> None:
    planned = ledger.planned(0, 1000)
    ledger.record(
        [
            (one.seq, Outcome(Status.EXPORTED, held(one.recording.conversation_id), attempts=1))
            for one in planned
        ],
        NOW,
    )


def tables(path: Path) -> set[tuple[str, str]]:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    db.close()
    return {(name, " ".join(sql.replace('"', "").split())) for name, sql in rows}
