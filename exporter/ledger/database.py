"""The database file: opened, created, migrated, read without a trace; transactions."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import DestinationError
from exporter.ledger import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

_CACHE_KIB = 16_000


class Database:
    """The database, for one thread.

    Raises:
        DestinationError: the file cannot be opened, is no ledger, or is a newer version's.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open or create; without a path, a temporary one that goes with its last use."""
        self._path = path
        self._closing = contextlib.ExitStack()
        try:
            if read_only and path is not None:
                self._db = self._closing.enter_context(_opened_for_reading(path))
            else:
                # SQLite gives the files that it makes beside this one the same mode.
                self._db = sqlite3.connect(
                    path or "", isolation_level=None, check_same_thread=False
                )
                self._closing.callback(self._db.close)
            self._prepare(read_only=read_only)
        except sqlite3.Error as error:
            self._closing.close()
            raise DestinationError(
                f"cannot open the ledger {path}: {error}",
                hint="Check the disk and the file; SQLite needs a local file system"
                " (--state-dir puts the ledger elsewhere). A spoilt ledger may be moved away:"
                " the next run makes a new one from the manifests of the partitions.",
            ) from None
        except BaseException:
            self._closing.close()
            raise

    def _prepare(self, *, read_only: bool) -> None:
        db = self._db
        db.execute("PRAGMA busy_timeout = 10000")
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if version > schema.VERSION:
            raise DestinationError(
                f"the ledger {self._path} was written by a newer exporter (schema {version})",
                hint="Upgrade exporter, or use another archive.",
            )
        if version == 0:
            if application or db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise DestinationError(f"{self._path} is a database, but not a ledger of exporter")
            if read_only:
                raise DestinationError(f"the ledger {self._path} is empty")
        elif application != schema.APPLICATION_ID:
            raise DestinationError(f"{self._path} is a database, but not a ledger of exporter")
        if version < schema.VERSION:
            if read_only:
                self._db = self._closing.enter_context(_copied(db))
            self._bring_up_to_date(version)

    def _bring_up_to_date(self, version: int) -> None:
        with self._transaction():
            if version == 0:
                schema.execute_all(self._db, schema.TABLES)
                self._db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            else:
                for step in range(version + 1, schema.VERSION + 1):
                    schema.MIGRATIONS[step](self._db)
            self._db.execute(f"PRAGMA user_version = {schema.VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._closing.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """`BEGIN IMMEDIATE` … `COMMIT`, or `ROLLBACK` on any error."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk may have rolled back already
                db.execute("ROLLBACK")
            self._forget()
            raise

    def _forget(self) -> None:
        """What was remembered of the database may not be in it any more."""


@contextlib.contextmanager
def _opened_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Read without leaving anything behind, also where a run is under way or was killed."""
    uri = path.absolute().as_uri()
    log = path.with_name(f"{path.name}-wal")
    with contextlib.ExitStack() as stack:
        if not log.exists():
            # Everything is in the one file; SQLite would make two more beside it to look.
            db = _connect(f"{uri}?mode=ro&immutable=1")
        else:
            try:
                db = _connect(f"{uri}?mode=ro")
            except sqlite3.OperationalError:
                # A read-only file system has no place for the files that readers share. What a
                # killed run wrote last is in the log only, so both are copied.
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                shutil.copyfile(path, folder / path.name)
                shutil.copyfile(log, folder / log.name)
                db = _connect(f"{(folder / path.name).as_uri()}?mode=rw")
        stack.callback(db.close)
        yield db


@contextlib.contextmanager
def _copied(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A private copy in a file that has no name, for what reading an older version changes."""
    with contextlib.closing(
        sqlite3.connect("", isolation_level=None, check_same_thread=False)
    ) as copy:
        copy.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.backup(copy)
        yield copy


def _connect(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db
