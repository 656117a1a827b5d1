"""What was asked for and is not archived, kept from run to run until it is."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from exporter.errors import ErrorKind
from exporter.ledger import rows
from exporter.ledger.knowledge import Knowledge
from exporter.model import ErrorInfo, Recording, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

KEPT: Final = (Status.PENDING, Status.FAILED, Status.NOT_FOUND, Status.GONE)
"""The statuses of recordings that are kept; all others are archived, or were not asked for."""

_ARCHIVED: Final = (Status.EXPORTED, Status.SKIPPED)
_PAGE: Final = 1000
_ENTER = (
    "INSERT INTO missing (conversation, variant, status, in_progress, since, asked_at, runs, run,"
    " error_kind, error_message, http_status, error_code, correlation_id)"
    " SELECT o.conversation, o.variant, o.status, o.in_progress, :now, :now, 1, :run,"
    " o.error_kind, o.error_message, o.http_status, o.error_code, o.correlation_id"
    " FROM outcomes o WHERE {where}"
    # What was pending and then fails is still to come: the next run asks again, whatever it names.
    " ON CONFLICT (conversation, variant) DO UPDATE SET status = CASE"
    " WHEN missing.status = 'pending' AND excluded.status = 'failed' THEN 'pending'"
    " ELSE excluded.status END,"
    " in_progress = excluded.in_progress, asked_at = excluded.asked_at, runs = runs + 1,"
    " run = excluded.run, error_kind = excluded.error_kind,"
    " error_message = excluded.error_message, http_status = excluded.http_status,"
    " error_code = excluded.error_code, correlation_id = excluded.correlation_id"
)
_ENTER_ONE: Final = _ENTER.format(where="o.seq = :seq")
_ENTER_REFUSED: Final = _ENTER.format(where="o.status = 'failed'")
_OF_MISSING: Final = (
    " FROM missing o JOIN conversations c ON c.id = o.conversation"
    " JOIN projects p ON p.id = c.project"
)

Place = tuple[int, str]
"""Where a page of what is missing ended."""


class Missing(Struct, frozen=True):
    """A recording that was asked for and is not archived.

    Attributes:
        status: pending, failed, not found or gone, as the last run that asked found it.
        since: when it was first asked for in vain.
        asked_at: when last.
        runs: how many runs asked for it.
        error: what the last one was told.
    """

    recording: Recording
    status: Status
    since: datetime
    asked_at: datetime
    runs: int
    error: ErrorInfo | None


class MissingGroup(Struct, frozen=True):
    """Missing recordings of one project, status and kind of error.

    Attributes:
        kind: of the last error, None where there was none.
        count: how many.
        since: when the first of them was first asked for in vain.
        oldest_started_at: when the oldest call of them began, where any start is known.
    """

    account_id: str
    project_id: str
    status: Status
    kind: str | None
    count: int
    since: datetime
    oldest_started_at: datetime | None


class PastRun(Struct, frozen=True):
    """A run as the ledger remembers it.

    Attributes:
        status: as in the results; None while it is under way, or if it was killed.
        exit_code: likewise.
    """

    run_id: str
    started_at: datetime
    finished_at: datetime | None
    status: str | None
    exit_code: int | None


class MissingRecordings(Knowledge):
    """The part of the ledger that remembers what is not there."""

    def _note_outcomes(self, seqs: Sequence[tuple[int, Status]], run: int, now: str) -> None:
        """Enter what was not archived, and forget what was; in the transaction that is open."""
        self._db.executemany(
            _ENTER_ONE,
            [{"seq": seq, "now": now, "run": run} for seq, status in seqs if status in KEPT],
        )
        archived = [seq for seq, status in seqs if status in _ARCHIVED]
        self._db.execute(
            "DELETE FROM missing WHERE (conversation, variant) IN (SELECT o.conversation, o.variant"
            " FROM json_each(?) e CROSS JOIN outcomes o ON o.seq = e.value)",
            (json.dumps(archived),),
        )

    def _note_plan(self, run: int, now: str) -> None:
        """The same for what planning decided without a request."""
        self._db.execute(_ENTER_REFUSED, {"now": now, "run": run})
        self._db.execute(
            "DELETE FROM missing WHERE EXISTS (SELECT 1 FROM outcomes o"
            " WHERE o.conversation = missing.conversation AND o.variant = missing.variant"
            " AND o.status = 'skipped')"
        )

    # What earlier runs left is asked for again.

    def pending_projects(self, origin: str) -> list[tuple[str, str]]:
        """(account, project) of what is pending at an address of the API."""
        return self._db.execute(
            "SELECT DISTINCT p.account_id, p.project_id FROM missing m"
            " JOIN conversations c ON c.id = m.conversation JOIN projects p ON p.id = c.project"
            " JOIN runs l ON l.id = m.run WHERE m.status = 'pending' AND l.origin = ?"
            " ORDER BY p.id",
            (origin,),
        ).fetchall()

    def pending(
        self, after: Place | None, limit: int, *, origin: str, fresh: datetime
    ) -> tuple[Place | None, list[Recording]]:
        """A page of the recordings that are pending, by conversation.

        Args:
            after: where the last page ended; None at first.
            limit: of the page.
            origin: only what was last asked for at this address.
            fresh: a call that was in progress when it was found missing first is believed to be so
                still, if that was after this.

        Returns:
            Where this page ended, None when there are no more, and its recordings.
        """
        found = self._db.execute(
            f"SELECT {rows.RECORDING_COLUMNS}, o.in_progress AND o.since > ?, o.conversation"
            f"{_OF_MISSING} JOIN runs l ON l.id = o.run"
            " WHERE o.status = 'pending' AND l.origin = ? AND (o.conversation, o.variant) > (?, ?)"
            " ORDER BY o.conversation, o.variant LIMIT ?",
            (rows.timestamp(fresh), origin, *(after or (0, "")), limit),
        ).fetchall()
        if not found:
            return None, []
        last = found[-1]
        return (last[-1], last[3]), [rows.to_recording(row[:6]) for row in found]

    # It is told.

    def missing(self, statuses: Collection[Status], limit: int = -1) -> Iterator[list[Missing]]:
        """Pages of the recordings with these statuses; those missing longest come first."""
        marks = ", ".join("?" * len(statuses))
        found = self._db.execute(
            f"SELECT {rows.RECORDING_COLUMNS}, o.in_progress, o.status, o.since, o.asked_at,"
            " o.runs, o.error_kind, o.error_message, o.http_status, o.error_code, o.correlation_id"
            f"{_OF_MISSING} WHERE o.status IN ({marks})"
            " ORDER BY o.since, c.started_at, o.conversation, o.variant LIMIT ?",
            (*statuses, limit),
        )
        while page := found.fetchmany(_PAGE):
            yield [
                Missing(
                    rows.to_recording(row[:6]),
                    Status(row[6]),
                    datetime.fromisoformat(row[7]),
                    datetime.fromisoformat(row[8]),
                    row[9],
                    ErrorInfo(ErrorKind(row[10]), *row[11:]) if row[10] else None,
                )
                for row in page
            ]

    def missing_by_conversation(self, status: Status) -> Iterator[list[Recording]]:
        """The recordings with this status, those of a conversation together."""
        found = self._db.execute(
            f"SELECT {rows.RECORDING_COLUMNS}, o.in_progress, o.conversation{_OF_MISSING}"
            " WHERE o.status = ? ORDER BY o.conversation, o.variant",
            (status,),
        )
        for _, of_one in groupby(found, key=lambda row: row[-1]):
            yield [rows.to_recording(row[:6]) for row in of_one]

    def missing_groups(self) -> list[MissingGroup]:
        """What is missing in numbers; pending first, then as in `KEPT`, by project and kind."""
        found = self._db.execute(
            "SELECT p.account_id, p.project_id, o.status, o.error_kind, count(*), min(o.since),"
            f" min(c.started_at){_OF_MISSING}"
            " GROUP BY p.id, o.status, o.error_kind"
            " ORDER BY p.account_id, p.project_id, o.error_kind"
        ).fetchall()
        groups = [
            MissingGroup(
                account_id,
                project_id,
                Status(status),
                kind,
                count,
                datetime.fromisoformat(since),
                datetime.fromisoformat(oldest) if oldest else None,
            )
            for account_id, project_id, status, kind, count, since, oldest in found
        ]
        return sorted(groups, key=lambda group: KEPT.index(group.status))

    def expiry(self, gone: datetime, soon: datetime) -> tuple[int, int]:
        """What the vendor deletes, of what the run was asked for and has not archived.

        Args:
            gone: calls that began before this are deleted.
            soon: calls that began before this are deleted next.

        Returns:
            How many are deleted next, and how many are deleted.
        """
        expiring, expired = self._db.execute(
            "SELECT coalesce(sum(c.started_at > :gone AND c.started_at <= :soon"
            "  AND coalesce(o.status, 'cancelled') IN ('pending', 'failed', 'cancelled')), 0),"
            " coalesce(sum(coalesce(c.started_at <= :gone, 0) OR o.status = 'gone'), 0)"
            " FROM outcomes o JOIN conversations c ON c.id = o.conversation"
            " WHERE coalesce(o.status, 'cancelled') NOT IN ('exported', 'skipped')",
            {"gone": rows.timestamp(gone), "soon": rows.timestamp(soon)},
        ).fetchone()
        return expiring, expired

    def latest_runs(self, limit: int) -> list[PastRun]:
        """The latest runs, the latest first."""
        found = self._db.execute(
            "SELECT run_id, started_at, finished_at, status, exit_code FROM runs"
            " ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [
            PastRun(
                run_id,
                datetime.fromisoformat(started_at),
                datetime.fromisoformat(finished_at) if finished_at else None,
                status,
                exit_code,
            )
            for run_id, started_at, finished_at, status, exit_code in found
        ]

    def not_reached(self) -> int:
        """Recordings that the latest run was asked for and did not come to, or has still to do.

        What is archived, or remembered as missing since an earlier run, is not counted again.
        """
        (count,) = self._db.execute(
            "SELECT count(*) FROM outcomes o WHERE coalesce(o.status, 'cancelled') = 'cancelled'"
            " AND NOT EXISTS (SELECT 1 FROM missing m"
            "  WHERE m.conversation = o.conversation AND m.variant = o.variant)"
            " AND NOT EXISTS (SELECT 1 FROM recordings r"
            "  WHERE r.conversation = o.conversation AND r.variant = o.variant)"
        ).fetchone()
        return int(count)

    def recordings(self) -> int:
        """How many recordings are archived; versions count once."""
        (count,) = self._db.execute("SELECT count(*) FROM recordings WHERE version = 1").fetchone()
        return int(count)
