"""What runs looked for in the list of conversations, and what they found there.

Which conversations a window holds is kept for the latest run only. That a query's list once held a
conversation is kept for good, a few bytes each, so that a list that shrinks is noticed.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from exporter.ledger import rows
from exporter.ledger.manifests import Manifests
from exporter.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAMED: Final = 10
# A conversation is what its worst recording is: archived only if all of them are.
_WORST: Final = (
    Status.SKIPPED,
    Status.NOT_FOUND,
    Status.GONE,
    Status.PENDING,
    Status.FAILED,
    Status.CANCELLED,
)
_RANK: Final = (
    "CASE coalesce(o.status, 'cancelled') WHEN 'exported' THEN 0 "
    + " ".join(f"WHEN '{status}' THEN {rank}" for rank, status in enumerate(_WORST))
    + " END"
)


class Shrinkage(Struct, frozen=True):
    """What a window's list lacks that an earlier run's list of the same query had.

    Attributes:
        missing: conversations that should still be there.
        expired: those that the vendor's retention explains.
        named: the ids of some that are missing.
    """

    missing: int
    expired: int
    named: tuple[str, ...]


class Finds(Struct, frozen=True):
    """A window of the latest run.

    Attributes:
        window: what was looked for, as it was entered (JSON).
        told: what the list told, likewise; None: the run ended first.
        conversations: how many of those planned ended how; `skipped` stands for archived.
        recordings: likewise of their recordings.
        shrinkage: None where nothing could be compared.
    """

    window: str
    told: str | None
    conversations: dict[Status, int]
    recordings: dict[Status, int]
    shrinkage: Shrinkage | None


class Windows(Manifests):
    """The part of the ledger that knows windows."""

    _run: int = 0

    def begin_window(self, window: str, query: str, start: datetime, end: datetime) -> int:
        """Enter a window of the run; returns its number.

        Args:
            window: what is looked for (JSON); kept as it is.
            query: the same text means the same question, whatever the window.
            start: of the window.
            end: likewise.
        """
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO queries (query) VALUES (?)", (query,))
            cursor = self._db.execute(
                "INSERT INTO windows (run, query, window, starts_at, ends_at)"
                " SELECT ?, id, ?, ?, ? FROM queries WHERE query = ?",
                (self._run, window, rows.timestamp(start), rows.timestamp(end), query),
            )
        return cursor.lastrowid or 0

    def starts_of(self, conversations: Sequence[tuple[str, str, str]]) -> list[datetime | None]:
        """When these (account, project, conversation) began, as far as any run knew."""
        found = []
        for key in conversations:
            row = self._db.execute(
                "SELECT started_at FROM conversations c JOIN projects p ON p.id = c.project"
                " WHERE p.account_id = ? AND p.project_id = ? AND c.folded_project = p.folded"
                " AND c.conversation_id = ? AND c.conversation_id = ? COLLATE BINARY",
                (*key, key[-1]),
            ).fetchone()
            found.append(datetime.fromisoformat(row[0]) if row and row[0] else None)
        return found

    def window_listed(self, number: int, told: str) -> None:
        """The list was read as far as it goes; what it told is kept as it is."""
        self._db.execute("UPDATE windows SET told = ? WHERE id = ?", (told, number))

    def note_found(self, number: int, conversations: Iterable[int]) -> None:
        """The window holds these, which are planned."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO found VALUES (?, ?)",
                [(number, each) for each in conversations],
            )

    def compare_window(self, number: int, *, expired_before: datetime | None) -> Shrinkage:
        """Compare a whole list with what earlier lists of its query held in the same time.

        Args:
            number: of the window, whose finds are all noted.
            expired_before: what began before is not expected to be there; None: all is.
        """
        bound = rows.timestamp(expired_before) if expired_before else ""
        with self._transaction():
            query, start, end = self._db.execute(
                "SELECT query, starts_at, ends_at FROM windows WHERE id = ?", (number,)
            ).fetchone()
            lacking = (
                "FROM listed l WHERE l.query = ? AND l.started_at >= ? AND l.started_at < ?"
                " AND NOT EXISTS (SELECT 1 FROM found f"
                " WHERE f.window = ? AND f.conversation = l.conversation)"
            )
            values = (query, start, end, number)
            counts = self._db.execute(
                "SELECT count(DISTINCT l.conversation) FILTER (WHERE l.started_at >= ?),"
                f" count(DISTINCT l.conversation) FILTER (WHERE l.started_at < ?) {lacking}",
                (bound, bound, *values),
            ).fetchone()
            named = self._db.execute(
                "SELECT conversation_id FROM conversations WHERE id IN"  # noqa: S608 (constants)
                f" (SELECT l.conversation {lacking} AND l.started_at >= ?) LIMIT {_NAMED}",
                (*values, bound),
            ).fetchall()
            self._db.execute(
                "UPDATE windows SET missing = ?, expired = ? WHERE id = ?", (*counts, number)
            )
            self._db.execute(
                "INSERT OR IGNORE INTO listed (query, started_at, conversation)"
                " SELECT ?, c.started_at, c.id FROM found f"
                " JOIN conversations c ON c.id = f.conversation"
                " WHERE f.window = ? AND c.started_at IS NOT NULL",
                (query, number),
            )
        missing, expired = counts
        return Shrinkage(missing, expired, tuple(name for (name,) in named))

    def finds(self) -> list[Finds]:
        """The windows of the run, and how what they hold ended."""
        windows = self._db.execute(
            "SELECT id, window, told, missing, expired FROM windows WHERE run = ? ORDER BY id",
            (self._run,),
        ).fetchall()
        return [
            Finds(
                window,
                told,
                self._conversations_of(number),
                self._recordings_of(number),
                None if missing is None else Shrinkage(missing, expired, ()),
            )
            for number, window, told, missing, expired in windows
        ]

    def _conversations_of(self, number: int) -> dict[Status, int]:
        found = self._db.execute(
            "SELECT worst, count(*) FROM"  # noqa: S608 (constants)
            f" (SELECT max({_RANK}) AS worst FROM found f"
            "  JOIN outcomes o ON o.conversation = f.conversation"
            "  WHERE f.window = ? GROUP BY f.conversation) GROUP BY worst",
            (number,),
        )
        return {_WORST[worst]: count for worst, count in found}

    def _recordings_of(self, number: int) -> dict[Status, int]:
        found = self._db.execute(
            "SELECT coalesce(o.status, 'cancelled'), count(*) FROM found f"
            " JOIN outcomes o ON o.conversation = f.conversation WHERE f.window = ? GROUP BY 1",
            (number,),
        )
        return {Status(status): count for status, count in found}
