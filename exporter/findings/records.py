"""What is on record, and what is there: the tables that `verify` fills before it compares."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING, Final

from exporter.layout import METADATA
from exporter.model import Conversation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.model import Archived, KeptMetadata, Recording

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


class Records:
    """The part of the findings that knows what is expected and what was found."""

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

    def expect(self, page: Sequence[tuple[Recording, Archived]]) -> None:
        """The ledger records these."""
        self._insert_expected("INSERT OR REPLACE", [_row(*held, 0) for held in page])

    def expect_also(self, held: Iterable[tuple[Recording, Archived]]) -> None:
        """A partition's manifest records these; where the ledger says otherwise, it is believed."""
        self._also(_row(*one, 1) for one in held)

    def _also(self, told: Iterable[tuple[object, ...]]) -> None:
        self._insert_expected("INSERT", told, _ALSO)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """All or nothing: a broken manifest leaves nothing. One by one rows take twice as long."""
        with self._db:
            self._db.execute("BEGIN")
            yield

    def _insert_expected(
        self, verb: str, entries: Iterable[tuple[object, ...]], conflict: str = ""
    ) -> None:
        with self._together():
            self._db.executemany(
                f"{verb} INTO expected (path, bytes, sha256, account_id, project_id,"
                " conversation_id, direction, redaction, version, duration, fetched_at,"
                f" in_manifest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {conflict}",
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
        with self._together():
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)


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
