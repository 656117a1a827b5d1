"""What the archive holds: conversations and recordings. Everything in batches."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from exporter.ledger import rows
from exporter.ledger.pairs import Pairs
from exporter.ledger.rows import Looked, Partition
from exporter.model import RAW_MOUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from exporter.model import Archived, Recording

_Key = tuple[int, int, str]  # project, its folded twin, conversation id
_PAGE = 1000


class _Known(Struct, gc=False):
    """A conversation: its number, whether it collides, when it started."""

    number: int
    collides: bool
    started_at: str | None


class Knowledge(Pairs):
    """The lasting part of the ledger."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """As `Database`."""
        # Both are as few as an archive has folders on their level.
        self._project_numbers: dict[tuple[str, str], tuple[int, int]] = {}
        self._partition_numbers: dict[str, int] = {}
        super().__init__(path, read_only=read_only)

    def _forget(self) -> None:
        self._project_numbers.clear()
        self._partition_numbers.clear()

    # Looking up.

    def look_up(self, recordings: Sequence[Recording]) -> list[Looked]:
        """What is known of each; conversations not seen before are entered."""
        with self._transaction():
            return self._look_up(recordings)

    def _look_up(self, recordings: Sequence[Recording]) -> list[Looked]:
        keys = [self._key(recording) for recording in recordings]
        known = self._conversations(keys, recordings)
        archived = self._archived(one.number for one in known.values())
        looked = []
        for key, asked in zip(keys, recordings, strict=True):
            one, recording = known[key], asked
            if asked.started_at is None and one.started_at is not None:
                recording = replace(asked, started_at=datetime.fromisoformat(one.started_at))
            held = archived.get((one.number, rows.variant_name(asked)))
            looked.append(Looked(recording, one.number, held, one.collides))
        return looked

    def _archived(self, conversations: Iterable[int]) -> dict[tuple[int, str], Archived]:
        """The latest version of every recording of these conversations."""
        found = self._db.execute(
            f"SELECT conversation, variant, {rows.ARCHIVED_COLUMNS} FROM recordings r"  # noqa: S608 (a constant)
            " WHERE conversation IN (SELECT value FROM json_each(?))"
            " ORDER BY conversation, variant, version",
            (json.dumps(list(conversations)),),
        )
        return {(row[0], row[1]): rows.to_archived(row[2:]) for row in found}

    def _key(self, recording: Recording) -> _Key:
        project, folded = self._project(recording.account_id, recording.project_id)
        return project, folded, recording.conversation_id

    def _conversations(
        self, keys: Sequence[_Key], recordings: Sequence[Recording]
    ) -> dict[_Key, _Known]:
        """The conversations of these recordings; those not seen before are entered."""
        starts: dict[_Key, str | None] = {}
        for key, recording in zip(keys, recordings, strict=True):
            start = rows.timestamp(recording.started_at) if recording.started_at else None
            starts[key] = start or starts.get(key)
        wanted = list(starts)
        known: dict[_Key, _Known] = {}
        taken: set[_Key] = set()
        for key, (_, number, project, name, collides, start) in self._same_name(wanted):
            if name == key[2] and project == key[0]:
                known[key] = _Known(number, bool(collides), start)
            elif not collides:
                taken.add(key)
        self._note_starts(known, starts)
        self._enter(wanted, known, starts, taken)
        return known

    def _same_name(self, wanted: Iterable[_Key]) -> Iterator[tuple[_Key, tuple[Any, ...]]]:
        """All conversations whose names differ from these by case only, or not at all.

        Names go in as JSON: to enter them into a temporary table takes half as long again.
        """
        alike: dict[int, list[_Key]] = {}
        for key in wanted:
            alike.setdefault(key[1], []).append(key)
        for folded, keys in alike.items():
            for row in self._db.execute(
                "SELECT w.key, c.id, c.project, c.conversation_id, c.collides, c.started_at"
                " FROM json_each(?) w CROSS JOIN conversations c"
                " ON c.folded_project = ? AND c.conversation_id = w.value",
                (json.dumps([name for _, _, name in keys]), folded),
            ):
                yield keys[row[0]], row

    def _note_starts(self, known: dict[_Key, _Known], starts: dict[_Key, str | None]) -> None:
        for key, one in known.items():
            start = starts[key]
            if start is not None and start != one.started_at:
                self._db.execute(
                    "UPDATE conversations SET started_at = ? WHERE id = ?", (start, one.number)
                )
                one.started_at = start

    def _enter(
        self,
        wanted: Sequence[_Key],
        known: dict[_Key, _Known],
        starts: dict[_Key, str | None],
        taken: set[_Key],
    ) -> None:
        new = [key for key in wanted if key not in known]
        if not new:
            return
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM conversations").fetchone()
        twins = set()  # names without case: two new ones may collide with each other
        for number, key in enumerate(new, start=last + 1):
            twin = key[1], key[2].lower()
            known[key] = _Known(number, key in taken or twin in twins, starts[key])
            twins.add(twin)
        self._db.executemany(
            "INSERT INTO conversations"
            " (id, project, folded_project, conversation_id, collides, started_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (one.number, *key, one.collides, one.started_at)
                for key in new
                for one in (known[key],)
            ],
        )

    def _project(self, account_id: str, project_id: str) -> tuple[int, int]:
        found = self._project_numbers.get((account_id, project_id))
        if found is None:
            found = self._project_in_database(account_id, project_id)
            self._project_numbers[account_id, project_id] = found
        return found

    def _project_in_database(self, account_id: str, project_id: str) -> tuple[int, int]:
        row = self._db.execute(
            "SELECT id, folded FROM projects WHERE account_id = ? AND project_id = ?",
            (account_id, project_id),
        ).fetchone()
        if row:
            return row[0], row[1]
        twin = self._folded(account_id, project_id)
        cursor = self._db.execute(
            "INSERT INTO projects (account_id, project_id, folded) VALUES (?, ?, 0)",
            (account_id, project_id),
        )
        number = cursor.lastrowid or 0
        folded = twin or number
        self._db.execute("UPDATE projects SET folded = ? WHERE id = ?", (folded, number))
        return number, folded

    def _folded(self, account_id: str, project_id: str) -> int | None:
        row = self._db.execute(
            "SELECT folded FROM projects WHERE lower(account_id) = ? AND lower(project_id) = ?",
            (account_id.lower(), project_id.lower()),
        ).fetchone()
        return row[0] if row else None

    def look_up_for(self, looked: Sequence[Looked]) -> list[Looked]:
        """The same with what this ledger knows, for a plan that is kept in another one."""
        keys = [self._known_key(one.recording) for one in looked]
        known: dict[_Key, _Known] = {}
        taken: set[_Key] = set()
        asked = dict.fromkeys(keys)
        for key, (_, number, project, name, collides, start) in self._same_name(asked):
            if name == key[2] and project == key[0]:
                known[key] = _Known(number, bool(collides), start)
            elif not collides:
                taken.add(key)
        archived = self._archived(one.number for one in known.values())
        completed = []
        for key, one in zip(keys, looked, strict=True):
            found = known.get(key)
            if found is None:
                completed.append(replace(one, collides=one.collides or key in taken))
                continue
            held = archived.get((found.number, rows.variant_name(one.recording)))
            completed.append(
                replace(
                    one,
                    archived=held or one.archived,
                    collides=one.collides or found.collides,
                )
            )
        return completed

    def _known_key(self, recording: Recording) -> _Key:
        """As `_key`, but nothing is entered; 0 stands for what is not known."""
        names = recording.account_id, recording.project_id
        found = self._project_numbers.get(names)
        if found is None:
            row = self._db.execute(
                "SELECT id FROM projects WHERE account_id = ? AND project_id = ?", names
            ).fetchone()
            found = (row[0] if row else 0), self._folded(*names) or 0
            self._project_numbers[names] = found
        return *found, recording.conversation_id

    def versions(self, recording: Recording) -> list[Archived]:
        """Everything that was ever archived of one recording, the oldest first."""
        found = self._db.execute(
            f"SELECT {rows.ARCHIVED_COLUMNS} FROM recordings r JOIN conversations c"  # noqa: S608 (a constant)
            " ON c.id = r.conversation JOIN projects p ON p.id = c.project"
            " WHERE p.account_id = ? AND p.project_id = ? AND c.folded_project = p.folded"
            " AND c.conversation_id = ? AND c.conversation_id = ? COLLATE BINARY"
            " AND r.variant = ? ORDER BY r.version",
            (
                recording.account_id,
                recording.project_id,
                recording.conversation_id,
                recording.conversation_id,
                rows.variant_name(recording),
            ),
        )
        return [rows.to_archived(row) for row in found]

    # Entering what is archived.

    def _insert(
        self, conversation: int, variant: str, version: int, partition: int, archived: Archived
    ) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (conversation, variant, version, partition, *rows.from_archived(archived)),
        )
        self._db.execute("DELETE FROM also_held WHERE path = ?", (archived.path,))

    def _partition(self, partition: Partition) -> int:
        number = self._partition_numbers.get(partition.folder)
        if number is None:
            project, _ = self._project(partition.account_id, partition.project_id)
            self._db.execute(
                "INSERT OR IGNORE INTO partitions (folder, project, date) VALUES (?, ?, ?)",
                (partition.folder, project, partition.date),
            )
            (number,) = self._db.execute(
                "SELECT id FROM partitions WHERE folder = ?", (partition.folder,)
            ).fetchone()
            self._partition_numbers[partition.folder] = number
        return int(number)

    # Everything.

    def everything(self) -> Iterator[list[tuple[Recording, Archived]]]:
        """Pages of all that the main archive holds, in no particular order."""
        for table in ("recordings", "also_held"):
            found = self._db.execute(
                f"SELECT {rows.HELD_COLUMNS} FROM {table} r"  # noqa: S608 (constants)
                " JOIN conversations c ON c.id = r.conversation JOIN projects p ON p.id = c.project"
                " WHERE substr(r.path, 1, ?) <> ?",
                (len(RAW_MOUNT), RAW_MOUNT),
            )
            while page := found.fetchmany(_PAGE):
                yield [rows.split_held(row) for row in page]

    def is_archived(self, path: str, folder: str) -> bool:
        """Whether a file is on record."""
        row = self._db.execute(
            "SELECT 1 FROM recordings WHERE path = ?"
            " AND partition = (SELECT id FROM partitions WHERE folder = ?)",
            (path, folder),
        ).fetchone()
        return row is not None

    def holds_anything(self) -> bool:
        """Whether any recording is on record in the main archive."""
        found = self._db.execute(
            "SELECT 1 FROM partitions t WHERE substr(folder, 1, ?) <> ? AND EXISTS"
            " (SELECT 1 FROM recordings r WHERE r.partition = t.id) LIMIT 1",
            (len(RAW_MOUNT), RAW_MOUNT),
        )
        return found.fetchone() is not None
