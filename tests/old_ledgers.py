"""Makes ledgers of today ones of older versions, for tests of the migrations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.ledger import schema

if TYPE_CHECKING:
    import sqlite3


def back_to_version_4(db: sqlite3.Connection) -> None:
    """Take away what later versions added."""
    for text in (
        schema._ORIGIN,
        schema._CARRIED,
        schema._MISSING,
        schema._TURNS,
        schema._METADATA,
        schema._UNDESCRIBED,
    ):
        for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", text):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in re.findall(r"CREATE TABLE (\w+)", text):
            db.execute(f"DROP TABLE {table}")
    for table in ("found", "listed", "windows", "queries"):
        db.execute(f"DROP TABLE {table}")
    db.execute("PRAGMA user_version = 4")
