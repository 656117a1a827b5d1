"""The ledger: what it knows, what it keeps, and that it reads files of older versions."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.errors import ArchiveBusyError, DestinationError, ErrorKind
from exporter.ledger import Ledger, rows, schema
from exporter.model import (
    Direction,
    ErrorInfo,
    Outcome,
    Recording,
    Redaction,
    Status,
)
from exporter.plan import Decision
from tests.ledgers import (
    NOW,
    SHOP,
    archived,
    export_all,
    plan,
    recording,
    tables,
)
from tests.old_ledgers import back_to_version_4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION_1 = """
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    folded INTEGER NOT NULL,
    UNIQUE (account_id, project_id)
) STRICT;
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES projects,
    folded_project INTEGER NOT NULL,
    conversation_id TEXT NOT NULL COLLATE NOCASE,
    collides INTEGER NOT NULL,
    started_at TEXT
) STRICT;
CREATE INDEX conversations_by_name ON conversations (folded_project, conversation_id);
CREATE TABLE recordings (
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    codec TEXT NOT NULL,
    sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    bits_per_sample INTEGER NOT NULL,
    duration_seconds REAL NOT NULL,
    fetched_at TEXT NOT NULL,
    correlation_id TEXT,
    PRIMARY KEY (conversation, variant)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT,
    exit_code INTEGER,
    conversations INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    decision TEXT NOT NULL,
    status TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    error_kind TEXT,
    error_message TEXT,
    http_status INTEGER,
    error_code TEXT,
    correlation_id TEXT,
    UNIQUE (run, conversation, variant)
) STRICT;
INSERT INTO projects VALUES (1, 'acme', 'shop', 1);
INSERT INTO conversations VALUES (1, 1, 1, 'CA1', 0, '2026-05-21T22:14:03+00:00');
INSERT INTO conversations VALUES (2, 1, 1, 'CA2', 0, NULL);
INSERT INTO recordings VALUES (1, 'user.raw', 'acme/shop/2026-05-21/CA1/user.raw.wav', 9,
    x'aabb', 'pcm_s16le', 8000, 1, 16, 1.5, '2026-05-22T00:00:00+00:00', 'corr-1');
INSERT INTO recordings VALUES (2, 'agent.raw', 'acme/shop/undated/CA2/agent.raw.wav', 8,
    x'ccdd', 'pcm_s16le', 8000, 1, 16, 1.0, '2026-05-22T00:00:01+00:00', NULL);
INSERT INTO runs VALUES (1, 'r1', '2026-05-22T00:00:00+00:00', '2026-05-22T00:00:09+00:00',
    'complete', 0, 2, 0);
INSERT INTO runs VALUES (2, 'r2', '2026-05-23T00:00:00+00:00', NULL, NULL, NULL, 2, 0);
INSERT INTO outcomes (run, conversation, variant, decision, status)
    VALUES (1, 1, 'user.raw', 'new', 'exported');
PRAGMA application_id = 1347374169;
PRAGMA user_version = 1;
"""


def test_a_ledger_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """Recordings and runs of an old file are all there, in partitions that want a manifest."""
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript(VERSION_1)
    old.close()
    ledger = Ledger(path)
    looked = ledger.look_up([recording(), replace(recording("CA2"), direction=Direction.AGENT)])
    assert looked[0].archived == replace(
        archived(), fetched_at=datetime(2026, 5, 22, tzinfo=UTC), version=1
    )
    assert looked[1].archived
    assert looked[1].archived.path == "acme/shop/undated/CA2/agent.raw.wav"
    assert [one.folder for one in ledger.changed_partitions()] == [
        "acme/shop/2026-05-21",
        "acme/shop/undated",
    ]
    assert ledger.knows_run("r1")
    assert ledger.left_run() is None
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as again, again:
        assert again.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert again.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again.close()
    new = Ledger(tmp_path / "new.sqlite")
    new.close()
    assert tables(path) == tables(tmp_path / "new.sqlite")


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A file of version 1 that cannot be migrated is left as it was."""
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript(VERSION_1)
        old.execute("CREATE TABLE partitions (in_the_way)")
    old.close()
    before = tables(path)
    with pytest.raises(DestinationError):
        Ledger(path)
    assert tables(path) == before


