"""The ledger's tables, and the way from every older version of them to this one.

A change of the tables is a new version: append a step to `MIGRATIONS`, change `TABLES` to what a
new ledger begins with, and let the test migrate a file of the old version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

VERSION: Final = 7
APPLICATION_ID: Final = 0x504F4C59  # lets `file` and others tell our database from others

_PROJECTS: Final = """
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    folded INTEGER NOT NULL,           -- the first project that differs from this by case only
    UNIQUE (account_id, project_id)
) STRICT;
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES projects,
    folded_project INTEGER NOT NULL,
    conversation_id TEXT NOT NULL COLLATE NOCASE,
    collides INTEGER NOT NULL,         -- 1: only case tells it from an earlier one: refused
    started_at TEXT
) STRICT;
CREATE INDEX conversations_by_name ON conversations (folded_project, conversation_id);
"""
_PARTITIONS: Final = """
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE,
    project INTEGER NOT NULL REFERENCES projects,
    date TEXT NOT NULL,
    changes INTEGER NOT NULL DEFAULT 0, -- grows with every recording entered
    written INTEGER NOT NULL DEFAULT 0, -- `changes` as the partition's manifest tells them
    tag TEXT                           -- of the manifest that this ledger read or wrote last
) STRICT;
"""
_RECORDINGS: Final = """
CREATE TABLE recordings (              -- what is archived: whole, verified files
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,             -- such as combined.redacted
    version INTEGER NOT NULL,          -- 1; more where the API's recording was seen to change
    partition INTEGER NOT NULL REFERENCES partitions,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    codec TEXT NOT NULL,
    sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    bits_per_sample INTEGER NOT NULL,
    duration_seconds REAL NOT NULL,
    fetched_at TEXT,                   -- NULL, as the next: learnt from a partition's manifest
    correlation_id TEXT,
    PRIMARY KEY (conversation, variant, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX recordings_by_partition ON recordings (partition);
"""
_RUNS: Final = """
CREATE TABLE runs (                    -- every run, for ever
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    started_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,             -- the last thing it recorded
    finished_at TEXT,
    status TEXT,                       -- NULL while it runs; a killed one gets it from the next
    exit_code INTEGER,
    conversations INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    info TEXT,                         -- what its results say of the run itself (JSON)
    summary TEXT,                      -- its numbers (JSON)
    rendered INTEGER NOT NULL DEFAULT 0 -- 1: its results lie in the archive
) STRICT;
"""
_ORIGIN: Final = """
ALTER TABLE runs ADD COLUMN origin TEXT; -- the API's address, which its requests went to
"""
_OUTCOMES: Final = """
CREATE TABLE outcomes (                -- the latest run; emptied when the next one begins
    seq INTEGER PRIMARY KEY,           -- grows in the order of the manifest
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    version INTEGER,                   -- which recording it is about, where one is archived
    decision TEXT NOT NULL,
    status TEXT,                       -- NULL: planned and not done
    attempts INTEGER NOT NULL DEFAULT 0,
    error_kind TEXT,
    error_message TEXT,
    http_status INTEGER,
    error_code TEXT,
    correlation_id TEXT,
    drift_sha256 BLOB,                 -- what was archived before, where the content differs
    drift_path TEXT,                   -- where that lies now; NULL: nowhere
    UNIQUE (conversation, variant)
) STRICT;
"""
_CARRIED: Final = """
ALTER TABLE outcomes ADD COLUMN in_progress INTEGER NOT NULL DEFAULT 0; -- the call, when listed
ALTER TABLE outcomes ADD COLUMN carried_over INTEGER NOT NULL DEFAULT 0; -- 1: from an earlier run
"""
_MISSING: Final = """
CREATE TABLE missing (                 -- asked for and not archived, until it is
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    status TEXT NOT NULL,              -- pending, failed, not_found, gone
    in_progress INTEGER NOT NULL,      -- 1: the call had not ended when it was last listed
    since TEXT NOT NULL,               -- first asked for in vain
    asked_at TEXT NOT NULL,            -- last asked for
    runs INTEGER NOT NULL,             -- how many asked
    run INTEGER NOT NULL REFERENCES runs, -- the last of them
    error_kind TEXT,
    error_message TEXT,
    http_status INTEGER,
    error_code TEXT,
    correlation_id TEXT,
    PRIMARY KEY (conversation, variant)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending ON missing (conversation, variant) WHERE status = 'pending';
"""
_TURNS: Final = """
CREATE TABLE turns (                   -- of the latest run, where it fetches in another order
    turn INTEGER PRIMARY KEY,          -- grows in the order of fetching
    seq INTEGER NOT NULL               -- of outcomes
) STRICT;
"""
_METADATA: Final = """
CREATE TABLE metadata (                -- descriptions of conversations that are archived
    conversation INTEGER PRIMARY KEY REFERENCES conversations,
    partition INTEGER NOT NULL REFERENCES partitions,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    pii TEXT NOT NULL,                 -- drop, keep: what was done about personal data
    is_final INTEGER NOT NULL,         -- 0: the call was in progress
    fetched_at TEXT                    -- NULL: learnt from a partition's manifest
) STRICT;
CREATE INDEX metadata_by_partition ON metadata (partition);
"""
_UNDESCRIBED: Final = """
CREATE TABLE undescribed (             -- descriptions asked for and not archived, until they are
    conversation INTEGER PRIMARY KEY REFERENCES conversations,
    is_missing INTEGER NOT NULL,       -- 1: the API has none, and is not asked again for this alone
    since TEXT NOT NULL,               -- first asked for in vain
    runs INTEGER NOT NULL,             -- how many asked
    run INTEGER NOT NULL REFERENCES runs, -- the last that was to ask
    error_kind TEXT,                   -- NULL: that run ended first
    error_message TEXT
) STRICT;
"""
_PAIRS: Final = """
CREATE TABLE pairs (                   -- raw and redacted of one direction, as compared
    conversation INTEGER NOT NULL REFERENCES conversations,
    direction TEXT NOT NULL,
    raw_sha256 BLOB NOT NULL,          -- which files were compared
    redacted_sha256 BLOB NOT NULL,
    evidence TEXT NOT NULL,
    muted_spans TEXT NOT NULL,         -- JSON: [[start, end], ...] in seconds
    credential TEXT,                   -- NULL, as the next: learnt from a partition's manifest
    run INTEGER REFERENCES runs,
    compared_at TEXT,
    PRIMARY KEY (conversation, direction)
) STRICT, WITHOUT ROWID;
CREATE VIEW proofs AS                  -- those that speak of what is archived now
SELECT q.* FROM pairs q
JOIN recordings a ON a.conversation = q.conversation AND a.variant = q.direction || '.raw'
    AND a.sha256 = q.raw_sha256 AND a.version = (SELECT max(version) FROM recordings l
        WHERE l.conversation = a.conversation AND l.variant = a.variant)
JOIN recordings b ON b.conversation = q.conversation AND b.variant = q.direction || '.redacted'
    AND b.sha256 = q.redacted_sha256 AND b.version = (SELECT max(version) FROM recordings l
        WHERE l.conversation = b.conversation AND l.variant = b.variant);
"""
_ALSO_HELD: Final = """
CREATE TABLE also_held (               -- the same version once more, as another partition tells
    path TEXT PRIMARY KEY,
    partition INTEGER NOT NULL REFERENCES partitions,
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    version INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    codec TEXT NOT NULL,
    sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    bits_per_sample INTEGER NOT NULL,
    duration_seconds REAL NOT NULL,
    fetched_at TEXT,
    correlation_id TEXT,
    evidence TEXT,                     -- as its partition's manifest tells it, like the next
    muted_spans TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX also_held_by_partition ON also_held (partition);
CREATE INDEX also_held_by_conversation ON also_held (conversation);
"""
_WINDOWS: Final = """
CREATE TABLE queries (                 -- questions to the list of conversations, without their time
    id INTEGER PRIMARY KEY,
    query TEXT NOT NULL UNIQUE         -- project and filters (JSON)
) STRICT;
CREATE TABLE windows (                 -- what every run looked for in the list, and when
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    query INTEGER NOT NULL REFERENCES queries,
    window TEXT NOT NULL,              -- as the results tell it (JSON)
    starts_at TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    told TEXT,                         -- what the list told (JSON); NULL: the run ended first
    missing INTEGER,                   -- listed by an earlier run, and not by this one;
    expired INTEGER                    -- likewise, but expected; NULL, both: not compared
) STRICT;
CREATE INDEX windows_by_run ON windows (run);
CREATE TABLE found (                   -- the latest run's windows; emptied when the next one begins
    window INTEGER NOT NULL REFERENCES windows,
    conversation INTEGER NOT NULL REFERENCES conversations,
    PRIMARY KEY (window, conversation)
) STRICT, WITHOUT ROWID;
CREATE TABLE listed (                  -- what the list of a query ever held
    query INTEGER NOT NULL REFERENCES queries,
    started_at TEXT NOT NULL,
    conversation INTEGER NOT NULL REFERENCES conversations,
    PRIMARY KEY (query, started_at, conversation)
) STRICT, WITHOUT ROWID;
"""
_VERSION_5: Final = (
    _PROJECTS + _PARTITIONS + _RECORDINGS + _RUNS + _OUTCOMES + _PAIRS + _ALSO_HELD + _WINDOWS
)
# Columns that came later are added to new ledgers as to older ones: steps of old versions make
# their tables of the same texts.
_VERSION_6: Final = _ORIGIN + _CARRIED + _MISSING + _TURNS + _METADATA
TABLES: Final = _VERSION_5 + _VERSION_6 + _UNDESCRIBED


def execute_all(db: sqlite3.Connection, script: str) -> None:
    """Several statements within the transaction that is open; `executescript` would end it."""
    for statement in re.sub(r"--.*", "", script).split(";"):
        db.execute(statement)


def _to_version_2(db: sqlite3.Connection) -> None:
    """Partitions and versions of recordings; outcomes of the latest run only."""
    db.create_function("folder_of", 1, lambda path: path.rsplit("/", 2)[0], deterministic=True)
    db.create_function(
        "date_of",
        1,
        lambda folder: folder.rsplit("/", 1)[-1].removeprefix("date="),
        deterministic=True,
    )
    db.execute("ALTER TABLE recordings RENAME TO old_recordings")
    db.execute("ALTER TABLE runs RENAME TO old_runs")
    execute_all(db, _PARTITIONS + _RECORDINGS + _RUNS)
    # All need a manifest, so all count as changed.
    db.execute(
        "INSERT INTO partitions (folder, project, date, changes)"
        " SELECT folder_of(r.path) AS folder, c.project, date_of(folder_of(r.path)), 1"
        " FROM old_recordings r JOIN conversations c ON c.id = r.conversation GROUP BY folder"
    )
    db.execute(
        "INSERT INTO recordings SELECT conversation, variant, 1, p.id, path, bytes, sha256, codec,"
        " sample_rate, channels, bits_per_sample, duration_seconds, fetched_at, correlation_id"
        " FROM old_recordings r JOIN partitions p ON p.folder = folder_of(r.path)"
    )
    # What a killed run of that version was asked for is not known well enough to tell it.
    db.execute(
        "INSERT INTO runs (id, run_id, started_at, seen_at, finished_at, status, exit_code,"
        " conversations, duplicates, rendered)"
        " SELECT id, run_id, started_at, coalesce(finished_at, started_at), finished_at,"
        " coalesce(status, 'interrupted'), exit_code, conversations, duplicates, 1 FROM old_runs"
    )
    for table in ("outcomes", "old_recordings", "old_runs"):
        db.execute(f"DROP TABLE {table}")
    execute_all(db, _OUTCOMES)


def _to_version_3(db: sqlite3.Connection) -> None:
    """Compared pairs. What is archived already is compared when a run is next asked for it."""
    execute_all(db, _PAIRS)


def _to_version_4(db: sqlite3.Connection) -> None:
    """Recordings that lie in two partitions. Older versions passed over the second."""
    execute_all(db, _ALSO_HELD)
    # So every manifest is read once more before it is written.
    db.execute("UPDATE partitions SET tag = NULL")


def _to_version_5(db: sqlite3.Connection) -> None:
    """Windows. No run has looked for anything yet."""
    execute_all(db, _WINDOWS)


def _to_version_6(db: sqlite3.Connection) -> None:
    """What is missing is kept, and recordings have turns, and conversations descriptions."""
    execute_all(db, _VERSION_6)
    # Of what older versions' runs left, that of the latest is known.
    db.execute(
        "INSERT INTO missing"
        " SELECT o.conversation, o.variant, o.status, 0, r.seen_at, r.seen_at, 1, r.id,"
        " o.error_kind, o.error_message, o.http_status, o.error_code, o.correlation_id"
        " FROM outcomes o JOIN runs r ON r.id = (SELECT max(id) FROM runs)"
        " WHERE o.status IN ('pending', 'failed', 'not_found', 'gone')"
    )


def _to_version_7(db: sqlite3.Connection) -> None:
    """Descriptions that are missing are kept. What older versions' runs left is not known."""
    execute_all(db, _UNDESCRIBED)


MIGRATIONS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {
    2: _to_version_2,
    3: _to_version_3,
    4: _to_version_4,
    5: _to_version_5,
    6: _to_version_6,
    7: _to_version_7,
}
"""The step that leads to each version from the one before."""
