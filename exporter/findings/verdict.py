"""What comes of it: differences, warnings, numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.differences import Status, Tally, Warned
from exporter.findings.choosing import PAGE, Choosing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

DIRECTIONS_TOLERANCE_SECONDS: Final = 1.0
DIRECTIONS_TOLERANCE_SHARE: Final = 0.02
"""The directions of one call are as long as each other, but for so many seconds or such a share of
the longest, whichever is more: recorders begin and end each side on their own."""
REDACTION_TOLERANCE_SECONDS: Final = 0.02
"""Muting changes no length; one frame of telephony (20 ms) is put up with."""

_LATEST: Final = (
    "(SELECT account_id, project_id, conversation_id, direction, redaction, duration, path,"
    " max(version) FROM expected WHERE direction <> ''"
    " GROUP BY account_id, project_id, conversation_id, direction, redaction)"
)


class Findings(Choosing):
    """All of them, for one thread; everything in batches."""

    def compared_by_checksum(self, path: str) -> None:
        """It is not read back: the storage keeps a checksum of it."""
        self._db.execute("UPDATE expected SET by_checksum = 1 WHERE path = ?", (path,))

    def add(self, status: Status, path: str, reason: str) -> None:
        """A difference."""
        self._db.execute(
            "INSERT OR REPLACE INTO differences VALUES (?, ?, ?)", (path, status, reason)
        )

    def conclude(self, *, with_ledger: bool) -> None:
        """Cross-check what belongs together; only warnings come of it."""
        self._warn(
            Warned.CONTRADICTION,
            "SELECT path, 'the manifest of its partition records other content than the ledger'"
            " FROM expected WHERE in_manifest = 2 ORDER BY path",
        )
        if with_ledger:
            self._warn(
                Warned.STALE_MANIFEST,
                "SELECT min(path), count(*) || ' recordings beginning with this one are not in the'"
                " || ' manifest of their partition yet: the next run writes them into it'"
                " FROM expected WHERE in_manifest = 0 AND path IN (SELECT path FROM files)"
                " HAVING count(*) > 0",
            )
        self._warn(
            Warned.DIRECTIONS,
            "SELECT min(path), 'the directions of this call last from ' || round(min(duration), 2)"  # noqa: S608 (constants)
            f" || ' to ' || round(max(duration), 2) || ' seconds' FROM {_LATEST}"
            " GROUP BY account_id, project_id, conversation_id, redaction"
            " HAVING max(duration) - min(duration) > max(?, ? * max(duration)) ORDER BY 1",
            DIRECTIONS_TOLERANCE_SECONDS,
            DIRECTIONS_TOLERANCE_SHARE,
        )
        self._warn(
            Warned.REDACTION,
            "SELECT min(path), 'redacted and raw last ' || round(min(duration), 2) || ' and '"  # noqa: S608 (constants)
            f" || round(max(duration), 2) || ' seconds' FROM {_LATEST}"
            " GROUP BY account_id, project_id, conversation_id, direction"
            " HAVING max(duration) - min(duration) > ? ORDER BY 1",
            REDACTION_TOLERANCE_SECONDS,
        )

    def _warn(self, kind: Warned, select: str, *values: object) -> None:
        self._db.execute(
            f"INSERT INTO warnings (kind, path, message) SELECT ?, * FROM ({select})",  # noqa: S608 (constants)
            (kind, *values),
        )

    def under_way_after(self, path: str, since: datetime) -> list[str]:
        """The next files that a run which began then has written or set aside, but not recorded."""
        found = self._db.execute(
            "SELECT d.path FROM differences d LEFT JOIN files f ON f.path = d.path"
            " LEFT JOIN doubted q ON q.path = d.path WHERE d.path > ? AND"
            " (d.status = 'unrecorded' AND f.modified >= ?"
            "  OR d.status IN ('missing', 'corrupt') AND q.refetched)"
            " ORDER BY d.path LIMIT ?",
            (path, since.isoformat(), PAGE),
        )
        return [row[0] for row in found]

    def forgive(self, path: str) -> None:
        """It is no difference: a run that goes on works on it and will record it."""
        self._db.execute("DELETE FROM differences WHERE path = ?", (path,))
        self._db.execute(
            "INSERT INTO warnings (kind, path, message) VALUES (?, ?, ?)",
            (Warned.UNDER_WAY, path, "a run that goes on is working on it, and records it later"),
        )

    def tally(self) -> Tally:
        """The findings in numbers."""
        counts = dict(
            self._db.execute("SELECT status, count(*) FROM differences GROUP BY status").fetchall()
        )
        recorded, chosen, by_checksum, size = self._db.execute(
            "SELECT count(*), coalesce(sum(chosen > 0), 0), coalesce(sum(by_checksum), 0),"
            " coalesce(sum(bytes * (chosen > 0 AND NOT by_checksum)), 0) FROM expected"
        ).fetchone()
        (bad,) = self._db.execute(
            "SELECT count(*) FROM expected WHERE chosen AND path IN (SELECT path FROM differences)"
        ).fetchone()
        (known_bad,) = self._db.execute(
            "SELECT count(*) FROM expected WHERE NOT chosen"
            " AND path IN (SELECT path FROM differences)"
        ).fetchone()
        (warnings,) = self._db.execute("SELECT count(*) FROM warnings").fetchone()
        return Tally(
            recorded=recorded,
            ok=chosen - bad,
            by_checksum=by_checksum,
            **{str(each): counts.get(each, 0) for each in Status if each is not Status.OK},
            not_read=recorded - chosen - known_bad,
            bytes_read=size,
            warnings=warnings,
        )

    def differences(self) -> Iterator[tuple[str, str, str]]:
        """Path, status, reason of each, in order of paths."""
        yield from self._db.execute("SELECT path, status, reason FROM differences ORDER BY path")

    def warnings(self) -> Iterator[tuple[str | None, str, str]]:
        """Path, kind, message of each."""
        yield from self._db.execute("SELECT path, kind, message FROM warnings ORDER BY id")
