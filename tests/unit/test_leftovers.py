"""What failed, written as a manifest: nothing added, nothing lost, and little said twice."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ErrorKind
from exporter.ledger import Ledger, LedgerThread
from exporter.leftovers import write_failed
from exporter.loader import open_manifest
from exporter.model import Conversation, Direction, ErrorInfo, Outcome, Recording, Redaction, Status
from exporter.plan import Choice, recordings

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
NOTHING = Choice((), ())
VARIANTS = list(product(Direction, Redaction))
FAILED = Outcome(Status.FAILED, error=ErrorInfo(ErrorKind.SERVER_ERROR, "no"), attempts=1)

calls = st.dictionaries(
    st.tuples(st.sampled_from(["shop", "Help-2"]), st.integers(0, 20)),
    st.lists(st.sampled_from(VARIANTS), unique=True, max_size=6),
    max_size=12,
)


def failed(calls: dict[tuple[str, int], list[tuple[Direction, Redaction]]]) -> list[Recording]:
    return [
        Recording("acme", project, f"CA{n}", direction, redaction, NOW if n % 2 else None)
        for (project, n), variants in calls.items()
        for direction, redaction in variants
    ]


def there_and_back(wanted: list[Recording], ending: str) -> list[Conversation]:
    """The entries of the manifest that is written when these failed, and another was found."""

    async def write(ledger: Ledger, file: Path) -> int:
        async with LedgerThread() as thread:
            return await write_failed(ledger, thread, str(file))

    with tempfile.TemporaryDirectory() as folder, closing(Ledger(None)) as ledger:
        file = Path(folder) / f"failed.{ending}"
        gone = Recording("acme", "shop", "gone", Direction.USER, Redaction.RAW)
        ledger.begin_run("run-1", NOW, "{}", origin="https://api.example.com")
        ledger.plan([(looked, "new", None) for looked in ledger.look_up([*wanted, gone])])
        ledger.planning_ended(0, NOW)
        ledger.record(
            [
                (
                    one.seq,
                    FAILED if one.recording.conversation_id != "gone" else Outcome(Status.GONE),
                )
                for one in ledger.planned(0, 1000)
            ],
            NOW,
        )
        assert asyncio.run(write(ledger, file)) == len(wanted)
        assert file.exists() is bool(wanted)
        if not wanted:
            return []
        with open_manifest(str(file)) as manifest:
            return list(manifest.conversations())


@pytest.mark.parametrize("ending", ["yaml", "jsonl"])
@settings(max_examples=25)
@given(calls)
def test_what_is_read_back_asks_for_exactly_what_failed(
    ending: str, calls: dict[tuple[str, int], list[tuple[Direction, Redaction]]]
) -> None:
    """Whatever failed of whichever conversations: each recording once, its start with it."""
    wanted = failed(calls)
    entries = there_and_back(wanted, ending)
    planned = [recording for entry in entries for recording in recordings(entry, NOTHING)]
    assert len(planned) == len(wanted)
    assert {(one, one.started_at) for one in planned} == {(one, one.started_at) for one in wanted}


@pytest.mark.parametrize(
    ("variants", "count"),
    [
        (VARIANTS, 1),
        ([(Direction.USER, Redaction.RAW)], 1),
        (list(product([Direction.USER, Direction.AGENT], Redaction)), 1),
        (list(product(Direction, [Redaction.REDACTED])), 1),
        (VARIANTS[:-1], 2),
        ([(Direction.USER, Redaction.RAW), (Direction.AGENT, Redaction.REDACTED)], 2),
    ],
)
def test_a_conversation_is_named_as_seldom_as_can_be(
    variants: list[tuple[Direction, Redaction]], count: int
) -> None:
    """Once, where its variants are some directions in some redactions; else twice."""
    assert len(there_and_back(failed({("shop", 1): variants}), "yaml")) == count
