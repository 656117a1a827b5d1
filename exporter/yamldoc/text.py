"""Text from users: read with care (`TextSource`), and shown with care (`show`).

What a file holds is unknown until it was read: it may be a photo, a spreadsheet or an attack. So
every byte is checked on its way in, and every value is cut and escaped on its way to a terminal.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import re
from typing import TYPE_CHECKING, BinaryIO

from exporter.errors import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.errors import UsageError

CHUNK_BYTES = 64 * 1024
MAX_UNIT_BYTES = 1024 * 1024  # one entry, one line or one small document: no honest one is longer

_SHOWN_CHARACTERS = 60

# Files of another kind that people hand in by mistake, by their first bytes.
_OTHER_KINDS = (
    (b"\xff\xfe", "UTF-16 text", "Save the file as UTF-8."),
    (b"\xfe\xff", "UTF-16 text", "Save the file as UTF-8."),
    (b"\x1f\x8b", "a gzip file", "Unpack it first, for example with gunzip."),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "Unpack it, or export the sheet as CSV."),
)
_LONGEST_SIGNATURE = 4

# Line ends and tabs are text; all other control characters mean that the file is none.
_TEXT_BYTES = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def show(text: str) -> str:
    """A value from the user's file, quoted, cut and escaped: safe to print on a terminal."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return repr(cut)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    matches = difflib.get_close_matches(word[:_SHOWN_CHARACTERS].lower(), list(known), n=1)
    return matches[0] if matches else None


def unknown_key(
    word: str,
    known: Iterable[str],
    *,
    what: str = "key",
    synonyms: Mapping[str, str] | None = None,
) -> str:
    """The message for a key that nobody knows: names the nearest known one, and all of them.

    Args:
        word: what was found.
        known: what is expected, in the order to be shown.
        what: what kind of word it is: a key, a column, …
        synonyms: words of others → known words, for those that no spelling leads to.
    """
    known = tuple(known)
    match = (synonyms or {}).get(word) or nearest(word, known)
    meant = f" (did you mean {match!r}?)" if match else ""
    return f"found the unknown {what} {show(word)}{meant}, expected one of: {', '.join(known)}"


class TextSource:
    """The bytes of a user's file: read in pieces, checked to be UTF-8 text, counted and hashed.

    A byte order mark at the beginning is hashed and dropped. It is file-like enough for a YAML
    parser: `read` gives any number of bytes, and none at the end.

    Attributes:
        name: the file, for messages.
        error: what a problem is raised as.
        complete: the end was reached.
    """

    def __init__(self, stream: BinaryIO, name: str, error: type[UsageError]) -> None:
        self.name = name
        self.error = error
        self.complete = False
        # A pipe's first entries are worth more now than a full buffer later.
        self._read = getattr(stream, "read1", stream.read)
        self._hash = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._started = False
        self._size = 0
        self._unit_start = 0
        self._line = 1
        self._column = 1

    @property
    def sha256(self) -> str | None:
        """The hexadecimal digest of all bytes; None until the end was reached."""
        return self._hash.hexdigest() if self.complete else None

    def read(self, _size: int = CHUNK_BYTES) -> bytes:
        """The next bytes, in whatever number suits; none at the end.

        Raises:
            UsageError: the file cannot be read, or is no text.
        """
        chunk = self._raw() if self._started else self._first()
        self._check(chunk)
        self.complete = not chunk
        return chunk

    def lines(self) -> Iterator[bytes]:
        """Line by line, without the line feed; a carriage return before it stays."""
        rest = b""
        while chunk := self.read():
            pieces = (rest + chunk).split(b"\n")
            rest = pieces.pop()
            if pieces:
                self.begin_unit()
            yield from pieces
        if rest:
            yield rest

    def begin_unit(self) -> None:
        """Here begins a new entry or document: the limit of its length counts from here."""
        self._unit_start = self._size

    def location(self, line: int | None = None, column: int | None = None) -> Location:
        """A place in this file."""
        return Location(self.name, line, column)

    def _first(self) -> bytes:
        """The first bytes: enough of them to know another kind of file by its signature."""
        self._started = True
        chunk = self._raw()
        while len(chunk) < _LONGEST_SIGNATURE and (more := self._raw()):
            chunk += more
        for signature, kind, hint in _OTHER_KINDS:
            if chunk.startswith(signature):
                message = f"found {kind}, expected text in UTF-8"
                raise self.error(message, location=self.location(), hint=hint)
        return chunk.removeprefix(codecs.BOM_UTF8)

    def _raw(self) -> bytes:
        try:
            chunk: bytes = self._read(CHUNK_BYTES)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            message = f"the file cannot be read: {reason}"
            raise self.error(message, location=self.location()) from error
        self._hash.update(chunk)
        self._size += len(chunk)
        if self._size - self._unit_start > MAX_UNIT_BYTES + CHUNK_BYTES:
            message = (
                f"found more than {MAX_UNIT_BYTES // 1024} KiB without an end,"
                " expected short entries (is a bracket or a quotation mark left open?)"
            )
            raise self.error(message, location=self.location(self._line))
        return chunk

    def _check(self, chunk: bytes) -> None:
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode()
            raise self._not_text(before, f"the byte 0x{error.object[error.start]:02x}") from error
        # Two tests, because this one runs at a gigabyte a second, and a search does not.
        if chunk.translate(None, _TEXT_BYTES) or not chunk.isascii():
            match = _NOT_TEXT.search(text)
            if match:
                found = f"the control character U+{ord(match[0]):04X}"
                raise self._not_text(text[: match.start()], found)
        self._advance(text)

    def _not_text(self, before: str, found: str) -> UsageError:
        self._advance(before)
        return self.error(
            f"found {found}, expected text in UTF-8",
            location=self.location(self._line, self._column),
            hint="Is this the right file? If so, save it as UTF-8 text.",
        )

    def _advance(self, text: str) -> None:
        line_ends = text.count("\n")
        if line_ends:
            self._line += line_ends
            self._column = len(text) - text.rfind("\n")
        else:
            self._column += len(text)
