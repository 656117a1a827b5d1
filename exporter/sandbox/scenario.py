"""Scenario files: a world, limits and rules, written in YAML.

The keys of the file are the fields of the classes that they describe, so there is no second list
of them to keep up to date. Every error names the file, the line and the column.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from textwrap import shorten
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NoReturn,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

from exporter.sandbox import calls, faults, page_faults
from exporter.sandbox.limits import Limits
from exporter.sandbox.rules import Match, Rule, Times
from exporter.sandbox.world import World

if TYPE_CHECKING:
    from pathlib import Path

_ACTIONS: Final[dict[str, type[faults.Action]]] = {
    "respond": faults.Respond,
    "wrong_type": faults.WrongType,
    "wrong_body": faults.WrongBody,
    "bad_page": page_faults.BadPage,
    "redirect": faults.Redirect,
    "gzip": faults.Gzip,
    "reset": faults.Reset,
    "cut": faults.Cut,
    "stall": faults.Stall,
    "dribble": faults.Dribble,
    "bandwidth": faults.Bandwidth,
}
"""What a rule can do, by its key in the file."""

_VERSION: Final = 1
_MOST_BYTES: Final = 4 * 1024 * 1024
_DEEPEST: Final = 16
_PLAIN_TAGS: Final = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")
}
_TYPE_NAMES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
# Names that annotations use and that their modules import for type checkers only.
_NAMES: Final = {"Mapping": Mapping, "Direction": calls.Direction}

_Value = TypeVar("_Value")


class _Mark(Protocol):
    """A place in the file; both count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class ScenarioError(ValueError):
    """A scenario file is wrong; the message says where and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a scenario file says.

    Attributes:
        version: of the format.
        world: what exists.
        limits: what the sandbox puts up with.
        rules: faults; the first rule that matches a request decides.
    """

    version: int = _VERSION
    world: World = field(default_factory=World)
    limits: Limits = field(default_factory=Limits)
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if self.version != _VERSION:
            raise ValueError(f"expected version {_VERSION}, found {self.version}")


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: it cannot be read, or is no scenario.
    """
    try:
        with path.open("rb") as source:
            content = source.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ScenarioError(f"{path}: larger than {_MOST_BYTES} bytes")
        return parse_scenario(content.decode("utf-8-sig"), source=str(path))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not UTF-8 text") from error


def parse_scenario(text: str, *, source: str = "scenario") -> Scenario:
    """Understand a scenario.

    Args:
        text: YAML.
        source: what messages call it.

    Raises:
        ScenarioError: it is no scenario.
    """
    reader = _Reader(source)
    try:
        reader.refuse_hostile(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        reader.refuse(error.problem_mark, str(error.problem))
    except yaml.YAMLError as error:
        raise ScenarioError(f"{source}: {' '.join(str(error).split())}") from error
    return Scenario() if node is None else reader.build(Scenario, node)


class _Reader:
    """Turns YAML nodes into the values that annotations ask for."""

    def __init__(self, source: str) -> None:
        self._source = source

    def refuse(self, mark: _Mark | None, message: str) -> NoReturn:
        """Say what is wrong, and where."""
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ScenarioError(f"{self._source}{place}: {message}") from None

    def refuse_hostile(self, text: str) -> None:
        """Refuse what could grow without end when it is composed."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                self.refuse(event.start_mark, "aliases are not supported in scenarios")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _DEEPEST:
                self.refuse(event.start_mark, "nested too deeply")

    def build(self, kind: type[_Value], node: yaml.Node) -> _Value:
        """A dataclass from a mapping; nothing means its defaults, a scalar its first field."""
        hints = get_type_hints(kind, localns=_NAMES)
        known = {item.name: item for item in fields(kind) if item.init}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        if isinstance(node, yaml.ScalarNode) and issubclass(kind, faults.Action) and known:
            first = next(iter(known))
            if not _is_null(node):
                values[first] = self.value(hints[first], node)
        elif not _is_null(node):
            for key, _, child in self._items(node, tuple(known)):
                values[key] = self.value(hints[key], child)
        missing = [
            name
            for name, item in known.items()
            if name not in values and item.default is MISSING and item.default_factory is MISSING
        ]
        if missing:
            self.refuse(node.start_mark, f"missing: {', '.join(missing)}")
        try:
            return kind(**values)
        except ValueError as error:
            self.refuse(node.start_mark, str(error))

    def rule(self, node: yaml.Node) -> Rule:
        """A rule: `match`, `delay`, and at most one action under its own name."""
        values: dict[str, Any] = {}
        for key, key_node, child in self._items(node, ("match", "delay", *_ACTIONS)):
            if key == "match":
                values[key] = self.build(Match, child)
            elif key == "delay":
                values[key] = self.value(float, child)
            elif "action" in values:
                self.refuse(key_node.start_mark, f"one action a rule: {key!r} is the second")
            else:
                values["action"] = self.build(_ACTIONS[key], child)
        return Rule(**values)

    def value(self, hint: Any, node: yaml.Node) -> Any:  # noqa: ANN401
        """Whatever an annotation asks for."""
        options = get_args(hint)
        origin = get_origin(hint)
        if origin is types.UnionType:
            if _is_null(node) and type(None) in options:
                return None
            return self.value(next(option for option in options if option is not type(None)), node)
        if origin in {tuple, frozenset}:
            return origin(self._sequence(options, node))
        if origin is Mapping:
            return {key: self.value(options[1], child) for key, _, child in self._items(node, None)}
        return self._single(hint, node)

    def _single(self, hint: type, node: yaml.Node) -> Any:  # noqa: ANN401
        if hint is Rule:
            return self.rule(node)
        if hint is Times:
            return self._times(node)
        if hint is date:
            return self._date(node)
        if is_dataclass(hint):
            return self.build(hint, node)
        return self._scalar(hint, node)

    def _sequence(self, options: tuple[Any, ...], node: yaml.Node) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            self.refuse(node.start_mark, f"expected a list, found {_found(node)}")
        if Ellipsis in options or len(options) == 1:
            return [self.value(options[0], child) for child in node.value]
        if len(options) != len(node.value):
            expected = f"expected a list of {len(options)}, found {len(node.value)}"
            self.refuse(node.start_mark, expected)
        return [self.value(*pair) for pair in zip(options, node.value, strict=True)]

    def _times(self, node: yaml.Node) -> Times:
        try:
            return Times.parse(str(self._scalar(str, node)))
        except ValueError as error:
            self.refuse(node.start_mark, str(error))

    def _date(self, node: yaml.Node) -> date:
        with suppress(ValueError):
            return date.fromisoformat(str(node.value))
        return self.refuse(
            node.start_mark, f"expected a date such as 2026-05-21, found {_found(node)}"
        )

    def _scalar(self, hint: type, node: yaml.Node) -> Any:  # noqa: ANN401
        """Text, a number, a truth, or one of an enumeration's words."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN_TAGS:
            self.refuse(node.start_mark, f"expected {_expected(hint)}, found {_found(node)}")
        tag = node.tag.rpartition(":")[2]
        if issubclass(hint, StrEnum) and node.value in list(hint):
            return hint(node.value)
        if hint is str and tag != "null":
            return node.value
        if tag == hint.__name__ or (hint is float and tag == "int"):
            with suppress(ValueError):  # a number too long to be one
                return hint(yaml.SafeLoader("").construct_object(node))
        return self.refuse(node.start_mark, f"expected {_expected(hint)}, found {_found(node)}")

    def _items(
        self, node: yaml.Node, known: tuple[str, ...] | None
    ) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Keys, where they stand, and values of a mapping whose keys must be known."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node.start_mark, f"expected a mapping, found {_found(node)}")
        items: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key_node, child in node.value:
            key = str(key_node.value)
            if known is not None and key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.refuse(key_node.start_mark, f"unknown key {key!r}; {hint}")
            if key in items:
                self.refuse(key_node.start_mark, f"{key!r} is here twice")
            items[key] = (key, key_node, child)
        return list(items.values())


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _expected(hint: type) -> str:
    if issubclass(hint, StrEnum):
        return f"one of {', '.join(hint)}"
    return _TYPE_NAMES[hint]


def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return repr(shorten(node.value, 60))
