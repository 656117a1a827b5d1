"""What the archive holds beside recordings: descriptions of conversations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

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
_COLUMNS: Final = "m.path, m.bytes, m.sha256, m.pii, m.is_final, m.fetched_at"
_NAMES: Final = "p.account_id, p.project_id, c.conversation_id, c.started_at"
_JOINS: Final = "JOIN conversations c ON c.id = m.conversation JOIN projects p ON p.id = c.project"


@dataclass(frozen=True, slots=True)
class ToDescribe:
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


class Documents(MissingRecordings):
    """The part of the ledger that knows descriptions."""

    def to_describe(self, after: int, limit: int) -> list[ToDescribe]:
        """The run's next conversations of which recordings are archived.

        Args:
            after: the number that the last page ended with; 0 at first.
            limit: of the page.
        """
        found = self._db.execute(
            f"SELECT o.conversation, {_NAMES}, (SELECT r.path FROM recordings r"  # noqa: S608 (constants)
            " WHERE r.conversation = o.conversation ORDER BY r.variant LIMIT 1) AS beside,"
            f" {_COLUMNS} FROM (SELECT DISTINCT conversation FROM outcomes WHERE conversation > ?"
            " AND status IN ('exported', 'skipped') ORDER BY conversation LIMIT ?) o"
            " JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
            " LEFT JOIN metadata m ON m.conversation = o.conversation ORDER BY o.conversation",
            (after, limit),
        )
        return [
            ToDescribe(row[0], _conversation(row[1:5]), row[5].rpartition("/")[0], _kept(row[6:]))
            for row in found
        ]

    def count_to_describe(self) -> int:
        """How many conversations of the run have archived recordings."""
        (count,) = self._db.execute(
            "SELECT count(DISTINCT conversation) FROM outcomes"
            " WHERE status IN ('exported', 'skipped')"
        ).fetchone()
        return int(count)

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
            "SELECT DISTINCT (SELECT r.path FROM recordings r WHERE r.conversation = o.conversation"
            " ORDER BY r.variant LIMIT 1) FROM outcomes o WHERE o.status IN ('exported', 'skipped')"
            " AND NOT EXISTS (SELECT 1 FROM metadata m WHERE m.conversation = o.conversation"
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
