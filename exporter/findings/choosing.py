"""Which files are read back, and which of those that differ are looked at a second time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from exporter.differences import Check, Warned
from exporter.findings.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from exporter.model import Archived, Recording

PAGE: Final = 500


class Choosing(Records):
    """The part of the findings that compares records with files."""

    def choose(
        self, count: int | None, percent: float | None, since: datetime | None
    ) -> tuple[int, int]:
        """Compare records and files, and choose what is read back.

        Returns:
            How many files are chosen, and their bytes.
        """
        self._compare_names()
        self._warn_of_leftovers()
        where = "e.path NOT IN (SELECT path FROM differences)"
        values: list[object] = []
        if since is not None:
            where += " AND coalesce(e.fetched_at, f.modified) >= ?"
            values.append(since.isoformat())
        chosen = f"SELECT e.path FROM expected e JOIN files f ON f.path = e.path WHERE {where}"  # noqa: S608 (constants)
        if percent is not None:
            (total,) = self._db.execute(f"SELECT count(*) FROM ({chosen})", values).fetchone()  # noqa: S608 (constants)
            count = math.ceil(total * percent / 100)
        if count is not None:
            chosen += " ORDER BY random() LIMIT ?"
            values.append(count)
        self._db.execute(
            f"UPDATE expected SET chosen = 1 WHERE path IN ({chosen})",  # noqa: S608 (constants)
            values,
        )
        files, size = self._db.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM expected WHERE chosen"
        ).fetchone()
        return files, size

    def _compare_names(self) -> None:
        for select in (
            (
                "SELECT path, 'missing', 'it is recorded, but not there'"
                " FROM expected WHERE path NOT IN (SELECT path FROM files)"
            ),
            (
                "SELECT e.path, 'corrupt', 'its size is ' || f.bytes || ', recorded is ' || e.bytes"
                " FROM expected e JOIN files f ON f.path = e.path WHERE f.bytes <> e.bytes"
            ),
            (
                "SELECT path, 'unrecorded', 'it is named as a recording, but not on record'"
                " FROM files WHERE kind = 'other' AND is_recording(path)"
                " AND path NOT IN (SELECT path FROM expected)"
            ),
            (
                "SELECT path, 'unexpected', 'it does not belong into an archive'"
                " FROM files WHERE kind = 'other' AND NOT is_recording(path)"
                " AND path NOT IN (SELECT path FROM expected)"
            ),
        ):
            self._db.execute(f"INSERT OR REPLACE INTO differences {select}")

    def _warn_of_leftovers(self) -> None:
        for kind, message in (
            (Warned.TEMPORARY, "half written; the next run removes what dead runs left"),
            (Warned.SET_ASIDE, "a damaged file that was kept when it was replaced"),
        ):
            self._db.execute(
                "INSERT INTO warnings (kind, path, message)"
                " SELECT kind, path, ? FROM files WHERE kind = ? ORDER BY path",
                (message, kind),
            )

    def chosen_after(self, path: str, look: int) -> list[Check]:
        """The next files to be read back in this look."""
        return [
            Check(*row)
            for row in self._db.execute(
                "SELECT path, bytes, sha256 FROM expected WHERE chosen = ? AND path > ?"
                " ORDER BY path LIMIT ?",
                (look, path, PAGE),
            )
        ]

    # What is looked at again.

    def doubt(self) -> int:
        """Forget what is known of the files that differ, to learn it anew; returns how many."""
        self._db.execute(
            "INSERT INTO doubted (path, modified, kind)"
            " SELECT d.path, f.modified, coalesce(f.kind, 'other') FROM differences d"
            " LEFT JOIN files f ON f.path = d.path WHERE d.status <> 'unexpected'"
            " AND (f.path IS NOT NULL OR d.path IN (SELECT path FROM expected))"
        )
        for table in ("expected", "files", "differences"):
            self._db.execute(f"DELETE FROM {table} WHERE path IN (SELECT path FROM doubted)")  # noqa: S608 (constants)
        (count,) = self._db.execute("SELECT count(*) FROM doubted").fetchone()
        return int(count)

    def doubted_after(self, path: str) -> list[str]:
        """The next files that are looked at again."""
        found = self._db.execute(
            "SELECT path FROM doubted WHERE path > ? ORDER BY path LIMIT ?", (path, PAGE)
        )
        return [row[0] for row in found]

    def doubted_only(
        self, held: Iterable[tuple[Recording, Archived]]
    ) -> Iterator[tuple[Recording, Archived]]:
        """Those of the recorded files that are looked at again."""
        for one in held:
            if self._is_doubted((one[1].path,)):
                yield one

    def expect_doubted(self, page: Sequence[tuple[Recording, Archived]]) -> None:
        """The ledger records these, some of which are looked at again."""
        self.expect(list(self.doubted_only(page)))

    def found_again(self, sizes: Iterable[tuple[str, int | None]], now: datetime) -> None:
        """The sizes of these files, None where there is none."""
        with self._together():
            self._db.executemany(
                "INSERT INTO files SELECT path, ?, coalesce(modified, ?), kind FROM doubted"
                " WHERE path = ?",
                [(size, now.isoformat(), path) for path, size in sizes if size is not None],
            )

    def refetched(self, paths: Iterable[str]) -> None:
        """A run had yet to fetch these again before they were looked at."""
        with self._together():
            self._db.executemany(
                "UPDATE doubted SET refetched = 1 WHERE path = ?", [(path,) for path in paths]
            )

    def choose_again(self) -> None:
        """Compare once more, and choose to read back what is there after all."""
        self._compare_names()
        self._db.execute(
            "UPDATE expected SET chosen = 2 WHERE path IN (SELECT path FROM doubted)"
            " AND path IN (SELECT path FROM files) AND path NOT IN (SELECT path FROM differences)"
        )
