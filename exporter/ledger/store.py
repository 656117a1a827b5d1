"""The database itself: synchronous, for one thread, everything in batches.

Each batch is one transaction that is on disk when the call returns.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from exporter.errors import DestinationError
from exporter.ledger import rows, schema
from exporter.ledger.rows import Looked, Planned, Totals
from exporter.model import Archived, Outcome, Recording, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class Ledger:
    """The database, for one thread.

    Raises:
        DestinationError: the file cannot be opened, is no ledger, or is a newer version's.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open or create; without a path, a temporary one that goes with its last use."""
        self._path = path
        try:
            self._db = _connect(path, read_only=read_only)
            self._prepare(read_only=read_only)
        except sqlite3.Error as error:
            raise DestinationError(
                f"cannot open the ledger {path}: {error}",
                hint="Check the disk and the file; SQLite needs a local file system"
                " (--state-dir puts the ledger elsewhere).",
            ) from None
        self._run = 0

    def _prepare(self, *, read_only: bool) -> None:
        db = self._db
        db.execute("PRAGMA busy_timeout = 10000")
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16000")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if version > schema.VERSION:
            raise DestinationError(
                f"the ledger {self._path} was written by a newer exporter (schema {version})",
                hint="Upgrade exporter, or use another archive.",
            )
        if version == 0:
            if application or db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise DestinationError(f"{self._path} is a database, but not a ledger of exporter")
            with self._transaction():
                for statement in schema.TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {schema.VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    # A run begins and is planned.

    def begin_run(self, run_id: str, started_at: datetime) -> None:
        """Open a run; the methods below speak of it."""
        cursor = self._db.execute(
            "INSERT INTO runs (run_id, started_at) VALUES (?, ?)",
            (run_id, rows.timestamp(started_at)),
        )
        self._run = cursor.lastrowid or 0

    def look_up(self, recordings: Sequence[Recording]) -> list[Looked]:
        """What is known of each; conversations not seen before are entered."""
        with self._transaction():
            return [self._look_up_one(recording) for recording in recordings]

    def _look_up_one(self, recording: Recording) -> Looked:
        conversation, collides, known_start = self._conversation(recording)
        if recording.started_at is None and known_start is not None:
            recording = replace(recording, started_at=datetime.fromisoformat(known_start))
        return Looked(recording, conversation, self._archived(conversation, recording), collides)

    def _archived(self, conversation: int, recording: Recording) -> Archived | None:
        row = self._db.execute(
            f"SELECT {rows.ARCHIVED_COLUMNS} FROM recordings r"  # noqa: S608 (a constant)
            " WHERE conversation = ? AND variant = ?",
            (conversation, rows.variant_name(recording)),
        ).fetchone()
        return rows.to_archived(row) if row else None

    def _conversation(self, recording: Recording) -> tuple[int, bool, str | None]:
        project, folded = self._project(recording.account_id, recording.project_id)
        started_at = rows.timestamp(recording.started_at) if recording.started_at else None
        taken = False
        for number, its_project, name, collides, its_start in self._db.execute(
            "SELECT id, project, conversation_id, collides, started_at FROM conversations"
            " WHERE folded_project = ? AND conversation_id = ?",
            (folded, recording.conversation_id),
        ).fetchall():
            if its_project == project and name == recording.conversation_id:
                if started_at is not None and its_start != started_at:
                    self._db.execute(
                        "UPDATE conversations SET started_at = ? WHERE id = ?", (started_at, number)
                    )
                return number, bool(collides), started_at or its_start
            taken = taken or not collides
        cursor = self._db.execute(
            "INSERT INTO conversations"
            " (project, folded_project, conversation_id, collides, started_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (project, folded, recording.conversation_id, taken, started_at),
        )
        return cursor.lastrowid or 0, taken, started_at

    def _project(self, account_id: str, project_id: str) -> tuple[int, int]:
        row = self._db.execute(
            "SELECT id, folded FROM projects WHERE account_id = ? AND project_id = ?",
            (account_id, project_id),
        ).fetchone()
        if row:
            return row[0], row[1]
        twin = self._db.execute(
            "SELECT folded FROM projects WHERE lower(account_id) = ? AND lower(project_id) = ?",
            (account_id.lower(), project_id.lower()),
        ).fetchone()
        cursor = self._db.execute(
            "INSERT INTO projects (account_id, project_id, folded) VALUES (?, ?, 0)",
            (account_id, project_id),
        )
        number = cursor.lastrowid or 0
        folded: int = twin[0] if twin else number
        self._db.execute("UPDATE projects SET folded = ? WHERE id = ?", (folded, number))
        return number, folded

    def look_up_for(self, looked: Sequence[Looked]) -> list[Looked]:
        """The same with what this ledger knows, for a plan that is kept in another one."""
        return [self._completed(one) for one in looked]

    def _completed(self, looked: Looked) -> Looked:
        recording = looked.recording
        folded = self._db.execute(
            "SELECT folded FROM projects WHERE lower(account_id) = ? AND lower(project_id) = ?",
            (recording.account_id.lower(), recording.project_id.lower()),
        ).fetchone()
        taken = False
        for number, *name, collides in self._db.execute(
            "SELECT c.id, p.account_id, p.project_id, c.conversation_id, c.collides"
            " FROM conversations c JOIN projects p ON p.id = c.project"
            " WHERE c.folded_project = ? AND c.conversation_id = ?",
            (*(folded or (0,)), recording.conversation_id),
        ).fetchall():
            if name == [recording.account_id, recording.project_id, recording.conversation_id]:
                return replace(
                    looked,
                    archived=self._archived(number, recording),
                    collides=looked.collides or bool(collides),
                )
            taken = taken or not collides
        return replace(looked, collides=looked.collides or taken)

    def plan(self, decisions: Iterable[tuple[Looked, str, Outcome | None]]) -> int:
        """Enter recordings with their decision, and the outcome of those that need no fetching.

        Returns:
            How many were named before in this run, and were dropped.
        """
        entries = [
            (
                self._run,
                looked.conversation,
                rows.variant_name(looked.recording),
                decision,
                *rows.from_outcome(outcome),
            )
            for looked, decision, outcome in decisions
        ]
        with self._transaction():
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO outcomes (run, conversation, variant, decision, status,"
                " attempts, error_kind, error_message, http_status, error_code, correlation_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                entries,
            )
            return len(entries) - (self._db.total_changes - before)

    def planning_ended(self, duplicates: int) -> None:
        """Note how many recordings were named twice, and count the conversations."""
        self._db.execute(
            "UPDATE runs SET duplicates = ?, conversations ="
            " (SELECT count(DISTINCT conversation) FROM outcomes WHERE run = runs.id)"
            " WHERE id = ?",
            (duplicates, self._run),
        )

    def projects(self) -> list[tuple[str, str]]:
        """(account, project) of everything that the run was asked for."""
        return self._db.execute(
            "SELECT account_id, project_id FROM projects WHERE id IN"
            " (SELECT c.project FROM outcomes o JOIN conversations c ON c.id = o.conversation"
            "  WHERE o.run = ?) ORDER BY id",
            (self._run,),
        ).fetchall()

    # What is planned is fetched.

    def planned(self, after: int, limit: int) -> list[Planned]:
        """The next recordings without an outcome, in the manifest's order."""
        found = self._db.execute(
            f"SELECT o.seq, o.decision, {rows.RECORDING_COLUMNS}, {rows.ARCHIVED_COLUMNS}"  # noqa: S608 (constants)
            f" FROM outcomes o {rows.JOINS}"
            " WHERE o.run = ? AND o.status IS NULL AND o.seq > ? ORDER BY o.seq LIMIT ?",
            (self._run, after, limit),
        )
        return [
            Planned(
                row[0],
                rows.to_recording(row[2:7]),
                row[1],
                rows.to_archived(row[7:]) if row[7] else None,
            )
            for row in found
        ]

    def record(self, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Enter outcomes and, for what was exported, what the archive now holds."""
        with self._transaction():
            self._db.executemany(
                "UPDATE outcomes SET status = ?, attempts = ?, error_kind = ?, error_message = ?,"
                " http_status = ?, error_code = ?, correlation_id = ? WHERE seq = ?",
                [(*rows.from_outcome(outcome), seq) for seq, outcome in outcomes],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO recordings SELECT conversation, variant,"
                " ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM outcomes WHERE seq = ?",
                [
                    (*rows.from_archived(outcome.archived), seq)
                    for seq, outcome in outcomes
                    if outcome.status is Status.EXPORTED and outcome.archived
                ],
            )

    # A run ends and is told.

    def end_run(self, status: str, exit_code: int, finished_at: datetime) -> None:
        """Close the run: what is still planned is cancelled."""
        with self._transaction():
            self._db.execute(
                "UPDATE outcomes SET status = ? WHERE run = ? AND status IS NULL",
                (Status.CANCELLED, self._run),
            )
            self._db.execute(
                "UPDATE runs SET status = ?, exit_code = ?, finished_at = ? WHERE id = ?",
                (status, exit_code, rows.timestamp(finished_at), self._run),
            )

    def totals(self) -> Totals:
        """The run in numbers, from its rows."""
        run = (self._run,)
        conversations, duplicates = self._db.execute(
            "SELECT conversations, duplicates FROM runs WHERE id = ?", run
        ).fetchone()
        by_status = dict.fromkeys(Status, 0)
        requests = retries = planned = 0
        for status, count, sent, repeated in self._db.execute(
            "SELECT status, count(*), sum(attempts), sum(max(attempts - 1, 0))"
            " FROM outcomes WHERE run = ? GROUP BY status",
            run,
        ):
            if status is None:
                planned = count
            else:
                by_status[Status(status)] = count
            requests += sent
            retries += repeated
        by_status[Status.CANCELLED] += planned
        size, seconds = self._db.execute(
            "SELECT coalesce(sum(r.bytes), 0), coalesce(sum(r.duration_seconds), 0.0)"
            " FROM outcomes o JOIN recordings r USING (conversation, variant)"
            " WHERE o.run = ? AND o.status = 'exported'",
            run,
        ).fetchone()
        errors = self._db.execute(
            "SELECT coalesce(error_code, error_kind) AS name, count(*) FROM outcomes"
            " WHERE run = ? AND name IS NOT NULL GROUP BY name ORDER BY name",
            run,
        )
        return Totals(
            conversations,
            duplicates,
            by_status,
            size,
            seconds,
            requests,
            retries,
            dict(errors),
            planned,
        )

    def results(self, after: int, limit: int) -> list[tuple[int, Recording, Outcome]]:
        """A page of the run's recordings with their outcomes, in the manifest's order."""
        found = self._db.execute(
            "SELECT o.seq, o.status, o.attempts, o.error_kind, o.error_message, o.http_status,"  # noqa: S608 (constants)
            f" o.error_code, o.correlation_id, {rows.RECORDING_COLUMNS}, {rows.ARCHIVED_COLUMNS}"
            f" FROM outcomes o {rows.JOINS} WHERE o.run = ? AND o.seq > ? ORDER BY o.seq LIMIT ?",
            (self._run, after, limit),
        )
        return [
            (row[0], rows.to_recording(row[8:13]), rows.to_outcome(row[1:8], row[13:]))
            for row in found
        ]


def _connect(path: Path | None, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        return sqlite3.connect(path or "", isolation_level=None, check_same_thread=False)
    uri = f"{path.absolute().as_uri()}?mode=ro" if path else ""
    try:
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        # On a read-only file system there is no place for the files that readers share.
        db = sqlite3.connect(
            f"{uri}&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    return db


class _Transaction:
    """`BEGIN IMMEDIATE` … `COMMIT`, or `ROLLBACK` on any error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:  # a full disk may have rolled back already
            self._db.execute("ROLLBACK")
