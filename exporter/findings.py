"""What `verify` finds: records and files side by side in a temporary database.

So an archive of any size takes the same memory, and comparing the two is one query.
"""

from __future__ import annotations

import math
import re
import sqlite3
from typing import TYPE_CHECKING, Final

from exporter.differences import Check, Status, Tally, Warned
from exporter.layout import METADATA
from exporter.model import Conversation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from exporter.model import Archived, KeptMetadata, Recording

DIRECTIONS_TOLERANCE_SECONDS: Final = 1.0
DIRECTIONS_TOLERANCE_SHARE: Final = 0.02
"""The directions of one call are as long as each other, but for so many seconds or such a share of
the longest, whichever is more: recorders begin and end each side on their own."""
REDACTION_TOLERANCE_SECONDS: Final = 0.02
"""Muting changes no length; one frame of telephony (20 ms) is put up with."""

_PAGE: Final = 500
_RECORDING_NAME: Final = re.compile(
    rf"(?:combined|user|agent)\.(?:redacted|raw)(?:\.v\d+)?\.wav|{re.escape(METADATA)}"
)

_TABLES: Final = """
CREATE TABLE expected (
    path TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    account_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    redaction TEXT NOT NULL,
    version INTEGER NOT NULL,
    duration REAL NOT NULL,
    fetched_at TEXT,
    in_manifest INTEGER NOT NULL,
    chosen INTEGER NOT NULL DEFAULT 0,
    by_checksum INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified TEXT NOT NULL, kind TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE doubted (
    path TEXT PRIMARY KEY, modified TEXT, kind TEXT NOT NULL, refetched INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE differences (path TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE warnings (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, path TEXT, message TEXT NOT NULL)
"""
_ALSO: Final = (
    "ON CONFLICT (path) DO UPDATE SET in_manifest ="
    " CASE WHEN sha256 = excluded.sha256 THEN 1 ELSE 2 END"
)
_LATEST: Final = (
    "(SELECT account_id, project_id, conversation_id, direction, redaction, duration, path,"
    " max(version) FROM expected WHERE direction <> ''"
    " GROUP BY account_id, project_id, conversation_id, direction, redaction)"
)


class Findings:
    """For one thread; everything in batches."""

    def __init__(self) -> None:
        # No name: a temporary file that goes with its last use.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -16000")
        self._db.create_function("is_recording", 1, _is_recording, deterministic=True)
        for statement in _TABLES.split(";"):
            self._db.execute(statement)

    def close(self) -> None:
        """Give the disk space back."""
        self._db.close()

    # What is recorded, and what is there.

    def expect(self, page: Sequence[tuple[Recording, Archived]]) -> None:
        """The ledger records these."""
        self._insert_expected("INSERT OR REPLACE", [_row(*held, 0) for held in page])

    def expect_also(self, held: Iterable[tuple[Recording, Archived]]) -> None:
        """A partition's manifest records these; where the ledger says otherwise, it is believed."""
        self._also(_row(*one, 1) for one in held)

    def _also(self, told: Iterable[tuple[object, ...]]) -> None:
        with self._db:  # a broken manifest leaves nothing
            self._db.execute("BEGIN")
            self._insert_expected("INSERT", told, _ALSO)

    def _insert_expected(
        self, verb: str, entries: Iterable[tuple[object, ...]], conflict: str = ""
    ) -> None:
        self._db.executemany(
            f"{verb} INTO expected (path, bytes, sha256, account_id, project_id, conversation_id,"
            " direction, redaction, version, duration, fetched_at, in_manifest)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {conflict}",
            entries,
        )

    def expect_metadata(
        self, page: Sequence[tuple[Conversation, KeptMetadata]], *, doubted_only: bool = False
    ) -> None:
        """The ledger records these descriptions."""
        told = (_metadata_row(*one, 0) for one in page)
        self._insert_expected(
            "INSERT OR REPLACE", [one for one in told if not doubted_only or self._is_doubted(one)]
        )

    def expect_metadata_also(
        self,
        account_id: str,
        project_id: str,
        described: Iterable[tuple[str, KeptMetadata]],
        *,
        doubted_only: bool = False,
    ) -> None:
        """A partition's manifest records these descriptions."""
        told = (
            _metadata_row(Conversation(account_id, project_id, name), kept, 1)
            for name, kept in described
        )
        self._also(one for one in told if not doubted_only or self._is_doubted(one))

    def _is_doubted(self, told: tuple[object, ...]) -> bool:
        return bool(self._db.execute("SELECT 1 FROM doubted WHERE path = ?", told[:1]).fetchone())

    def found(self, files: Sequence[tuple[str, int, str, str]]) -> None:
        """These files are there: path, bytes, time of the last change, kind."""
        self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)

    # What is read back.

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
                (look, path, _PAGE),
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
            "SELECT path FROM doubted WHERE path > ? ORDER BY path LIMIT ?", (path, _PAGE)
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
        self._db.executemany(
            "INSERT INTO files SELECT path, ?, coalesce(modified, ?), kind FROM doubted"
            " WHERE path = ?",
            [(size, now.isoformat(), path) for path, size in sizes if size is not None],
        )

    def refetched(self, paths: Iterable[str]) -> None:
        """A run had yet to fetch these again before they were looked at."""
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

    # What comes of it.

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
            (path, since.isoformat(), _PAGE),
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


def _row(recording: Recording, archived: Archived, in_manifest: int) -> tuple[object, ...]:
    return (
        archived.path,
        archived.size,
        archived.sha256,
        recording.account_id,
        recording.project_id,
        recording.conversation_id,
        recording.direction,
        recording.redaction,
        archived.version,
        archived.audio.duration_seconds,
        archived.fetched_at.isoformat() if archived.fetched_at else None,
        in_manifest,
    )


def _metadata_row(
    conversation: Conversation, kept: KeptMetadata, in_manifest: int
) -> tuple[object, ...]:
    return (
        kept.path,
        kept.size,
        kept.sha256,
        conversation.account_id,
        conversation.project_id,
        conversation.conversation_id,
        "",  # no direction and no redaction: it takes no part in comparing lengths
        "",
        1,
        0.0,
        kept.fetched_at.isoformat() if kept.fetched_at else None,
        in_manifest,
    )


def _is_recording(path: str) -> bool:
    return _RECORDING_NAME.fullmatch(path.rpartition("/")[2]) is not None
