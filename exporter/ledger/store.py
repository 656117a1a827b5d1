"""How each run goes, on top of what the archive holds: for one thread, everything in batches.

Each batch is one transaction that is on disk when the call returns.

The outcomes of the latest run only are kept row by row: its results are rendered from them. When
the next run begins they lie in the archive as results, and the rows make room. So a nightly run
over a million recordings does not add a million rows a night. The runs themselves stay, each with
its numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.ledger import rows
from exporter.ledger.comparing import Comparing
from exporter.ledger.pairs import NO_COUNTERPART
from exporter.ledger.rows import Looked, Partition, Planned, Totals
from exporter.ledger.runs import Runs
from exporter.model import Order, Outcome, Recording, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from exporter.model import Archived

_ARCHIVED_MARKS = ", ".join("?" * (1 + rows.ARCHIVED_WIDTH))  # the partition, and what lies there
_OUTCOME_SETTERS = ", ".join(f"{name} = ?" for name in rows.OUTCOME_COLUMNS.split(", "))
_PAGE = 1000


class Ledger(Comparing, Runs):
    """The whole ledger."""

    # A run is planned.

    def plan(
        self,
        decisions: Iterable[tuple[Looked, str, Outcome | None]],
        *,
        carried_over: bool = False,
    ) -> int:
        """Enter recordings with their decision, and the outcome of those that need no fetching.

        Args:
            decisions: what was decided about each.
            carried_over: they were left pending by earlier runs.

        Returns:
            How many were named before in this run, and were dropped.
        """
        entries = []
        refused = []
        for looked, decision, outcome in decisions:
            archived = outcome.archived if outcome else None
            place = looked.conversation, rows.variant_name(looked.recording)
            entries.append(
                (
                    *place,
                    decision,
                    looked.recording.in_progress,
                    carried_over,
                    outcome.status if outcome else None,
                    archived.version if archived else None,
                )
            )
            if outcome and outcome.error:
                refused.append((*rows.from_outcome(outcome), *place))
        with self._transaction():
            self._check_latest()
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO outcomes (conversation, variant, decision,"
                " in_progress, carried_over, status, version) VALUES (?, ?, ?, ?, ?, ?, ?)",
                entries,
            )
            entered = self._db.total_changes - before
            # Apart, because few are: all columns for all would take twice as long.
            self._db.executemany(
                f"UPDATE outcomes SET {_OUTCOME_SETTERS} WHERE conversation = ? AND variant = ?",  # noqa: S608 (constants)
                refused,
            )
            return len(entries) - entered

    def planning_ended(
        self, duplicates: int, now: datetime, *, order: Order = Order.MANIFEST
    ) -> None:
        """Count what was planned, and put it in the order of fetching.

        Args:
            duplicates: how many recordings were named twice.
            now: what is missing is noted with this time.
            order: of fetching.
        """
        with self._transaction():
            self._check_latest()
            self._db.execute(
                "UPDATE runs SET duplicates = ?, conversations ="
                " (SELECT count(DISTINCT conversation) FROM outcomes) WHERE id = ?",
                (duplicates, self._run),
            )
            self._note_plan(self._run, rows.timestamp(now))
            if order is Order.OLDEST_FIRST:  # sorted on disk where they are many
                self._db.execute(
                    "INSERT INTO turns (seq) SELECT o.seq FROM outcomes o"
                    " JOIN conversations c ON c.id = o.conversation WHERE o.status IS NULL"
                    " ORDER BY c.started_at IS NULL, c.started_at, o.seq"
                )

    def projects(self) -> list[tuple[str, str]]:
        """(account, project) of everything that the run was asked for."""
        return self._db.execute(
            "SELECT account_id, project_id FROM projects WHERE id IN"
            " (SELECT c.project FROM outcomes o JOIN conversations c ON c.id = o.conversation)"
            " ORDER BY id"
        ).fetchall()

    def raw_projects(self) -> set[tuple[str, str]]:
        """(account, project) of everything that the run was asked for as raw."""
        found = self._db.execute(
            "SELECT account_id, project_id FROM projects WHERE id IN"
            " (SELECT c.project FROM outcomes o JOIN conversations c ON c.id = o.conversation"
            "  WHERE o.variant LIKE '%.raw')"
        )
        return set(found.fetchall())

    # What is planned is fetched.

    def planned(self, after: int, limit: int) -> list[Planned]:
        """The next recordings without an outcome, in the order of fetching.

        Args:
            after: the turn that the last page ended with; 0 at first.
            limit: of the page.
        """
        found = self._db.execute(
            f"SELECT t.turn, o.seq, o.decision, {rows.RECORDING_COLUMNS}, o.in_progress,"  # noqa: S608 (constants)
            f" {rows.ARCHIVED_COLUMNS} FROM {self._turns()} t"
            " CROSS JOIN outcomes o ON o.seq = t.seq"
            " JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
            " LEFT JOIN recordings r ON r.conversation = o.conversation AND r.variant = o.variant"
            " AND r.version = (SELECT max(version) FROM recordings l"
            "  WHERE l.conversation = o.conversation AND l.variant = o.variant)"
            " WHERE o.status IS NULL AND t.turn > ? ORDER BY t.turn LIMIT ?",
            (after, limit),
        )
        return [
            Planned(
                row[0],
                row[1],
                rows.to_recording(row[3:9]),
                row[2],
                rows.to_archived(row[9:]) if row[9] else None,
            )
            for row in found
        ]

    def _turns(self) -> str:
        """The table that has the order of fetching: the manifest's needs none of its own."""
        ordered = self._db.execute("SELECT 1 FROM turns LIMIT 1").fetchone()
        return "turns" if ordered else "(SELECT seq AS turn, seq FROM outcomes)"

    def record(self, outcomes: Sequence[tuple[int, Outcome]], now: datetime) -> None:
        """Enter outcomes and, for what was exported, what the archive now holds."""
        seen_at = rows.timestamp(now)
        exported = [
            (seq, outcome.archived)
            for seq, outcome in outcomes
            if outcome.status is Status.EXPORTED and outcome.archived
        ]
        with self._transaction():
            self._check_latest()
            self._db.executemany(
                f"UPDATE outcomes SET {_OUTCOME_SETTERS} WHERE seq = ?",  # noqa: S608 (constants)
                [(*rows.from_outcome(outcome), seq) for seq, outcome in outcomes],
            )
            if exported:
                self._record_archived(exported)
            ended = [(seq, outcome.status) for seq, outcome in outcomes]
            self._note_outcomes(ended, self._run, seen_at)
            self._db.execute("UPDATE runs SET seen_at = ? WHERE id = ?", (seen_at, self._run))

    def _record_archived(self, exported: Sequence[tuple[int, Archived]]) -> None:
        """A statement for all, where one will do: each costs more than what it does for one."""
        entries = [
            (self._partition_of(seq, archived.path), *rows.from_archived(archived), seq)
            for seq, archived in exported
        ]
        partitions = json.dumps(list({entry[0] for entry in entries}))
        # Where one lay in another partition before, that one does not tell it any more.
        self._db.execute(
            "UPDATE partitions SET changes = changes + 1"
            " WHERE id IN (SELECT value FROM json_each(?)) OR id IN"
            " (SELECT r.partition FROM json_each(?) e CROSS JOIN outcomes o ON o.seq = e.value"
            "  CROSS JOIN recordings r USING (conversation, variant, version))",
            (partitions, json.dumps([seq for seq, _ in exported])),
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO recordings SELECT conversation, variant, version,"  # noqa: S608 (a constant)
            f" {_ARCHIVED_MARKS} FROM outcomes WHERE seq = ?",
            entries,
        )
        self._db.execute(
            "DELETE FROM also_held WHERE path IN (SELECT value FROM json_each(?))",
            (json.dumps([archived.path for _, archived in exported]),),
        )

    def _partition_of(self, seq: int, path: str) -> int:
        """The number of the partition that the recording of an outcome lies in."""
        folder = path.rsplit("/", 2)[0]
        known = self._partition_numbers.get(folder)
        if known is not None:
            return known
        account_id, project_id = self._db.execute(
            "SELECT p.account_id, p.project_id FROM outcomes o"
            " JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
            " WHERE o.seq = ?",
            (seq,),
        ).fetchone()
        date = folder.rsplit("/", 1)[-1].removeprefix("date=")
        return self._partition(Partition(account_id, project_id, date, folder))

    # Others look on.

    def to_be_fetched_again(self) -> Iterator[list[str]]:
        """Pages of paths of what was found missing or changed and has no outcome yet."""
        found = self._db.execute(
            "SELECT r.path FROM outcomes o JOIN recordings r USING (conversation, variant)"
            " WHERE o.status IS NULL AND o.decision IN ('vanished', 'changed')"
        )
        while page := found.fetchmany(_PAGE):
            yield [row[0] for row in page]

    def perhaps_under_way(self, ahead: int) -> list[Recording]:
        """Recordings that the run may have been fetching when it was killed.

        Args:
            ahead: how far beyond the last recorded one it can have begun.
        """
        found = self._db.execute(
            f"WITH turns_of AS (SELECT * FROM {self._turns()})"  # noqa: S608 (constants)
            f" SELECT {rows.RECORDING_COLUMNS} FROM turns_of t CROSS JOIN outcomes o"
            " ON o.seq = t.seq"
            " JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
            " WHERE o.status IS NULL AND t.turn <= ? + coalesce("
            "(SELECT l.turn FROM turns_of l CROSS JOIN outcomes d ON d.seq = l.seq"
            " WHERE d.attempts > 0 ORDER BY l.turn DESC LIMIT 1),"
            " (SELECT min(l.turn) FROM turns_of l CROSS JOIN outcomes d ON d.seq = l.seq"
            " WHERE d.status IS NULL), 0) ORDER BY t.turn LIMIT ?",
            (ahead, 2 * ahead),
        )
        return [rows.to_recording(row) for row in found]

    # It is told.

    def totals(self) -> Totals:
        """The run in numbers, from its rows."""
        conversations, duplicates = self._db.execute(
            "SELECT conversations, duplicates FROM runs WHERE id = ?", (self._run,)
        ).fetchone()
        by_status = dict.fromkeys(Status, 0)
        requests = retries = planned = 0
        for status, count, sent, repeated in self._db.execute(
            "SELECT status, count(*), sum(attempts), sum(max(attempts - 1, 0))"
            " FROM outcomes GROUP BY status"
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
            " FROM outcomes o JOIN recordings r USING (conversation, variant, version)"
            " WHERE o.status = 'exported'"
        ).fetchone()
        errors = self._db.execute(
            "SELECT coalesce(error_code, error_kind,"
            " CASE coalesce(status, :cancelled) WHEN :cancelled THEN :cancelled END) AS name,"
            " count(*) FROM outcomes WHERE name IS NOT NULL GROUP BY name ORDER BY name",
            {"cancelled": Status.CANCELLED},
        )
        (carried_over,) = self._db.execute(
            "SELECT count(*) FROM outcomes WHERE carried_over"
        ).fetchone()
        return Totals(
            conversations,
            duplicates,
            by_status,
            size,
            seconds,
            requests,
            retries,
            dict(errors),
            carried_over,
            planned,
        )

    def statuses(self) -> Iterator[list[tuple[str, str, datetime | None, Status]]]:
        """Pages of (account, project, start, status) of the run's recordings, in no order."""
        found = self._db.execute(
            "SELECT p.account_id, p.project_id, c.started_at, coalesce(o.status, ?)"
            " FROM outcomes o JOIN conversations c ON c.id = o.conversation"
            " JOIN projects p ON p.id = c.project",
            (Status.CANCELLED,),
        )
        while page := found.fetchmany(_PAGE):
            yield [
                (
                    account_id,
                    project_id,
                    rows.to_moment(started_at),
                    Status(status),
                )
                for account_id, project_id, started_at, status in page
            ]

    def results(self, after: int, limit: int) -> list[tuple[int, Recording, Outcome]]:
        """A page of the run's recordings with their outcomes, in the manifest's order."""
        names = ", ".join(f"o.{name}" for name in rows.OUTCOME_COLUMNS.split(", "))
        found = self._db.execute(
            f"SELECT o.seq, o.conversation, o.carried_over, {rows.RECORDING_COLUMNS}, {names},"  # noqa: S608 (constants)
            f" {rows.ARCHIVED_COLUMNS}, EXISTS (SELECT 1 FROM recordings k"
            f"  WHERE k.conversation = o.conversation AND k.variant = {rows.COUNTERPART})"
            f" FROM outcomes o {rows.JOINS} WHERE o.seq > ? ORDER BY o.seq LIMIT ?",
            (after, limit),
        ).fetchall()
        last = 8 + rows.OUTCOME_WIDTH
        page = [
            (
                row[0],
                rows.to_recording(row[3:8]),
                rows.to_outcome(
                    row[8:last],
                    row[last:-1],
                    carried_over=bool(row[2]),
                    proof=None if row[-1] else NO_COUNTERPART,
                ),
            )
            for row in found
        ]
        # Most archives hold no pairs, and then no more than this is to be asked.
        paired = {
            n: (row[1], page[n][1], archived)
            for n, row in enumerate(found)
            if row[-1] and (archived := page[n][2].archived)
        }
        proven = self._with_proofs(list(paired.values()))
        for n, archived in zip(paired, proven, strict=True):
            seq, recording, outcome = page[n]
            page[n] = seq, recording, replace(outcome, archived=archived)
        return page
