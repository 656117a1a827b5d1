"""A YAML manifest → conversations, straight from the parser's events.

Nothing is built that is not needed: no tree, no values of scalars, no places. One entry's texts and
events are held until it is made; its events tell the place if something is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from exporter.loader.entry import (
    DEFAULT_KEYS,
    ENTRY_KEYS,
    IDENTIFIER_KEYS,
    LIST_KEYS,
    NO_DEFAULTS,
    SYNONYMS,
    BadValueError,
    Defaults,
    build,
    check_identifier,
    nothing,
    parse_directions,
    parse_redaction,
)
from exporter.yamldoc import EventReader, read_document, show, unknown_key
from exporter.yamldoc.events import position
from exporter.yamldoc.scalars import NULLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.events import Event

    from exporter.errors import UsageError
    from exporter.model import Conversation
    from exporter.yamldoc import Document, TextSource
    from exporter.yamldoc.events import Anchored

_TOP_KEYS = ("version", "defaults", "config", "conversations")
_NOT_YET = "discover"  # belongs to version 1 of the manifest, and is refused in words of its own
_VERSION = "1"
_MAX_WORDS = 100  # of a list; more than enough to name three directions
_EXAMPLE = (
    "A manifest begins with the line 'version: 1' and has a list of entries under 'conversations:'."
)


class _Fields(NamedTuple):
    """The values of one entry, or of the defaults, as they are written.

    Attributes:
        texts: of the keys that have a single value, where it is not null.
        words: of the keys that have a list.
        events: per key, the event that tells the value's place, then those of a list's items.
    """

    texts: dict[str, str]
    words: dict[str, tuple[str, ...]]
    events: dict[str, list[Event]]


class YamlManifest:
    """What stands before the conversations, read at once, and the conversations, as they come.

    Attributes:
        config: the value of the key `config`, or None.
    """

    def __init__(self, text: TextSource) -> None:
        self.config: Document | None = None
        self._reader = EventReader(text)
        self._defaults = NO_DEFAULTS
        self._seen: dict[str, Event] = {}
        with self._reader.translated():
            self._read_head()

    def conversations(self) -> Iterator[Conversation]:
        """The entries, one by one, and then the rest of the manifest.

        Raises:
            ManifestError: at the offending entry.
        """
        reader = self._reader
        next_event = reader.next_event
        begin_unit = reader.text.begin_unit
        with reader.translated():
            while not isinstance(event := next_event(), SequenceEndEvent):
                yield self._conversation(event)
                begin_unit()
            self._read_tail()

    # Before and after the conversations.

    def _read_head(self) -> None:
        reader = self._reader
        first = reader.start()
        if first is None:
            raise reader.text.error(
                "found an empty file, expected a manifest",
                location=reader.text.location(),
                hint=_EXAMPLE,
            )
        if not isinstance(first, MappingStartEvent):
            raise self._unexpected(
                first,
                f"found {_describe(first)}, expected a manifest: a mapping with the keys"
                f" {', '.join(_TOP_KEYS)}",
                hint=_EXAMPLE,
            )
        reader.check_collection(first, "mapping")
        while (key := self._top_key()) != "conversations":
            if key is None:
                self._fail_incomplete(first)
            self._read_top_value(key)
        self._begin_conversations(first)

    def _top_key(self) -> str | None:
        """The next key of the manifest, checked; None at its end."""
        reader = self._reader
        event = reader.next_event()
        if isinstance(event, MappingEndEvent):
            return None
        if not isinstance(event, ScalarEvent):
            raise self._unexpected(event, f"found {_describe(event)}, expected a key")
        reader.check_scalar(event)
        key: str = event.value
        if key not in _TOP_KEYS and key != _NOT_YET:
            raise reader.problem(event, unknown_key(key, _TOP_KEYS))
        if key in self._seen:
            raise self._twice(event, key, self._seen[key])
        self._seen[key] = event
        return key

    def _read_top_value(self, key: str) -> None:
        reader = self._reader
        if key == _NOT_YET:
            raise self._discover_refused()
        event = reader.next_event()
        if key == "version":
            self._check_version(event)
        elif key == "defaults":
            self._defaults = self._read_defaults(event)
        else:
            self.config = self._read_config(event)
        reader.text.begin_unit()

    def _check_version(self, event: Event) -> None:
        if not isinstance(event, ScalarEvent) or event.value != _VERSION:
            raise self._unexpected(
                event,
                f"version: found {_describe(event)}, expected {_VERSION}",
                hint=f"This program reads manifests of version {_VERSION}.",
            )
        self._reader.check_scalar(event)

    def _read_config(self, event: Event) -> Document | None:
        document = read_document(self._reader, event)
        if document.value is None:
            return None
        if not isinstance(document.value, dict):
            raise self._unexpected(
                event, f"config: found {_describe(event)}, expected a mapping of settings"
            )
        return document

    def _read_defaults(self, event: Event) -> Defaults:
        if _is_null(event):
            return NO_DEFAULTS
        if not isinstance(event, MappingStartEvent):
            raise self._unexpected(
                event,
                f"defaults: found {_describe(event)}, expected a mapping with the keys"
                f" {', '.join(DEFAULT_KEYS)}",
            )
        fields = self._read_fields(event, DEFAULT_KEYS)
        texts, words = fields.texts, fields.words
        try:
            for key, text in texts.items():
                check_identifier(key, text)
            return Defaults(
                texts.get("account_id"),
                texts.get("project_id"),
                parse_directions(words["directions"]) if "directions" in words else None,
                parse_redaction(words["redaction"]) if "redaction" in words else None,
            )
        except BadValueError as error:
            raise self._located(error, fields, event) from error

    def _begin_conversations(self, first: Event) -> None:
        if "version" not in self._seen:
            self._fail_incomplete(first)
        reader = self._reader
        event = reader.next_event()
        if not isinstance(event, SequenceStartEvent):
            raise self._unexpected(
                event,
                f"conversations: found {_describe(event)}, expected a list of entries",
                hint="Begin every entry with '- '; write [] if there is none.",
            )
        reader.check_collection(event, "list")
        reader.text.begin_unit()

    def _read_tail(self) -> None:
        reader = self._reader
        while (key := self._top_key()) is not None:
            if key == _NOT_YET:
                raise self._discover_refused()
            raise reader.problem(
                self._seen[key],
                f"found {key!r} after 'conversations', expected it before",
                hint=f"Move {key!r} up: entries are used as they are read, so what applies to"
                " them has to come first.",
            )
        reader.end()

    def _discover_refused(self) -> UsageError:
        """The one place that says what this version cannot do yet."""
        return self._reader.problem(
            self._seen[_NOT_YET],
            "found 'discover', which this version of the program does not support;"
            " expected the conversations to be listed under 'conversations'",
        )

    def _fail_incomplete(self, first: Event) -> NoReturn:
        reader = self._reader
        if "version" not in self._seen:
            where = " before 'conversations'" if "conversations" in self._seen else ""
            message = f"'version' is missing: expected 'version: {_VERSION}'{where}"
        else:
            message = "'conversations' is missing: expected a list of entries"
        raise reader.problem(first, message, hint=_EXAMPLE)

    # One entry.

    def _conversation(self, event: Event) -> Conversation:
        if isinstance(event, MappingStartEvent):
            fields = self._read_fields(event, ENTRY_KEYS)
        elif isinstance(event, ScalarEvent):
            fields = self._read_short_form(event)
        else:
            raise self._unexpected(
                event,
                f"found {_describe(event)}, expected an entry: the identifier of a conversation,"
                f" or a mapping with the keys {', '.join(ENTRY_KEYS)}",
            )
        text, words = fields.texts.get, fields.words.get
        try:
            return build(
                text("id"),
                started_at=text("started_at"),
                account_id=text("account_id"),
                project_id=text("project_id"),
                directions=words("directions"),
                redaction=words("redaction"),
                defaults=self._defaults,
                location=self._reader.location(event),
            )
        except BadValueError as error:
            raise self._located(error, fields, event) from error

    def _read_short_form(self, event: ScalarEvent) -> _Fields:
        reader = self._reader
        reader.check_scalar(event)
        if _is_null(event):
            raise reader.problem(
                event, "found an empty entry, expected the identifier of a conversation"
            )
        return _Fields({"id": event.value}, {}, {"id": [event]})

    def _read_fields(self, start: MappingStartEvent, known: tuple[str, ...]) -> _Fields:
        """The values of one entry, or of the defaults, as they are written."""
        reader = self._reader
        next_event = reader.next_event
        if start.tag is not None or start.anchor is not None:
            reader.check_collection(start, "mapping")
        fields = _Fields({}, {}, {})
        while type(key_event := next_event()) is ScalarEvent:
            key = key_event.value
            if key not in known or key in fields.events or key_event.tag is not None:
                raise self._bad_key(key_event, known, fields)
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
            raise self._unexpected(key_event, f"found {_describe(key_event)}, expected a key")
        return fields

    def _put_single(self, fields: _Fields, key: str, value: ScalarEvent) -> None:
        if value.tag is not None or value.anchor is not None:
            self._reader.check_scalar(value)
        fields.events[key] = [value, value]
        if _is_null(value):
            if key in IDENTIFIER_KEYS:
                raise self._located(nothing(key), fields, value)
        elif key in LIST_KEYS:
            fields.words[key] = (value.value,)
        else:
            fields.texts[key] = value.value

    def _read_items(self, key: str, place: Event, value: Event | Anchored) -> list[ScalarEvent]:
        """The items of a list that begins with `value`, or of an aliased one."""
        reader = self._reader
        expected = "a list of words" if key in LIST_KEYS else "a single value"
        if key not in LIST_KEYS or not isinstance(value, (list, SequenceStartEvent)):
            raise self._unexpected(place, f"{key}: found {_describe(value)}, expected {expected}")
        if isinstance(value, list):
            return value
        reader.check_collection(value, "list")
        items: list[ScalarEvent] = []
        while not isinstance(event := reader.next_event(), SequenceEndEvent):
            item = reader.resolve(event) if isinstance(event, AliasEvent) else event
            if not isinstance(item, ScalarEvent):
                raise self._unexpected(event, f"{key}: found {_describe(item)}, expected a word")
            reader.check_scalar(item)
            items.append(item)
            if len(items) > _MAX_WORDS:
                raise reader.problem(event, f"{key}: found more than {_MAX_WORDS} words")
        reader.remember_list(value, items)
        return items

    def _bad_key(self, event: ScalarEvent, known: tuple[str, ...], fields: _Fields) -> UsageError:
        self._reader.check_scalar(event)
        key: str = event.value
        if key in fields.events:
            return self._twice(event, key, fields.events[key][0])
        if key in known:
            # Only its tag, a harmless one, brought it here.
            return self._reader.problem(event, f"found the key {key!r} with a tag, expected none")
        hint = "Put what entries share under 'defaults'." if key == "<<" else ""
        return self._reader.problem(event, unknown_key(key, known, synonyms=SYNONYMS), hint=hint)

    def _twice(self, event: Event, key: str, first: Event) -> UsageError:
        return self._reader.problem(
            event,
            f"found the key {key!r} twice, expected it once (first at line {position(first)[0]})",
        )

    def _unexpected(self, event: Event, message: str, *, hint: str = "") -> UsageError:
        """The error for a value of the wrong kind; a bad tag is the greater wrong."""
        self._reader.check(event)
        return self._reader.problem(event, message, hint=hint)

    def _located(self, error: BadValueError, fields: _Fields, entry: Event) -> UsageError:
        """The error with its place: of the item, else of the value, else of the entry."""
        found = fields.events.get(error.key, [entry])
        event = found[0 if error.index is None else error.index + 1]
        return self._reader.problem(event, error.message, hint=error.hint)


def _is_null(event: Event) -> bool:
    return isinstance(event, ScalarEvent) and event.value in NULLS and bool(event.implicit[0])


def _describe(event: Event | Anchored) -> str:
    """What stands there, in the words of a message."""
    if isinstance(event, ScalarEvent):
        return "nothing" if _is_null(event) else show(event.value)
    if isinstance(event, MappingStartEvent):
        return "a mapping"
    if isinstance(event, AliasEvent):
        return f"the alias {show('*' + (event.anchor or ''))}"
    return "a list"
