"""What the ledger knows of compared pairs, and which ones it wants to have compared."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from exporter.ledger import Compared, Ledger, Partition, schema
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    Outcome,
    Proof,
    Recording,
    Redaction,
    RedactionEvidence,
    Status,
)
from exporter.pii_access import PairCounts
from tests.old_ledgers import back_to_version_4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from exporter.ledger import Pair

NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
AUDIO = AudioFormat("pcm_s16le", 8000, 1, 16, 20.0)
CONFIRMED = Proof(RedactionEvidence.CONFIRMED, ((0.5, 1.0),))
IDENTICAL = Proof(RedactionEvidence.IDENTICAL)
RAW, REDACTED = Redaction.RAW, Redaction.REDACTED


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    found = Ledger(None)
    yield found
    found.close()


def recording(
    name: str, redaction: Redaction, direction: Direction = Direction.COMBINED
) -> Recording:
    return Recording("acme", "shop", name, direction, redaction, NOW)


def archived(one: Recording, sha256: str = "", version: int = 1) -> Archived:
    path = f"acme/shop/2026-05-21/{one.conversation_id}/{one.direction}.{one.redaction}.{version}"
    sha256 = sha256 or ("a" if one.redaction is RAW else "b") * 64
    return Archived(path, 100, sha256, AUDIO, NOW, "corr", version)


def run(ledger: Ledger, asked: Sequence[Recording], name: str, sha256: str = "") -> None:
    """A run that fetches what is not archived, or with `sha256` everything, and skips the rest."""
    ledger.begin_run(name, NOW, "{}")
    looked = ledger.look_up(asked)
    skips = [
        Outcome(Status.SKIPPED, one.archived) if one.archived and not sha256 else None
        for one in looked
    ]
    ledger.plan((one, "x", outcome) for one, outcome in zip(looked, skips, strict=True))
    ledger.planning_ended(0, NOW)
    outcomes = []
    for planned in ledger.planned(0, 1000):
        version = planned.archived.version + 1 if planned.archived else 1
        content = archived(planned.recording, sha256, version)
        outcomes.append((planned.seq, Outcome(Status.EXPORTED, content, attempts=1)))
    ledger.record(outcomes, NOW)


def to_compare(ledger: Ledger) -> list[Pair]:
    pairs: list[Pair] = []
    last: int | None = 0
    while last is not None:
        last, page = ledger.pairs_to_compare(last, 2)
        pairs += page
    return pairs


def compare_all(ledger: Ledger, proof: Proof, credential: str = "KEY") -> int:
    pairs = to_compare(ledger)
    unique = {(pair.conversation, pair.recording.direction): pair for pair in pairs}
    ledger.record_pairs([Compared(pair, proof, credential) for pair in unique.values()], NOW)
    return len(unique)


def told(ledger: Ledger) -> list[Proof | None]:
    return [
        outcome.archived.proof if outcome.archived else None
        for _, _, outcome in ledger.results(0, 1000)
    ]


def test_a_pair_is_wanted_until_it_was_compared(ledger: Ledger) -> None:
    """Both halves in one run make one pair; once compared, both rows tell the same."""
    asked = [recording("CA1", REDACTED), recording("CA1", RAW), recording("CA2", RAW)]
    run(ledger, asked, "run-1")
    (pair, *_) = to_compare(ledger)
    assert (pair.raw.sha256, pair.redacted.sha256) == ("a" * 64, "b" * 64)
    assert pair.recording == recording("CA1", RAW)
    assert compare_all(ledger, CONFIRMED) == 1
    assert to_compare(ledger) == []
    assert told(ledger) == [CONFIRMED, CONFIRMED, Proof(RedactionEvidence.UNPAIRED)]


def test_a_pair_is_completed_by_a_later_run(ledger: Ledger) -> None:
    """Redacted archived by one run, raw by the next: the second finds the pair."""
    run(ledger, [recording("CA1", REDACTED)], "run-1")
    assert to_compare(ledger) == []
    run(ledger, [recording("CA1", RAW)], "run-2")
    assert compare_all(ledger, CONFIRMED) == 1
    assert told(ledger) == [CONFIRMED]


@pytest.mark.parametrize("again", ["", "c" * 64])
def test_a_pair_is_complete_when_neither_half_is_to_be_fetched(ledger: Ledger, again: str) -> None:
    """While a run goes on, a half that it still fetches anew is not compared with the other."""
    asked = [recording("CA1", REDACTED), recording("CA1", RAW), recording("CA2", RAW)]
    if again:
        run(ledger, asked, "run-1")
    ledger.begin_run("run-2", NOW, "{}")
    ledger.plan((one, "x", None) for one in ledger.look_up(asked))
    planned = ledger.planned(0, 10)
    numbers = [one.seq for one in planned]
    version = 2 if again else 1
    outcomes = [
        (one.seq, Outcome(Status.EXPORTED, archived(one.recording, again, version), attempts=1))
        for one in planned
    ]
    ledger.record([outcomes[1], outcomes[2]], NOW)
    assert ledger.pairs_among(numbers) == []
    ledger.record(outcomes[:1], NOW)
    assert ledger.pairs_among(numbers[2:]) == []
    (pair,) = ledger.pairs_among(numbers)
    assert (pair.recording, pair.raw.version, pair.redacted.version) == (asked[1], version, version)
    ledger.record_pairs([Compared(pair, CONFIRMED, "KEY")], NOW)
    assert ledger.pairs_among(numbers) == to_compare(ledger) == []


def test_what_was_not_compared_is_found_again(ledger: Ledger) -> None:
    """A run that ended before it compared leaves no evidence, and the next is given the pair."""
    asked = [recording("CA1", REDACTED), recording("CA1", RAW)]
    run(ledger, asked, "run-1")
    assert told(ledger) == [None, None]
    run(ledger, asked, "run-2")
    assert {one.status for _, _, one in ledger.results(0, 9)} == {Status.SKIPPED}
    assert compare_all(ledger, IDENTICAL) == 1


def test_new_content_is_compared_anew(ledger: Ledger) -> None:
    """What was found about one version says nothing of the next."""
    run(ledger, [recording("CA1", REDACTED), recording("CA1", RAW)], "run-1")
    compare_all(ledger, IDENTICAL)
    run(ledger, [recording("CA1", RAW)], "run-2", sha256="c" * 64)
    assert told(ledger) == [None]
    assert ledger.pair_counts("acme", "shop") == (PairCounts(), PairCounts())
    assert compare_all(ledger, CONFIRMED) == 1
    assert told(ledger) == [CONFIRMED]


def test_conversations_are_counted_by_run_and_key(ledger: Ledger) -> None:
    """One confirmed direction confirms a conversation; what came earlier is counted apart."""
    everything = [
        recording("CA1", redaction, direction)
        for direction in Direction
        for redaction in (RAW, REDACTED)
    ]
    run(ledger, everything, "run-1")
    pairs = {(one.conversation, one.recording.direction): one for one in to_compare(ledger)}
    proofs = dict(zip(Direction, (CONFIRMED, CONFIRMED, IDENTICAL), strict=True))
    ledger.record_pairs(
        [Compared(one, proofs[one.recording.direction], "KEY") for one in pairs.values()], NOW
    )
    assert ledger.pair_counts("acme", "shop", "KEY") == (PairCounts(confirmed=1), PairCounts())
    run(ledger, [*everything, recording("CA2", RAW), recording("CA2", REDACTED)], "run-2")
    compare_all(ledger, IDENTICAL)
    expected = PairCounts(identical=1), PairCounts(confirmed=1)
    assert ledger.pair_counts("acme", "shop", "KEY") == expected
    assert ledger.pair_counts("acme", "shop") == expected
    assert ledger.pair_counts("acme", "shop", "OTHER") == (PairCounts(), PairCounts())
    assert ledger.pair_counts("acme", "else", "KEY") == (PairCounts(), PairCounts())


def test_what_differs_elsewhere_counts_neither_way(ledger: Ledger) -> None:
    """Inconsistent and incomparable pairs are recorded, but say nothing about the key."""
    for name, evidence in (
        ("CA1", RedactionEvidence.INCONSISTENT),
        ("CA2", RedactionEvidence.UNPAIRED),
    ):
        run(ledger, [recording(name, RAW), recording(name, REDACTED)], f"run-{name}")
        assert compare_all(ledger, Proof(evidence)) == 1
        assert to_compare(ledger) == []
        assert told(ledger) == [Proof(evidence), Proof(evidence)]
    assert ledger.pair_counts("acme", "shop") == (PairCounts(), PairCounts())


def test_partitions_keep_evidence_for_a_lost_ledger(ledger: Ledger) -> None:
    """The manifest of a partition tells what was found, and a new ledger learns it from there."""
    run(ledger, [recording("CA1", RAW), recording("CA1", REDACTED)], "run-1")
    (partition,) = ledger.changed_partitions()
    before = ledger.partition_changes(partition.folder)
    compare_all(ledger, CONFIRMED)
    assert ledger.partition_changes(partition.folder) > before
    held = [one for page in ledger.partition_rows(partition.folder) for one in page]
    assert [one.proof for _, one in held] == [CONFIRMED, CONFIRMED]
    new = Ledger(None)
    new.learn(Partition("acme", "shop", "2026-05-21", partition.folder), "tag", held)
    run(new, [one for one, _ in held], "run-2")
    assert told(new) == [CONFIRMED, CONFIRMED]
    assert to_compare(new) == []
    assert new.pair_counts("acme", "shop") == (PairCounts(), PairCounts(confirmed=1))
    assert new.pair_counts("acme", "shop", "KEY") == (PairCounts(), PairCounts())
    new.close()


def test_raw_projects(ledger: Ledger) -> None:
    """Only the projects that the run was asked for raw recordings of."""
    other = replace(recording("CA1", REDACTED), project_id="quiet")
    run(ledger, [recording("CA1", RAW), other], "run-1")
    assert ledger.raw_projects() == {("acme", "shop")}


def test_a_ledger_without_pairs_gets_them(tmp_path: Path) -> None:
    """The version before this one is migrated, and what it holds is compared."""
    path = tmp_path / "ledger.sqlite"
    old = Ledger(path)
    run(old, [recording("CA1", RAW), recording("CA1", REDACTED)], "run-1")
    old.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        back_to_version_4(db)
        db.execute("DROP VIEW proofs")
        for table in ("pairs", "also_held"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 2")
    db.close()
    new = Ledger(path)
    assert compare_all(new, CONFIRMED) == 1
    assert told(new) == [CONFIRMED, CONFIRMED]
    new.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    db.close()
