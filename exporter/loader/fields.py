"""The values of a mapping in a YAML manifest, as they are written, and where each of them stands.

Nothing is judged here but form: which keys there may be, and whether a value is one or a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from exporter.loader.entry import IDENTIFIER_KEYS, LIST_KEYS, SYNONYMS, BadValueError, nothing
from exporter.yamldoc import show, unknown_key
from exporter.yamldoc.events import position
from exporter.yamldoc.scalars import NULLS

if TYPE_CHECKING:
    from yaml.events import Event

    from exporter.errors import UsageError
    from exporter.yamldoc import EventReader
    from exporter.yamldoc.events import Anchored

_MAX_SKIPPED = 1000  # events of an entry that is wrong; an honest one has fifty
_MAX_WORDS = 100  # of a list; more than enough to name three directions


class Fields(NamedTuple):
    """The values of one entry, or of the defaults, as they are written.

    Attributes:
        texts: of the keys that have a single value, where it is not null.
        words: of the keys that have a list.
        events: per key, the event that tells the value's place, then those of a list's items.
    """

    texts: dict[str, str]
    words: dict[str, tuple[str, ...]]
    events: dict[str, list[Event]]


class FieldReader:
    """Reads mappings from a parser's events.

    Attributes:
        reader: where the events come from.
        open: how many mappings and lists of an entry have begun and not ended: when an error was
            raised, so many ends lead to the next entry.
    """

    def __init__(self, reader: EventReader) -> None:
        self.reader = reader
        self.open = 0

    def skip_entry(self) -> None:
        """Read on to the end of an entry that is wrong.

        Raises:
            UsageError: it is too long for one, or the same anchors are too many.
        """
        passed = 0
        while self.open:
            event = self.reader.next_event()
            passed += 1
            if passed > _MAX_SKIPPED:
                message = "found an entry without an end, expected a short one"
                raise self.reader.problem(event, message)
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                self.open += 1
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                self.open -= 1
            self.reader.remember(event)

    def read_fields(
        self,
        start: MappingStartEvent,
        known: tuple[str, ...],
        synonyms: dict[str, str] = SYNONYMS,
    ) -> Fields:
        """The values of one entry, or of the defaults, as they are written."""
        reader = self.reader
        next_event = reader.next_event
        self.open = 1
        if start.tag is not None or start.anchor is not None:
            reader.check_collection(start, "mapping")
        fields = Fields({}, {}, {})
        while type(key_event := next_event()) is ScalarEvent:
            key = key_event.value
            if key not in known or key in fields.events or key_event.tag is not None:
                raise self._bad_key(key_event, known, fields, synonyms)
            value: Event | Anchored = next_event()
            if type(value) is AliasEvent:
                value = reader.resolve(value)
            if type(value) is ScalarEvent:
                self._put_single(fields, key, value)
            else:
                place = key_event if isinstance(value, list) else value
                items = self._read_items(key, place, value)
                fields.events[key] = [place, *items]
                fields.words[key] = tuple(item.value for item in items)
        if type(key_event) is not MappingEndEvent:
            raise self.unexpected(key_event, f"found {describe(key_event)}, expected a key")
        self.open = 0
        return fields

    def _put_single(self, fields: Fields, key: str, value: ScalarEvent) -> None:
        if value.tag is not None or value.anchor is not None:
            self.reader.check_scalar(value)
        fields.events[key] = [value, value]
        if is_null(value):
            if key in IDENTIFIER_KEYS:
                raise self.located(nothing(key), fields, value)
        elif key in LIST_KEYS:
            fields.words[key] = (value.value,)
        else:
            fields.texts[key] = value.value

    def _read_items(self, key: str, place: Event, value: Event | Anchored) -> list[ScalarEvent]:
        """The items of a list that begins with `value`, or of an aliased one."""
        reader = self.reader
        expected = "a list of words" if key in LIST_KEYS else "a single value"
        if key not in LIST_KEYS or not isinstance(value, (list, SequenceStartEvent)):
            raise self.unexpected(place, f"{key}: found {describe(value)}, expected {expected}")
        if isinstance(value, list):
            return value
        self.open = 2
        reader.check_collection(value, "list")
        items: list[ScalarEvent] = []
        while not isinstance(event := reader.next_event(), SequenceEndEvent):
            item = reader.resolve(event) if isinstance(event, AliasEvent) else event
            if not isinstance(item, ScalarEvent):
                raise self.unexpected(event, f"{key}: found {describe(item)}, expected a word")
            reader.check_scalar(item)
            items.append(item)
            if len(items) > _MAX_WORDS:
                raise reader.problem(event, f"{key}: found more than {_MAX_WORDS} words")
        self.open = 1
        reader.remember_list(value, items)
        return items

    def _bad_key(
        self,
        event: ScalarEvent,
        known: tuple[str, ...],
        fields: Fields,
        synonyms: dict[str, str],
    ) -> UsageError:
        self.reader.check_scalar(event)
        key: str = event.value
        if key in fields.events:
            return self.twice(event, key, fields.events[key][0])
        if key in known:
            # Only its tag, a harmless one, brought it here.
            return self.reader.problem(event, f"found the key {key!r} with a tag, expected none")
        hint = "Put what entries share under 'defaults'." if key == "<<" else ""
        return self.reader.problem(event, unknown_key(key, known, synonyms=synonyms), hint=hint)

    def twice(self, event: Event, key: str, first: Event) -> UsageError:
        """The error for a key that is there already."""
        return self.reader.problem(
            event,
            f"found the key {key!r} twice, expected it once (first at line {position(first)[0]})",
        )

    def unexpected(self, event: Event, message: str, *, hint: str = "") -> UsageError:
        """The error for a value of the wrong kind; a bad tag is the greater wrong."""
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self.open += 1
        self.reader.check(event)
        return self.reader.problem(event, message, hint=hint)

    def located(self, error: BadValueError, fields: Fields, entry: Event) -> UsageError:
        """The error with its place: of the item, else of the value, else of the entry."""
        found = fields.events.get(error.key, [entry])
        event = found[0 if error.index is None else error.index + 1]
        return self.reader.problem(event, error.message, hint=error.hint)


def is_null(event: Event) -> bool:
    """Whether nothing is written there, or a word for nothing."""
    return isinstance(event, ScalarEvent) and event.value in NULLS and bool(event.implicit[0])


def describe(event: Event | Anchored) -> str:
    """What stands there, in the words of a message."""
    if isinstance(event, ScalarEvent):
        return "nothing" if is_null(event) else show(event.value)
    if isinstance(event, MappingStartEvent):
        return "a mapping"
    if isinstance(event, AliasEvent):
        return f"the alias {show('*' + (event.anchor or ''))}"
    return "a list"
