"""What the manifests of the partitions tell, and what they are to tell. Everything in batches."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from exporter.ledger import rows
from exporter.ledger.knowledge import Knowledge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.ledger.rows import Partition
    from exporter.model import Archived, Recording

_PAGE = 1000
_OF_PARTITION = (
    "JOIN conversations c ON c.id = r.conversation JOIN projects p ON p.id = c.project"
    " WHERE r.partition = (SELECT id FROM partitions WHERE folder = :folder)"
)


class Manifests(Knowledge):
    """What lies in which partition, as the archive itself tells it."""

    # Learning from a manifest.

    def partition_tags(self, folders: Sequence[str]) -> dict[str, str | None]:
        """For each partition that is known, the tag of its manifest as last read or written."""
        found = self._db.execute(
            "SELECT folder, tag FROM partitions WHERE folder IN (SELECT value FROM json_each(?))",
            (json.dumps(folders),),
        )
        return dict(found.fetchall())

    def learn(
        self, partition: Partition, tag: str | None, held: Iterable[tuple[Recording, Archived]]
    ) -> list[tuple[Recording, Archived]]:
        """Enter what a partition's manifest says; what is known already stays as it is.

        A version that is known by another path is kept as what also lies there: the manifest goes
        on to tell it, and `verify` to look for it, and nothing else speaks of it.

        Returns:
            Rows that contradict this ledger: same file, other content.
        """
        contradictions = []
        told = 0
        with self._transaction():
            number = self._partition(partition)
            remaining = iter(held)
            while batch := list(islice(remaining, _PAGE)):
                told += len(batch)
                contradictions += self._learn(number, batch)
            # What this ledger knows and the manifest does not tell is to be written into it.
            self._db.execute(
                "UPDATE partitions SET tag = ?, changes = changes +"
                " ((SELECT count(*) FROM recordings WHERE partition = partitions.id)"
                "  + (SELECT count(*) FROM also_held WHERE partition = partitions.id) <> ?)"
                " WHERE id = ?",
                (tag, told, number),
            )
        return contradictions

    def _learn(
        self, partition: int, batch: Sequence[tuple[Recording, Archived]]
    ) -> list[tuple[Recording, Archived]]:
        recordings = [recording for recording, _ in batch]
        keys = [self._key(recording) for recording in recordings]
        known = self._conversations(keys, recordings)
        contradictions = []
        told = []
        for key, (recording, archived) in zip(keys, batch, strict=True):
            place = (known[key].number, rows.variant_name(recording), archived.version)
            row = self._db.execute(
                "SELECT sha256, path FROM recordings"
                " WHERE conversation = ? AND variant = ? AND version = ?",
                place,
            ).fetchone()
            if row is None:
                self._insert(*place, partition, archived)
            elif row[1] != archived.path:
                if not self._hold_also(*place, partition, archived):
                    contradictions.append((recording, archived))
                continue
            elif row[0].hex() != archived.sha256:
                contradictions.append((recording, archived))
            told.append((known[key].number, recording, archived))
        self._learn_proofs(told)
        return contradictions

    def _hold_also(
        self, conversation: int, variant: str, version: int, partition: int, archived: Archived
    ) -> bool:
        """Enter a file of a version that is known by another path; False if it contradicts."""
        row = self._db.execute(
            "SELECT sha256 FROM also_held WHERE path = ?", (archived.path,)
        ).fetchone()
        if row is not None and row[0].hex() != archived.sha256:
            return False
        path, *columns = rows.from_archived(archived)
        proof = archived.proof
        self._db.execute(
            "INSERT OR REPLACE INTO also_held"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                path,
                partition,
                conversation,
                variant,
                version,
                *columns,
                proof.evidence if proof else None,
                json.dumps(proof.muted_spans) if proof else None,
            ),
        )
        return True

    def also_held(self, conversations: Sequence[int]) -> list[Archived]:
        """What other partitions hold of these conversations besides what is known as theirs."""
        found = self._db.execute(
            f"SELECT {rows.ARCHIVED_COLUMNS} FROM also_held r"  # noqa: S608 (a constant)
            " WHERE conversation IN (SELECT value FROM json_each(?)) ORDER BY path",
            (json.dumps(sorted(set(conversations))),),
        )
        return [rows.to_archived(row) for row in found]

    def let_go(self, paths: Sequence[str]) -> None:
        """Other partitions hold these no more: their manifests are to be written without them."""
        given = (json.dumps(paths),)
        these = "path IN (SELECT value FROM json_each(?))"
        with self._transaction():
            self._db.execute(
                "UPDATE partitions SET changes = changes + 1"  # noqa: S608 (a constant)
                f" WHERE id IN (SELECT partition FROM also_held WHERE {these})",
                given,
            )
            self._db.execute(f"DELETE FROM also_held WHERE {these}", given)  # noqa: S608 (a constant)

    # Writing one.

    def changed_partitions(self) -> list[Partition]:
        """Those whose manifest does not tell everything yet."""
        found = self._db.execute(
            "SELECT p.account_id, p.project_id, t.date, t.folder FROM partitions t"
            " JOIN projects p ON p.id = t.project WHERE t.changes > t.written ORDER BY t.folder"
        )
        return [rows.Partition(*row) for row in found]

    def partition_changes(self, folder: str) -> int:
        """How often a recording was entered into it."""
        (changes,) = self._db.execute(
            "SELECT changes FROM partitions WHERE folder = ?", (folder,)
        ).fetchone()
        return int(changes)

    def partition_lost_manifest(self, folder: str) -> None:
        """The partition's manifest, written before, is not there any more."""
        self._db.execute(
            "UPDATE partitions SET changes = max(changes, written + 1), tag = NULL"
            " WHERE folder = ? AND"
            " (EXISTS (SELECT 1 FROM recordings WHERE partition = partitions.id)"
            " OR EXISTS (SELECT 1 FROM also_held WHERE partition = partitions.id))",
            (folder,),
        )

    def partition_written(self, folder: str, changes: int, tag: str) -> None:
        """The partition's manifest tells everything up to that count of changes."""
        self._db.execute(
            "UPDATE partitions SET written = ?, tag = ? WHERE folder = ?", (changes, tag, folder)
        )

    def partition_rows(self, folder: str) -> Iterator[list[tuple[Recording, Archived]]]:
        """Pages of what a partition holds, in an order that depends on nothing else.

        What is recorded meanwhile is in none of the pages.
        """
        here = {"folder": folder}
        wanted = (
            f"SELECT 0, r.conversation, {rows.HELD_COLUMNS}, NULL, NULL"  # noqa: S608 (constants)
            f" FROM recordings r {_OF_PARTITION}"
        )
        also = f"FROM also_held r {_OF_PARTITION}"
        # Few partitions have such; and to sort rows of two tables takes half as long again.
        if self._db.execute(f"SELECT 1 {also}", here).fetchone():
            evidence = "r.evidence, r.muted_spans"
            also = f"SELECT 1, r.conversation, {rows.HELD_COLUMNS}, {evidence} {also}"
            wanted = f"SELECT * FROM ({wanted} UNION ALL {also})"  # noqa: S608 (constants)
        found = self._db.execute(
            f"{wanted} ORDER BY conversation_id COLLATE BINARY, variant, version, path", here
        )
        while page := found.fetchmany(_PAGE):
            held = [(row[1], *rows.split_also_held(row[2:])) for row in page]
            proven = self._with_proofs(held)
            yield [
                (each[1], each[2] if row[0] else archived)
                for row, each, archived in zip(page, held, proven, strict=True)
            ]