def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """A ledger of the future and another program's database are left alone."""
    for name, script, word in (
        ("newer", "PRAGMA application_id = 1347374169; PRAGMA user_version = 99", "newer"),
        ("foreign", "CREATE TABLE t (x)", "not a ledger"),
        ("versioned", "PRAGMA user_version = 1; CREATE TABLE t (x)", "not a ledger"),
    ):
        path = tmp_path / name
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.executescript(script)
        db.close()
        with pytest.raises(DestinationError, match=word):
            Ledger(path)
    (tmp_path / "text").write_text("this is no database, however long it may be" * 50)
    with pytest.raises(DestinationError, match="cannot open the ledger"):
        Ledger(tmp_path / "text")


def test_what_was_recorded_is_known_in_the_next_run(open_ledger: Callable[[], Ledger]) -> None:
    """A look-up in a new process gives what was recorded, and nothing for what was not."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    assert plan(ledger, recording(), recording("CA2"), recording()) == 1
    export_all(ledger)
    again = open_ledger()
    known = again.look_up([recording("CA3"), recording("CA2", None), recording()])
    assert [one.archived for one in known] == [None, archived("CA2"), archived()]
    assert known[1].recording.started_at == NOW


def test_names_that_differ_by_case_collide_within_one_batch_and_across(
    open_ledger: Callable[[], Ledger],
) -> None:
    """The second of two names that only case tells apart is refused, whenever it comes."""
    ledger = open_ledger()
    first, second, third = ledger.look_up([recording("CA"), recording("ca"), recording("cA")])
    assert (first.collides, second.collides, third.collides) == (False, True, True)
    assert [one.collides for one in ledger.look_up([recording("Ca"), recording("CA")])] == [
        True,
        False,
    ]
    other = Recording("ACME", "shop", "CA", Direction.USER, Redaction.RAW, NOW)
    assert ledger.look_up([other])[0].collides


def test_what_is_refused_keeps_its_error_and_its_turn(open_ledger: Callable[[], Ledger]) -> None:
    """A refusal among recordings that need no fetching is told whole, in the manifest's order."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    looked = ledger.look_up([recording("CA1"), recording("ca1"), recording("CA2")])
    refused = Outcome(Status.FAILED, error=ErrorInfo(ErrorKind.IDENTIFIER_COLLISION, "alike"))
    skipped = Outcome(Status.SKIPPED)
    entered = list(zip(looked, ("a", "b", "c"), (skipped, refused, skipped), strict=True))
    assert ledger.plan(entered) == 0
    assert ledger.plan(entered) == 3
    assert [outcome for _, _, outcome in ledger.results(0, 9)] == [skipped, refused, skipped]
    pages = [row for page in ledger.statuses() for row in page]
    assert sorted(status for *_, status in pages) == ["failed", "skipped", "skipped"]
    assert {row[:3] for row in pages} == {("acme", "shop", looked[0].recording.started_at)}


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1970, 1, 2)))  # noqa: DTZ001
def test_the_text_of_a_moment_is_that_of_the_standard_library(moment: datetime) -> None:
    """The faster way to a time's text gives the same one, whatever the instant and its zone."""
    assert rows.timestamp(moment) == moment.astimezone(UTC).isoformat()
    assert rows.to_moment(rows.timestamp(moment)) == moment.astimezone(UTC)


