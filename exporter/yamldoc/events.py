"""Checked text → YAML events, with anchors limited, tags refused and foreign errors translated."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from exporter.yamldoc.scalars import TAG_PREFIX
from exporter.yamldoc.syntax import explain
from exporter.yamldoc.text import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yaml.events import Event

    from exporter.errors import Location, UsageError
    from exporter.yamldoc.text import TextSource

MAX_ANCHORS = 1000
MAX_ANCHOR_LENGTH = 200

_SCALAR_TAGS = frozenset(
    {"!", *(TAG_PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp"))}
)
_COLLECTION_TAGS = {
    "list": frozenset({"!", TAG_PREFIX + "seq"}),
    "mapping": frozenset({"!", TAG_PREFIX + "map"}),
}

# What an alias may stand for: a value, or a list of values.
Anchored = ScalarEvent | list[ScalarEvent]


class _PythonParser(yaml.SafeLoader):
    """Where PyYAML came without libyaml: the same events, about ten times slower."""

    def get_event(self) -> Event:
        """The next event; all complaints as YAML errors, which this parser forgets at times."""
        try:
            event: Event = super().get_event()  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError) as error:
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=mark) from error
        return event


_parser_class: type[yaml.CSafeLoader | yaml.SafeLoader] = (
    yaml.CSafeLoader if yaml.__with_libyaml__ else _PythonParser
)


def position(event: Event) -> tuple[int, int]:
    """Line and column, from 1, where the event's text begins."""
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class EventReader:
    """The events of one YAML document.

    Call `next_event` inside `with reader.translated():`, which is apart so that a loop over a
    million events pays for it once.

    Attributes:
        text: where the events come from.
        next_event: gives the next event.
    """

    def __init__(self, text: TextSource) -> None:
        self.text = text
        self._anchors: dict[str, Anchored | None] = {}
        with self.translated():
            # The parser gives None only after the stream's end, where nobody asks any more.
            self.next_event = cast("Callable[[], Event]", _parser_class(text).get_event)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns the parser's errors into ours, with their place."""
        try:
            yield
        except yaml.MarkedYAMLError as error:
            complaint = explain(error)
            mark = complaint.mark
            location = self.text.location(*((mark.line + 1, mark.column + 1) if mark else ()))
            raise self.text.error(
                complaint.message, location=location, hint=complaint.hint
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            # Control characters and bad UTF-8 were refused before the parser saw them; what is
            # left are odd escapes in tags.
            message = f"this is not valid YAML: {show(str(error))}"
            raise self.text.error(message, location=self.text.location()) from error

    def location(self, event: Event) -> Location:
        """Where the event's text begins."""
        return self.text.location(*position(event))

    def problem(self, event: Event, message: str, *, hint: str = "") -> UsageError:
        """An error at the event, to be raised."""
        return self.text.error(message, location=self.location(event), hint=hint)

    def start(self) -> Event | None:
        """The document's first value, or None for an empty document."""
        self.next_event()  # The stream's start.
        event = self.next_event()
        if isinstance(event, StreamEndEvent):
            return None
        return self.next_event()

    def end(self) -> None:
        """Reads the rest of the stream, and refuses a second document."""
        self.next_event()  # The document's end.
        event = self.next_event()
        if isinstance(event, DocumentStartEvent):
            raise self.problem(
                event, "found a second YAML document ('---'), expected one document in the file"
            )
        while self.text.read():
            pass

    def check(self, event: Event) -> None:
        """Refuses unknown tags of any value."""
        if isinstance(event, ScalarEvent):
            self.check_scalar(event)
        elif isinstance(event, SequenceStartEvent):
            self.check_collection(event, "list")
        elif isinstance(event, MappingStartEvent):
            self.check_collection(event, "mapping")

    def check_scalar(self, event: ScalarEvent) -> None:
        """Refuses unknown tags, and remembers the anchor; to be called where either is set."""
        if event.tag is not None and event.tag not in _SCALAR_TAGS:
            raise self._bad_tag(event, event.tag)
        if event.anchor is not None:
            self._remember(event, event)

    def check_collection(self, event: Event, kind: str) -> None:
        """Refuses unknown tags; `kind` is `list` or `mapping`."""
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _COLLECTION_TAGS[kind]:
            raise self._bad_tag(event, tag)
        if getattr(event, "anchor", None) is not None:
            self._remember(event, None)

    def remember(self, event: Event) -> None:
        """Of what is passed over, only the anchor counts: what comes after it may name it."""
        if getattr(event, "anchor", None) is not None and not isinstance(event, AliasEvent):
            self._remember(event, event if isinstance(event, ScalarEvent) else None)

    def remember_list(self, event: SequenceStartEvent, items: list[ScalarEvent]) -> None:
        """An anchored list turned out to hold single values only: aliases may stand for it."""
        if event.anchor is not None:
            self._remember(event, items)

    def resolve(self, event: AliasEvent) -> Anchored:
        """What the alias stands for."""
        name = event.anchor or ""
        if name not in self._anchors:
            raise self.problem(
                event, f"found the alias {show('*' + name)}, expected its anchor before it"
            )
        anchored = self._anchors[name]
        if anchored is None:
            raise self.problem(
                event,
                f"found the alias {show('*' + name)} of a mapping or of a nested list,"
                " expected an alias of a single value or of a list of single values",
                hint="Write the value out.",
            )
        return anchored

    def _remember(self, event: Event, anchored: Anchored | None) -> None:
        anchor: str = getattr(event, "anchor", "")
        self._anchors[anchor] = anchored
        if len(self._anchors) > MAX_ANCHORS or len(anchor) > MAX_ANCHOR_LENGTH:
            raise self.problem(
                event,
                f"found more than {MAX_ANCHORS} anchors ('&'), or one of more than"
                f" {MAX_ANCHOR_LENGTH} characters; expected few and short ones",
                hint="Write the values out: a YAML writer has an option for it.",
            )

    def _bad_tag(self, event: Event, tag: str) -> UsageError:
        short = tag.replace(TAG_PREFIX, "!!", 1)
        return self.problem(
            event,
            f"found the tag {show(short)}, expected a plain value",
            hint="Tags could run code or make objects; remove it.",
        )
