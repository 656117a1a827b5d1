"""CSV → conversations: a header row that names the columns, then one row each."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from exporter.loader.entry import (
    ENTRY_KEYS,
    NO_DEFAULTS,
    SYNONYMS,
    BadValueError,
    build,
)
from exporter.mistakes import Mistakes
from exporter.yamldoc import unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.errors import Location, UsageError
    from exporter.model import Conversation
    from exporter.yamldoc import TextSource

_REQUIRED = ("id", "account_id", "project_id")
_EXAMPLE = "The first row names the columns, for example: id,account_id,project_id,started_at"
_LIST_SEPARATOR = "|"


def read_csv(text: TextSource) -> Iterator[Conversation]:
    """The conversations of a CSV manifest.

    Empty lines and rows of empty cells, which spreadsheets leave behind, are skipped.

    Raises:
        ManifestError: at the end, or when there are many mistakes.
    """
    rows = _Rows(text)
    columns = _columns(rows)
    mistakes = Mistakes()
    with mistakes.told():
        yield from _read(rows, columns, mistakes)
        mistakes.check()


def _read(rows: _Rows, columns: list[str], mistakes: Mistakes) -> Iterator[Conversation]:
    for cells in rows:
        if len(cells) != len(columns):
            problem = rows.problem(
                f"found {len(cells)} cells, expected {len(columns)} as in the header row",
                hint="A value with a ',' in it needs quotation marks; lists are separated by '|'.",
            )
            mistakes.add(problem)
            continue
        values = dict(zip(columns, cells, strict=True))
        try:
            conversation = _conversation(values, rows)
        except BadValueError as error:
            index = columns.index(error.key) if error.key in columns else 0
            mistakes.add(rows.problem(error.message, cell=index, hint=error.hint))
            continue
        yield conversation


class _Rows:
    """The rows that are not empty, their cells stripped of spaces, and where each one stands."""

    def __init__(self, text: TextSource) -> None:
        self._text = text
        self._line = ""
        self._number = 0
        self._reader = csv.reader(self._lines(), strict=True)

    def __iter__(self) -> Iterator[list[str]]:
        """Row by row.

        Raises:
            ManifestError: the text is no CSV, or a row is longer than a line.
        """
        while True:
            self._number = self._reader.line_num + 1
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                raise self.problem(
                    f"this is not valid CSV: {error}",
                    hint="Is a quotation mark left open, or one missing?",
                ) from error
            if row is None:
                return
            if self._reader.line_num != self._number:
                raise self.problem("found a cell with a line end in it, expected one row a line")
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells

    def location(self, cell: int | None = None) -> Location:
        """Where the row stands, or one of its cells."""
        column = 1 if cell is None else _cell_start(self._line, cell)
        return self._text.location(self._number, column)

    def problem(self, message: str, *, cell: int | None = None, hint: str = "") -> UsageError:
        """An error at the row, or at one of its cells."""
        return self._text.error(message, location=self.location(cell), hint=hint)

    def empty(self) -> UsageError:
        """The error for a file without a header row."""
        return self._text.error(
            "found an empty file, expected a header row and one conversation a row",
            location=self._text.location(),
            hint=_EXAMPLE,
        )

    def _lines(self) -> Iterator[str]:
        for raw in self._text.lines():
            self._line = raw.decode().removesuffix("\r")
            yield self._line + "\n"


def _columns(rows: _Rows) -> list[str]:
    """The header row, checked."""
    columns = next(iter(rows), None)
    if columns is None:
        raise rows.empty()
    for index, name in enumerate(columns):
        if name not in ENTRY_KEYS:
            separators = len(columns) == 1 and any(mark in name for mark in ";\t")
            raise rows.problem(
                unknown_key(name, ENTRY_KEYS, what="column", synonyms=SYNONYMS),
                cell=index,
                hint="Separate the columns with ','." if separators else _EXAMPLE,
            )
        if name in columns[:index]:
            raise rows.problem(f"found the column {name!r} twice, expected it once", cell=index)
    for name in _REQUIRED:
        if name not in columns:
            raise rows.problem(
                f"found no column {name!r}, expected at least {', '.join(_REQUIRED)}",
                hint=_EXAMPLE,
            )
    return columns


def _conversation(values: dict[str, str], rows: _Rows) -> Conversation:
    get = values.get
    return build(
        get("id") or None,
        started_at=get("started_at") or None,
        account_id=get("account_id") or None,
        project_id=get("project_id") or None,
        directions=_words(get("directions")),
        redaction=_words(get("redaction")),
        in_progress=get("in_progress") or None,
        defaults=NO_DEFAULTS,
        location=rows.location(),
    )


def _words(cell: str | None) -> tuple[str, ...] | None:
    return tuple(word.strip() for word in cell.split(_LIST_SEPARATOR)) if cell else None


def _cell_start(line: str, cell: int) -> int:
    """The column, from 1, where a cell of the line begins."""
    quoted = False
    for column, character in enumerate(line, start=1):
        if cell == 0:
            return column
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            cell -= 1
    return len(line) + 1 if line else 1
