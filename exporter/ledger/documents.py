"""What the archive holds beside recordings: descriptions of conversations."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from exporter.ledger import rows
from exporter.ledger.missing import MissingRecordings
from exporter.model import (
    Conversation,
    Direction,
    KeptMetadata,
    MetadataPii,
    Recording,
    Redaction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.ledger.rows import Partition

_PAGE: Final = 1000
_ENOUGH: Final = 7
"""So many runs ask for a description that fails: one that always does is no failure for ever."""
_WAITING: Final = f"(NOT u.is_missing AND u.runs < {_ENOUGH})"
_COLUMNS: Final = "m.path, m.bytes, m.sha256, m.pii, m.is_final, m.fetched_at"
_NAMES: Final = "p.account_id, p.project_id, c.conversation_id, c.started_at"
_JOINS: Final = "JOIN conversations c ON c.id = m.conversation JOIN projects p ON p.id = c.project"


class ToDescribe(Struct, frozen=True):
    """A conversation of the run with archived recordings.

    Attributes:
        number: the ledger's own for it.
        folder: that its recordings lie in, relative to the archive.
        held: its description, None where there is none.
    """

    number: int
    conversation: Conversation
    folder: str
    held: KeptMetadata | None


class Undescribed(Struct, frozen=True):
    """A description that was asked for in vain.

    Attributes:
        number: the ledger's own for the conversation.
        is_missing: the API has none.
        error: kind and message.
    """

    number: int
    is_missing: bool
    error: tuple[str, str]


class Documents(MissingRecordings):
    """The part of the ledger that knows descriptions."""

    def begin_describing(self, projects: Iterable[tuple[str, str]], origin: str) -> int:
        """Find what is to be described: of the run, and what earlier runs left.

        Args:
            projects: (account, project) of which what earlier runs left is asked for.
            origin: the API's address: only what was last to be asked for there.

        Returns:
            How many conversations `to_describe` tells.
        """
        with self._transaction():
            self._db.execute(
                "CREATE TEMP TABLE IF NOT EXISTS to_describe (conversation INTEGER PRIMARY KEY)"
            )
            self._db.execute("DELETE FROM to_describe")
            self._db.execute(
                "INSERT INTO to_describe SELECT DISTINCT conversation FROM outcomes"
                " WHERE status IN ('exported', 'skipped')"
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO to_describe SELECT u.conversation FROM undescribed u"  # noqa: S608 (constants)
                " JOIN runs l ON l.id = u.run JOIN conversations c ON c.id = u.conversation"
                f" JOIN projects p ON p.id = c.project WHERE {_WAITING} AND l.origin = ?"
                " AND p.account_id = ? AND p.project_id = ?"
                " AND EXISTS (SELECT 1 FROM recordings r WHERE r.conversation = u.conversation)",
                [(origin, *project) for project in projects],
            )
            (count,) = self._db.execute("SELECT count(*) FROM to_describe").fetchone()
            return int(count)

    def to_describe(self, after: int, limit: int) -> list[ToDescribe]:
        """The next conversations that `begin_describing` found.

        Args:
            after: the number that the last page ended with; 0 at first.
            limit: of the page.
        """
        found = self._db.execute(
            f"SELECT o.conversation, {_NAMES}, (SELECT r.path FROM recordings r"  # noqa: S608 (constants)
            " WHERE r.conversation = o.conversation ORDER BY r.variant LIMIT 1) AS beside,"
            f" {_COLUMNS} FROM (SELECT conversation FROM to_describe WHERE conversation > ?"
            " ORDER BY conversation LIMIT ?) o"
            " JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
            " LEFT JOIN metadata m ON m.conversation = o.conversation ORDER BY o.conversation",
            (after, limit),
        )
        return [
            ToDescribe(row[0], _conversation(row[1:5]), row[5].rpartition("/")[0], _kept(row[6:]))
            for row in found
        ]

    def note_undescribed(self, failed: Sequence[Undescribed], now: datetime) -> None:
        """Remember descriptions that were asked for in vain."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO undescribed VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (conversation)"
                " DO UPDATE SET is_missing = excluded.is_missing, runs = runs + 1,"
                " run = excluded.run,"
                " error_kind = excluded.error_kind, error_message = excluded.error_message",
                [
                    (one.number, one.is_missing, rows.timestamp(now), self._run, *one.error)
                    for one in failed
                ],
            )

    def _note_not_described(self, now: str) -> None:
        """Remember what the run was to describe and did not; in the transaction that is open."""
        if not self._was_to_describe():
            return
        self._db.execute(
            "INSERT OR IGNORE INTO undescribed SELECT DISTINCT o.conversation, 0, ?, 0, ?, NULL,"
            " NULL"
            " FROM outcomes o WHERE o.status IN ('exported', 'skipped') AND NOT EXISTS"
            " (SELECT 1 FROM metadata m WHERE m.conversation = o.conversation)",
            (now, self._run),
        )
        self._db.execute(  # a manifest may have told of them meanwhile
            "DELETE FROM undescribed WHERE error_kind IS NULL AND EXISTS"
            " (SELECT 1 FROM metadata m WHERE m.conversation = undescribed.conversation)"
        )

    def _was_to_describe(self) -> bool:
        """Whether the run was asked for descriptions, as far as what it noted can be read."""
        (info,) = self._db.execute("SELECT info FROM runs WHERE id = ?", (self._run,)).fetchone()
        try:
            return bool(json.loads(info)["config"]["export"]["metadata"])
        except (LookupError, TypeError, ValueError):
            return False

    def undescribed_projects(self, origin: str) -> list[tuple[str, str]]:
        """(account, project) of descriptions that earlier runs left, at an address of the API."""
        return self._db.execute(
            "SELECT DISTINCT p.account_id, p.project_id FROM undescribed u"  # noqa: S608 (constants)
            " JOIN conversations c ON c.id = u.conversation JOIN projects p ON p.id = c.project"
            f" JOIN runs l ON l.id = u.run WHERE {_WAITING} AND l.origin = ? ORDER BY p.id",
            (origin,),
        ).fetchall()

    def undescribed(self) -> tuple[int, int, int, datetime | None]:
        """How many descriptions wait for the next run, failed too often, do not exist; since."""
        waiting, missing, total, since = self._db.execute(
            f"SELECT count(*) FILTER (WHERE {_WAITING}), count(*) FILTER (WHERE u.is_missing),"  # noqa: S608 (constants)
            " count(*), min(u.since) FROM undescribed u"
        ).fetchone()
        failed = total - waiting - missing
        return waiting, failed, missing, datetime.fromisoformat(since) if since else None

    def record_metadata(self, described: Sequence[tuple[ToDescribe, KeptMetadata]]) -> None:
        """Enter descriptions whose files are in the archive."""
        with self._transaction():
            for one, kept in described:
                (partition,) = self._db.execute(
                    "SELECT partition FROM recordings WHERE conversation = ?"
                    " ORDER BY variant LIMIT 1",
                    (one.number,),
                ).fetchone()
                self._insert_metadata(one.number, partition, kept)
                self._db.execute("DELETE FROM undescribed WHERE conversation = ?", (one.number,))
                self._db.execute(
                    "UPDATE partitions SET changes = changes + 1 WHERE id = ?", (partition,)
                )

    def _insert_metadata(
        self, conversation: int, partition: int, kept: KeptMetadata, *, verb: str = "REPLACE"
    ) -> None:
        self._db.execute(
            f"INSERT OR {verb} INTO metadata VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
            (
                conversation,
                partition,
                kept.path,
                kept.size,
                bytes.fromhex(kept.sha256),
                kept.pii,
                kept.is_final,
                rows.timestamp(kept.fetched_at) if kept.fetched_at else None,
            ),
        )

    def partition_metadata(self, folder: str) -> Iterator[list[tuple[str, KeptMetadata]]]:
        """Pages of (conversation id, its description), in an order that depends on nothing else."""
        found = self._db.execute(
            f"SELECT c.conversation_id, {_COLUMNS} FROM metadata m {_JOINS}"  # noqa: S608 (constants)
            " WHERE m.partition = (SELECT id FROM partitions WHERE folder = ?)"
            " ORDER BY c.conversation_id COLLATE BINARY, m.path",
            (folder,),
        )
        while page := found.fetchmany(_PAGE):
            yield [(row[0], _to_kept(row[1:])) for row in page]

    def learn_metadata(
        self, partition: Partition, held: Iterable[tuple[str, KeptMetadata]]
    ) -> None:
        """Enter what a partition's manifest says; what is known already stays as it is."""
        told = 0
        with self._transaction():
            number = self._partition(partition)
            remaining = iter(held)
            while batch := list(islice(remaining, _PAGE)):
                told += len(batch)
                known = self._conversations_called(
                    partition, [conversation_id for conversation_id, _ in batch]
                )
                for conversation, (_, kept) in zip(known, batch, strict=True):
                    self._insert_metadata(conversation, number, kept, verb="IGNORE")
            # What this ledger knows and the manifest does not tell is to be written into it.
            self._db.execute(
                "UPDATE partitions SET changes = changes + ((SELECT count(*) FROM metadata"
                " WHERE partition = partitions.id) <> ?) WHERE id = ?",
                (told, number),
            )

    def _conversations_called(self, partition: Partition, names: Sequence[str]) -> list[int]:
        """Their numbers; those not seen before are entered."""
        recordings = [
            Recording(
                partition.account_id,
                partition.project_id,
                name,
                Direction.COMBINED,
                Redaction.REDACTED,
            )
            for name in names
        ]
        keys = [self._key(one) for one in recordings]
        known = self._conversations(keys, recordings)
        return [known[key].number for key in keys]

    def every_metadata(self) -> Iterator[list[tuple[Conversation, KeptMetadata]]]:
        """Pages of all descriptions that the archive holds, in no particular order."""
        found = self._db.execute(f"SELECT {_NAMES}, {_COLUMNS} FROM metadata m {_JOINS}")  # noqa: S608 (constants)
        while page := found.fetchmany(_PAGE):
            yield [(_conversation(row[:4]), _to_kept(row[4:])) for row in page]

    def perhaps_being_described(self, limit: int) -> list[str]:
        """Folders of conversations that the run may have been describing when it was killed."""
        found = self._db.execute(
            "SELECT DISTINCT (SELECT r.path FROM recordings r"  # noqa: S608 (constants)
            " WHERE r.conversation = o.conversation"
            " ORDER BY r.variant LIMIT 1) FROM (SELECT conversation FROM outcomes"
            "  WHERE status IN ('exported', 'skipped')"
            f"  UNION SELECT u.conversation FROM undescribed u WHERE {_WAITING}) o"
            " WHERE NOT EXISTS (SELECT 1 FROM metadata m WHERE m.conversation = o.conversation"
            "  AND m.is_final) ORDER BY o.conversation LIMIT ?",
            (limit,),
        )
        return [path.rpartition("/")[0] for (path,) in found if path]


def _conversation(row: Sequence[Any]) -> Conversation:
    account_id, project_id, conversation_id, started_at = row
    return Conversation(
        account_id,
        project_id,
        conversation_id,
        datetime.fromisoformat(started_at) if started_at else None,
    )


def _kept(row: Sequence[Any]) -> KeptMetadata | None:
    return None if row[0] is None else _to_kept(row)


def _to_kept(row: Sequence[Any]) -> KeptMetadata:
    path, size, sha256, pii, is_final, fetched_at = row
    return KeptMetadata(
        path,
        size,
        sha256.hex(),
        MetadataPii(pii),
        bool(is_final),
        datetime.fromisoformat(fetched_at) if fetched_at else None,
    )
