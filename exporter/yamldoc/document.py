"""Events → a small document of plain values that remembers where each of them stood."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from exporter.errors import ConfigError, Location
from exporter.yamldoc.events import EventReader, position
from exporter.yamldoc.scalars import TAG_PREFIX, plain_value, tagged_value
from exporter.yamldoc.text import TextSource, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaml.events import Event

    from exporter.errors import UsageError
    from exporter.yamldoc.scalars import Scalar

MAX_DEPTH = 32
MAX_VALUES = 10_000

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A small YAML document as plain Python values, which remembers where each of them stood.

    Attributes:
        value: dict, list, str, int, float, bool or None; keys are always str, times stay text.
        source: the file, for messages.
        marks: path → line and column from 1; the path of a mapping's value has its key's place.
    """

    value: object
    source: str
    marks: Mapping[Path, tuple[int, int]]

    def location(self, path: Path) -> Location:
        """Where the value at `path` stood, or the nearest value around it."""
        for length in range(len(path), -1, -1):
            mark = self.marks.get(path[:length])
            if mark:
                return Location(self.source, *mark)
        return Location(self.source)


def load(
    stream: BinaryIO | bytes | str, source: str, *, error: type[UsageError] = ConfigError
) -> Document:
    """Reads a whole YAML file of limited size.

    Args:
        stream: the file's bytes or text, or an open binary file.
        source: the file's name, for messages.
        error: what a problem is raised as.

    Returns:
        The document; its value is None for an empty file.

    Raises:
        UsageError: the file is not readable, no text, no YAML, or breaks a rule of this package.
    """
    if isinstance(stream, str):
        stream = stream.encode("utf-8", "surrogatepass")
    if isinstance(stream, bytes):
        stream = io.BytesIO(stream)
    reader = EventReader(TextSource(stream, source, error))
    with reader.translated():
        first = reader.start()
        if first is None:
            return Document(None, source, {})
        document = read_document(reader, first)
        reader.end()
        return document


def read_document(reader: EventReader, first: Event) -> Document:
    """Reads one value, which may be part of a larger file, as a document of its own.

    Args:
        reader: where the events come from.
        first: the value's first event, already read.
    """
    builder = _Builder(reader)
    return Document(builder.value(first, ()), reader.text.name, builder.marks)


class _Builder:
    """Builds the values of one document, and counts them."""

    def __init__(self, reader: EventReader) -> None:
        self.marks: dict[Path, tuple[int, int]] = {}
        self._reader = reader
        self._left = MAX_VALUES

    def value(self, event: Event, path: Path) -> object:
        """The value that begins with `event`."""
        self.marks.setdefault(path, position(event))
        self._count(event, path)
        if isinstance(event, ScalarEvent):
            self._reader.check_scalar(event)
            return self._scalar(event)
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, path)
        if isinstance(event, SequenceStartEvent):
            return self._list(event, path)
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        # The parser gives no other event where a value is due.
        raise AssertionError(event)

    def _count(self, event: Event, path: Path) -> None:
        if len(path) > MAX_DEPTH:
            raise self._reader.problem(
                event, f"found more than {MAX_DEPTH} levels of nesting, expected few"
            )
        self._left -= 1
        if self._left < 0:
            raise self._reader.problem(
                event, f"found more than {MAX_VALUES} values, expected a small document"
            )

    def _mapping(self, start: MappingStartEvent, path: Path) -> dict[str, object]:
        reader = self._reader
        reader.check_collection(start, "mapping")
        values: dict[str, object] = {}
        while not isinstance(event := reader.next_event(), MappingEndEvent):
            key = self._key(event)
            here = (*path, key)
            if key in values:
                line, column = self.marks[here]
                raise reader.problem(
                    event,
                    f"found the key {show(key)} twice, expected it once"
                    f" (first at line {line}, column {column})",
                )
            self.marks[here] = position(event)
            values[key] = self.value(reader.next_event(), here)
        return values

    def _key(self, event: Event) -> str:
        reader = self._reader
        if not isinstance(event, ScalarEvent):
            raise reader.problem(event, "found a key that is no plain text, expected a name")
        reader.check_scalar(event)
        key: str = self._text(event)
        if key == "<<" and event.implicit[0]:
            raise reader.problem(
                event,
                "found the merge key '<<', expected a name",
                hint="Write the merged keys out.",
            )
        if not key:
            raise reader.problem(event, "found an empty key, expected a name")
        return key

    def _list(self, start: SequenceStartEvent, path: Path) -> list[object]:
        reader = self._reader
        reader.check_collection(start, "list")
        values: list[object] = []
        scalars: list[ScalarEvent] = []
        while not isinstance(event := reader.next_event(), SequenceEndEvent):
            values.append(self.value(event, (*path, len(values))))
            single = reader.resolve(event) if isinstance(event, AliasEvent) else event
            if isinstance(single, ScalarEvent):
                scalars.append(single)
        if len(scalars) == len(values):
            reader.remember_list(start, scalars)
        return values

    def _alias(self, event: AliasEvent, path: Path) -> object:
        anchored = self._reader.resolve(event)
        if isinstance(anchored, ScalarEvent):
            return self._scalar(anchored)
        values: list[object] = []
        for item in anchored:
            self._count(event, path)
            values.append(self._scalar(item))
        return values

    def _scalar(self, event: ScalarEvent) -> Scalar:
        text = self._text(event)
        tag: str | None = event.tag
        if tag is None:
            return plain_value(text) if event.implicit[0] else text
        if tag == "!":
            return text
        name = tag.removeprefix(TAG_PREFIX)
        try:
            return tagged_value(name, text)
        except ValueError as error:
            message = f"found {show(text)} with the tag '!!{name}', expected such a value"
            raise self._reader.problem(event, message) from error

    def _text(self, event: ScalarEvent) -> str:
        text: str = event.value
        # The pure Python parser lets escaped halves of a surrogate pair through.
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            message = f"found {show(text)}, expected whole Unicode characters"
            raise self._reader.problem(event, message)
        return text
