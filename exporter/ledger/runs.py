"""The runs themselves: each begins, ends, and stays with its numbers."""

from __future__ import annotations

from datetime import datetime

from exporter.errors import ArchiveBusyError
from exporter.ledger import rows
from exporter.ledger.documents import Documents
from exporter.ledger.rows import LeftRun
from exporter.model import Status


class Runs(Documents):
    """The part of the ledger that knows runs."""

    def begin_run(
        self, run_id: str, started_at: datetime, info: str | None = None, *, origin: str = ""
    ) -> None:
        """Open a run; the rows of the last one, whose results are in the archive, make room.

        Args:
            run_id: its id.
            started_at: now.
            info: what its results say of the run itself (JSON), should it be killed.
            origin: the API's address.
        """
        now = rows.timestamp(started_at)
        with self._transaction():
            self._db.execute("DELETE FROM outcomes")  # without WHERE: drops pages, not rows
            self._db.execute("DELETE FROM turns")
            self._db.execute("DELETE FROM found")
            cursor = self._db.execute(
                "INSERT INTO runs (run_id, started_at, seen_at, info, origin)"
                " VALUES (?, ?, ?, ?, ?)",
                (run_id, now, now, info, origin),
            )
            self._run = cursor.lastrowid or 0

    def _check_latest(self) -> None:
        """The rows of outcomes belong to the latest run: is that this one?

        Raises:
            ArchiveBusyError: another run took this one for dead, and began.
        """
        (latest,) = self._db.execute("SELECT max(id) FROM runs").fetchone()
        if latest != self._run:
            raise ArchiveBusyError(
                "another run took this archive over while this run gave no sign of life",
                hint="Run again when the other one has ended: what is archived is skipped.",
            )

    def run_under_way(self) -> str | None:
        """Id of the latest run, if it has not ended: it goes on, or was killed."""
        row = self._db.execute(
            "SELECT run_id, status FROM runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return row[0] if row and row[1] is None else None

    def cancel_rest(self) -> None:
        """What is still planned is not done any more.

        Raises:
            ArchiveBusyError: another run took this one for dead, and began.
        """
        with self._transaction():
            self._cancel_rest()

    def _cancel_rest(self) -> None:
        self._check_latest()
        self._db.execute("UPDATE outcomes SET status = ? WHERE status IS NULL", (Status.CANCELLED,))

    def end_run(
        self, status: str, exit_code: int, finished_at: datetime, summary: str | None = None
    ) -> None:
        """Close the run: what is still planned is cancelled.

        Args:
            status: how it ended, like the next two.
            exit_code: of the process.
            finished_at: when.
            summary: its numbers (JSON), once its results lie in the archive.

        Raises:
            ArchiveBusyError: another run took this one for dead, and began.
        """
        with self._transaction():
            self._cancel_rest()
            self._note_not_described(rows.timestamp(finished_at))
            self._db.execute(
                "UPDATE runs SET status = ?, exit_code = ?, finished_at = ?, summary = ?,"
                " rendered = ? WHERE id = ?",
                (
                    status,
                    exit_code,
                    rows.timestamp(finished_at),
                    summary,
                    summary is not None,
                    self._run,
                ),
            )

    def left_run(self) -> LeftRun | None:
        """The latest run, if its results are not in the archive; the methods then speak of it."""
        row = self._db.execute(
            "SELECT id, run_id, info, started_at, seen_at, status, exit_code, finished_at, rendered"
            " FROM runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None or row[-1]:
            return None
        self._run, run_id, info, started_at, seen_at, status, exit_code, finished_at, _ = row
        return LeftRun(
            run_id,
            info,
            datetime.fromisoformat(started_at),
            datetime.fromisoformat(seen_at),
            status,
            exit_code,
            datetime.fromisoformat(finished_at) if finished_at else None,
        )

    def knows_run(self, run_id: str) -> bool:
        """Whether a run was entered here."""
        row = self._db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return row is not None

    def knows_any_run(self) -> bool:
        """Whether any run was entered here."""
        return self._db.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
