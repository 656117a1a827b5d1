"""A YAML manifest → conversations, straight from the parser's events.

Nothing is built that is not needed: no tree, no values of scalars, no places. One entry's texts and
events are held until it is made; its events tell the place if something is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from yaml.events import (
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from exporter.errors import ManifestError
from exporter.loader.entry import (
    DEFAULT_KEYS,
    ENTRY_KEYS,
    NO_DEFAULTS,
    BadValueError,
    Defaults,
    build,
    check_identifier,
    parse_directions,
    parse_redaction,
)
from exporter.loader.fields import FieldReader, Fields, describe, is_null
from exporter.loader.query import QUERY_KEYS, QUERY_SYNONYMS, build_query
from exporter.mistakes import Mistakes
from exporter.yamldoc import EventReader, read_document, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.events import Event

    from exporter.errors import UsageError
    from exporter.model import Conversation
    from exporter.window import Query
    from exporter.yamldoc import Document, TextSource

_TOP_KEYS = ("version", "defaults", "config", "discover", "conversations")
OF_CONFIGS = (
    "api",
    "credentials",
    "output",
    "object_store",
    "export",
    "policies",
    "limits",
    "retry",
    "log",
)
"""The keys that a config begins with."""
_VERSION = "1"
_MAX_QUERIES = 1000
_EXAMPLE = (
    "A manifest begins with the line 'version: 1' and has a list of entries under 'conversations:',"
    " or of queries under 'discover:'."
)
_PLACES = (
    "Entries stand under 'conversations:', what they share under 'defaults:', settings under"
    " 'config:' or in a file given with --config."
)
_CONFIG_HINT = (
    "This seems to be a config, which says how to export: it is named with --config. A manifest"
    " says what, and may have the config in it, under 'config:'."
)
_OTHER_FORMATS = "On standard input JSON lines need --manifest-format jsonl, and CSV needs csv."


class YamlManifest:
    """What stands before the conversations, read at once, and the conversations, as they come.

    Attributes:
        config: the value of the key `config`, or None.
        queries: those under `discover`; complete when the conversations were read to their end,
            behind which they may stand.
    """

    def __init__(self, text: TextSource) -> None:
        self.config: Document | None = None
        self.queries: list[Query] = []
        self._reader = EventReader(text)
        self._fields = FieldReader(self._reader)
        self._defaults = NO_DEFAULTS
        self._seen: dict[str, Event] = {}
        self._mistakes = Mistakes()
        with self._mistakes.told(), self._reader.translated():
            self._read_head()

    def conversations(self) -> Iterator[Conversation]:
        """The entries, one by one, and then the rest of the manifest.

        Raises:
            ManifestError: at the end, when the rest cannot be read, or when there are many
                mistakes.
        """
        reader = self._reader
        next_event = reader.next_event
        begin_unit = reader.text.begin_unit
        if "conversations" not in self._seen:  # queries alone
            return
        with self._mistakes.told(), reader.translated():
            while not isinstance(event := next_event(), SequenceEndEvent):
                try:
                    conversation = self._conversation(event)
                except ManifestError as error:
                    self._pass_over(error)
                else:
                    yield conversation
                begin_unit()
            self._read_tail()
            self._mistakes.check()

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
            raise self._fields.unexpected(
                first,
                f"found {describe(first)}, expected a manifest: a mapping with the keys"
                f" {', '.join(_TOP_KEYS)}",
                hint=self._hint(_EXAMPLE),
            )
        reader.check_collection(first, "mapping")
        while (key := self._top_key()) != "conversations":
            if key is None:
                if not {"version", "discover"} <= self._seen.keys():
                    self._fail_incomplete(first)
                reader.end()
                self._mistakes.check()
                return
            self._read_top_value(key)
        self._begin_conversations(first)

    def _hint(self, hint: str) -> str:
        """What is no manifest in YAML may be one in another format, which no file name tells."""
        is_named = self._reader.text.name != "<stdin>"
        return hint if is_named else f"{hint} {_OTHER_FORMATS}"

    def _top_key(self) -> str | None:
        """The next key of the manifest, checked; None at its end."""
        reader = self._reader
        event = reader.next_event()
        if isinstance(event, MappingEndEvent):
            return None
        if not isinstance(event, ScalarEvent):
            raise self._fields.unexpected(event, f"found {describe(event)}, expected a key")
        reader.check_scalar(event)
        key: str = event.value
        if key not in _TOP_KEYS:
            is_config = key in OF_CONFIGS and not self._seen
            hint = _CONFIG_HINT if is_config else self._hint(_PLACES)
            raise reader.problem(event, unknown_key(key, _TOP_KEYS), hint=hint)
        if key in self._seen:
            raise self._fields.twice(event, key, self._seen[key])
        self._seen[key] = event
        return key

    def _read_top_value(self, key: str) -> None:
        reader = self._reader
        if key in {"defaults", "config"} and "discover" in self._seen:
            raise self._misplaced(key, "discover")
        event = reader.next_event()
        if key == "version":
            self._check_version(event)
        elif key == "defaults":
            self._defaults = self._read_defaults(event)
        elif key == "discover":
            self._read_discover(event)
        else:
            self.config = self._read_config(event)
        reader.text.begin_unit()

    def _check_version(self, event: Event) -> None:
        if not isinstance(event, ScalarEvent) or event.value != _VERSION:
            raise self._fields.unexpected(
                event,
                f"version: found {describe(event)}, expected {_VERSION}",
                hint=f"This program reads manifests of version {_VERSION}.",
            )
        self._reader.check_scalar(event)

    def _read_config(self, event: Event) -> Document | None:
        document = read_document(self._reader, event)
        if document.value is None:
            return None
        if not isinstance(document.value, dict):
            raise self._fields.unexpected(
                event, f"config: found {describe(event)}, expected a mapping of settings"
            )
        return document

    def _read_defaults(self, event: Event) -> Defaults:
        if is_null(event):
            return NO_DEFAULTS
        if not isinstance(event, MappingStartEvent):
            raise self._fields.unexpected(
                event,
                f"defaults: found {describe(event)}, expected a mapping with the keys"
                f" {', '.join(DEFAULT_KEYS)}",
            )
        fields = self._fields.read_fields(event, DEFAULT_KEYS)
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
            raise self._fields.located(error, fields, event) from error

    def _begin_conversations(self, first: Event) -> None:
        if "version" not in self._seen:
            self._fail_incomplete(first)
        reader = self._reader
        event = reader.next_event()
        if not isinstance(event, SequenceStartEvent):
            raise self._fields.unexpected(
                event,
                f"conversations: found {describe(event)}, expected a list of entries",
                hint="Begin every entry with '- '; write [] if there is none.",
            )
        reader.check_collection(event, "list")
        reader.text.begin_unit()

    def _read_tail(self) -> None:
        reader = self._reader
        while (key := self._top_key()) is not None:
            if key == "discover":
                self._read_discover(reader.next_event())
                continue
            raise self._misplaced(key, "conversations")
        reader.end()

    def _misplaced(self, key: str, after: str) -> UsageError:
        return self._reader.problem(
            self._seen[key],
            f"found {key!r} after {after!r}, expected it before",
            hint=f"Move {key!r} up: entries are used as they are read, so what applies to them has"
            " to come first.",
        )

    def _read_discover(self, event: Event) -> None:
        reader = self._reader
        if not isinstance(event, SequenceStartEvent):
            raise self._fields.unexpected(
                event,
                f"discover: found {describe(event)}, expected a list of queries",
                hint="Begin every query with '- ', such as '- {from: yesterday, to: today}'.",
            )
        reader.check_collection(event, "list")
        reader.text.begin_unit()
        while not isinstance(item := reader.next_event(), SequenceEndEvent):
            if not isinstance(item, MappingStartEvent):
                raise self._fields.unexpected(
                    item,
                    f"found {describe(item)}, expected a query: a mapping with the keys"
                    f" {', '.join(QUERY_KEYS)}",
                )
            try:
                self.queries.append(self._query(item))
            except ManifestError as error:
                self._pass_over(error)
            if len(self.queries) > _MAX_QUERIES:
                raise reader.problem(item, f"discover: found more than {_MAX_QUERIES} queries")
            reader.text.begin_unit()

    def _pass_over(self, error: ManifestError) -> None:
        """An entry or a query is wrong; the next one may be understood all the same."""
        self._mistakes.add(error)
        self._fields.skip_entry()

    def _query(self, event: MappingStartEvent) -> Query:
        location = self._reader.location(event)
        fields = self._fields.read_fields(event, QUERY_KEYS, QUERY_SYNONYMS)
        try:
            return build_query(
                fields.texts, fields.words, defaults=self._defaults, location=location
            )
        except BadValueError as error:
            raise self._fields.located(error, fields, event) from error

    def _fail_incomplete(self, first: Event) -> NoReturn:
        reader = self._reader
        if "version" not in self._seen:
            where = " before 'conversations'" if "conversations" in self._seen else ""
            message = f"'version' is missing: expected 'version: {_VERSION}'{where}"
        else:
            message = (
                "'conversations' is missing: expected a list of entries, or of queries under"
                " 'discover'"
            )
        raise reader.problem(first, message, hint=_EXAMPLE)

    # One entry.

    def _conversation(self, event: Event) -> Conversation:
        if isinstance(event, MappingStartEvent):
            fields = self._fields.read_fields(event, ENTRY_KEYS)
        elif isinstance(event, ScalarEvent):
            fields = self._read_short_form(event)
        else:
            raise self._fields.unexpected(
                event,
                f"found {describe(event)}, expected an entry: the identifier of a conversation,"
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
                in_progress=text("in_progress"),
                defaults=self._defaults,
                location=self._reader.location(event),
            )
        except BadValueError as error:
            raise self._fields.located(error, fields, event) from error

    def _read_short_form(self, event: ScalarEvent) -> Fields:
        reader = self._reader
        reader.check_scalar(event)
        if is_null(event):
            raise reader.problem(
                event, "found an empty entry, expected the identifier of a conversation"
            )
        return Fields({"id": event.value}, {}, {"id": [event]})