def test_only_the_latest_run_is_kept_row_by_row(open_ledger: Callable[[], Ledger]) -> None:
    """A hundred runs over the same recordings leave the rows of one, and the file does not grow."""
    ledger = open_ledger()
    sizes = []
    for number in range(100):
        ledger.begin_run(f"r{number}", NOW)
        looked = ledger.look_up([recording(f"CA{n}") for n in range(200)])
        ledger.plan([(one, "archived", Outcome(Status.SKIPPED)) for one in looked])
        ledger.planning_ended(0, NOW)
        ledger.end_run("complete", 0, NOW, "{}")
        (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
        sizes.append(pages)
    assert ledger.totals().by_status[Status.SKIPPED] == 200
    assert sizes[-1] <= sizes[1] + 10
    assert ledger.knows_run("r0")


def test_a_killed_run_is_known_as_left_until_its_results_are_rendered(
    open_ledger: Callable[[], Ledger],
) -> None:
    """A run without an end is told by the next process: what it recorded, when it was last seen."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW, "{}")
    plan(ledger, recording(), recording("CA2"))
    planned = ledger.planned(0, 1)
    ledger.record([(planned[0].seq, Outcome(Status.EXPORTED, archived(), attempts=1))], NOW)
    again = open_ledger()
    left = again.left_run()
    assert left
    assert (left.run_id, left.status, left.seen_at) == ("r1", None, NOW)
    assert again.totals().by_status[Status.CANCELLED] == 1
    assert [one.conversation_id for one in again.perhaps_under_way(10)] == ["CA2"]
    again.end_run("interrupted", 137, NOW, "{}")
    assert open_ledger().left_run() is None


def test_a_run_that_was_taken_for_dead_writes_nothing_more(
    open_ledger: Callable[[], Ledger],
) -> None:
    """Once another run has begun, the rows are its own: the slow one is refused, not mixed in."""
    slow, successor = open_ledger(), open_ledger()
    slow.begin_run("slow", NOW)
    plan(slow, recording())
    successor.begin_run("successor", NOW)
    plan(successor, recording("CA2"))
    for write in (
        lambda: export_all(slow),
        lambda: plan(slow, recording("CA3")),
        lambda: slow.end_run("complete", 0, NOW),
    ):
        with pytest.raises(ArchiveBusyError):
            write()
    assert [one.recording.conversation_id for one in successor.planned(0, 9)] == ["CA2"]
    assert not successor.holds_anything()


def test_a_later_version_is_the_one_that_is_known(open_ledger: Callable[[], Ledger]) -> None:
    """Both versions of a drifted recording stay on record; look-ups give the later one."""
    ledger = open_ledger()
    for version, digest in ((1, "aabb"), (2, "ccdd")):
        ledger.begin_run(f"r{version}", NOW)
        plan(ledger, recording(), decision=Decision.REFRESH)
        held = archived(digest=digest, version=version)
        export_all(ledger, lambda _, held=held: held)  # type: ignore[misc]
    (looked,) = ledger.look_up([recording()])
    assert looked.archived
    assert looked.archived.version == 2
    assert [one.sha256 for one in ledger.versions(recording())] == ["aabb", "ccdd"]
    (page,) = ledger.partition_rows(SHOP.folder)
    assert [held.version for _, held in page] == [1, 2]


def test_reading_leaves_no_trace(open_ledger: Callable[[], Ledger], tmp_path: Path) -> None:
    """A reader makes no file, sees what a killed run left in the log, and writes nothing."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    plan(ledger, recording())
    export_all(ledger)
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        (killed / name).write_bytes((tmp_path / name).read_bytes())
    reader = Ledger(killed / "ledger.sqlite", read_only=True)
    assert [len(page) for page in reader.everything()] == [1]
    reader.close()
    ledger.close()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert reader.holds_anything()
    reader.close()
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_older_ledger_is_read_and_stays_as_it_is(
    open_ledger: Callable[[], Ledger], tmp_path: Path, *, is_killed: bool
) -> None:
    """A reader knows all that is in it, also in a killed run's log; only a run upgrades it."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    plan(ledger, recording(), recording("CA2"))
    failed = Outcome(Status.FAILED, None, ErrorInfo(ErrorKind.SERVER_ERROR, "no"), 1)
    ledger.record([(1, Outcome(Status.EXPORTED, archived(), attempts=1)), (2, failed)], NOW)
    ledger.close()
    path = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        back_to_version_4(db)
        if is_killed:
            folder = tmp_path / "killed"
            folder.mkdir()
            for file in tmp_path.glob("ledger.sqlite*"):
                (folder / file.name).write_bytes(file.read_bytes())
            path = folder / path.name
    before = {file: file.read_bytes() for file in path.parent.glob("ledger.sqlite*")}
    assert len(before) == (3 if is_killed else 1)
    reader = Ledger(path, read_only=True)
    assert [len(page) for page in reader.everything()] == [1]
    ((lost,),) = reader.missing((Status.FAILED,))
    assert (lost.recording, lost.error) == (recording("CA2"), failed.error)
    assert [run.run_id for run in reader.latest_runs(10)] == ["r1"]
    reader.close()
    if not is_killed:  # readers share the index of a log, which is made for them
        assert {file: file.read_bytes() for file in path.parent.glob("ledger.sqlite*")} == before
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)


def test_an_error_is_kept_with_its_recording(open_ledger: Callable[[], Ledger]) -> None:
    """Results of a new process tell the error as it was recorded."""
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    plan(ledger, recording())
    error = ErrorInfo(ErrorKind.GONE, "deleted", 410, "GONE", "corr-9")
    ledger.record([(1, Outcome(Status.GONE, error=error, attempts=2))], NOW)
    ledger.planning_ended(0, NOW)
    again = open_ledger()
    again.left_run()
    assert again.results(0, 10) == [(1, recording(), Outcome(Status.GONE, None, error, 2))]
    assert again.totals().errors == {"GONE": 1}
