"""Where settings come from, which of them wins, and how a wrong one is reported.

Precedence, highest first: flag, environment (`EXPORTER_LIMITS__CONCURRENCY=8`), `--config` file,
the manifest's `config`, default. Every layer is a tree of the same shape. Each is checked for
unknown keys by itself; then they are merged key by key, and an error names the layer and the place
that the bad value came from.
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.settings.tree import CredentialSettings, PolicySettings, Section, Settings
from exporter.settings.values import ExpectedError, RuleError
from exporter.yamldoc import nearest, show, unknown_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]

ENV_PREFIX = "EXPORTER_"
ENV_DELIMITER = "__"
CREDENTIALS = "credentials"
_LISTS: Mapping[str, type[Section]] = {CREDENTIALS: CredentialSettings, "policies": PolicySettings}
_KEY_HINT = (
    "The API key itself is never written here: name the environment variable (api_key_env) or the"
    " file (api_key_file) that holds it."
)

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "string_type": "text (numbers in quotes)",
    "tuple_type": "a list",
    "too_short": "at least one",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag that was given on the command line.

    Attributes:
        name: as typed, for messages (`--concurrency`).
        path: the setting it stands for (`("limits", "concurrency")`).
        value: as typed, or already of the setting's type.
    """

    name: str
    path: tuple[str, str]
    value: object


def load_settings(
    *,
    flags: Sequence[Flag] = (),
    config_file: Path | None = None,
    manifest_config: yamldoc.Document | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """All layers as one checked value.

    Raises:
        ConfigError: names the layer, the place in it, what was found and what was expected.
    """
    layers: list[_Layer] = [_FlagLayer(flags), _EnvironmentLayer(environ)]
    if config_file is not None:
        layers.append(_DocumentLayer(_read_config(config_file)))
    if manifest_config is not None:
        layers.append(_DocumentLayer(manifest_config))
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _check_shape(layer, layer.tree, Settings, ())
        _merge(merged, layer.tree, Settings)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error.errors()[0], layers) from None


def _read_config(path: Path) -> yamldoc.Document:
    try:
        with path.open("rb") as stream:
            return yamldoc.load(stream, str(path))
    except OSError as error:
        raise ConfigError(
            f"cannot read the config file {path}: {error.strerror or error}",
            hint="Check the path given with --config.",
        ) from None


def _section(model: type[BaseModel], key: str) -> type[Section] | None:
    """The section that a key of `model` begins; None for a key with a value of its own."""
    default = model.model_fields[key].default
    return type(default) if isinstance(default, Section) else None


def _check_shape(
    layer: _Layer, tree: Mapping[str, object], model: type[BaseModel], path: Place
) -> None:
    """Sections are mappings, and all keys are known."""
    for key, value in tree.items():
        here = (*path, key)
        if key not in model.model_fields:
            about_keys = "key" in key.lower() or path[:1] == (CREDENTIALS,)
            hint = _KEY_HINT if about_keys else ""
            raise layer.problem(path, unknown_key(key, model.model_fields), at=here, hint=hint)
        section = _section(model, key)
        if isinstance(value, dict) and section:
            _check_shape(layer, value, section, here)
        elif section and value is not None:
            expected = f"a mapping with some of the keys {', '.join(section.model_fields)}"
            raise layer.problem(here, f"found {_shown(value, here)}, expected {expected}")
        elif not path and key in _LISTS:
            _check_entries(layer, value, key)


def _check_entries(layer: _Layer, value: object, key: str) -> None:
    """A list of mappings, each with the keys of its kind."""
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        path = (key, index) if isinstance(value, list) else (key,)
        if isinstance(value, list) and isinstance(item, dict):
            _check_shape(layer, item, _LISTS[key], path)
        else:
            expected = ", ".join(_LISTS[key].model_fields)
            raise layer.problem(
                path,
                f"found {_shown(item, path)}, expected a list of mappings with the keys {expected}",
                hint=_KEY_HINT if key == CREDENTIALS else "",
            )


def _merge(into: dict[str, Any], tree: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Lay `tree` over `into`: sections are merged key by key, everything else is replaced."""
    for key, value in tree.items():
        section = _section(model, key)
        if section is None:
            into[key] = value
        elif value is not None:  # an empty section changes nothing
            _merge(into.setdefault(key, {}), value, section)


class _Layer(ABC):
    """One source of settings: a tree, and words for a place in it."""

    tree: Mapping[str, Any]

    def says(self, path: Place) -> bool:
        """Whether this layer has a value at `path`."""
        node: Any = self.tree
        for key in path:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return False
        return True

    @abstractmethod
    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        """The error that tells of the setting at `path`, with its place in this layer.

        Args:
            path: the setting.
            message: what is wrong with it.
            at: its place, where that is another one (an unknown key in a section).
            hint: what to do about it.
        """


class _FlagLayer(_Layer):
    def __init__(self, flags: Sequence[Flag]) -> None:
        self._names = {flag.path: flag.name for flag in flags}
        self.tree = {}
        for flag in flags:
            section, key = flag.path
            self.tree.setdefault(section, {})[key] = flag.value

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        place = (at or path)[:2]
        name = next((name for path, name in self._names.items() if path[: len(place)] == place), "")
        return ConfigError(f"{name}: {message}", hint=hint)


class _EnvironmentLayer(_Layer):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._names: dict[tuple[str, ...], str] = {}
        for name in environ:
            _refuse_single_underscores(name)
            keys = _keys_of(name)
            if keys and keys[0] not in Settings.model_fields:
                raise ConfigError(
                    f"environment variable {name}: {unknown_key(keys[0], Settings.model_fields)}"
                )
            if keys and environ[name]:
                self._names[keys] = name
        self.tree = {}
        # A whole section as JSON first, then the keys that are given by themselves.
        for keys in sorted(self._names, key=len):
            _plant(self.tree, keys, _read(environ[self._names[keys]], keys))

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        place = tuple(str(key) for key in at or path)
        name = next(
            name for keys, name in self._names.items() if keys[: len(place)] == place[: len(keys)]
        )
        return ConfigError(f"environment variable {name}: {message}", hint=hint)


def _refuse_single_underscores(name: str) -> None:
    """Everybody's typo, which would be ignored silently: EXPORTER_OUTPUT_URL, EXPORTER_URL."""
    if not name.upper().startswith(ENV_PREFIX):
        return
    rest = name[len(ENV_PREFIX) :].lower()
    for section, key in _LEAVES:
        if rest in {key, f"{section}_{key}"}:
            meant = f"{ENV_PREFIX}{section}{ENV_DELIMITER}{key}".upper()
            raise ConfigError(f"environment variable {name} is no setting; did you mean {meant}?")


_LEAVES = [
    (section, key)
    for section, field in Settings.model_fields.items()
    if isinstance(field.default, BaseModel)
    for key in type(field.default).model_fields
]


def _keys_of(name: str) -> tuple[str, ...] | None:
    """The setting that an environment variable stands for; None where it is none of ours.

    Kubernetes sets EXPORTER_PORT and the like for a service of that name: they have no `__`.
    """
    if not name.upper().startswith(ENV_PREFIX):
        return None
    keys = tuple(name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER))
    return keys if len(keys) > 1 or keys[0] in _LISTS else None


def _plant(tree: dict[str, Any], keys: tuple[str, ...], value: object) -> None:
    *above, last = keys
    for key in above:
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below
    tree[last] = value


def _read(text: str, keys: tuple[str, ...]) -> object:
    """What an environment variable says. What has keys of its own is given as JSON.

    What is no JSON stays text, and is refused where the place of it is known.
    """
    if text == "null":
        return None
    if not _has_keys(keys):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _has_keys(keys: tuple[str, ...]) -> bool:
    model: type[BaseModel] = Settings
    for key in keys[:-1]:
        section = _section(model, key) if key in model.model_fields else None
        if section is None:
            return False
        model = section
    if keys[-1] not in model.model_fields:
        return False
    default = model.model_fields[keys[-1]].default
    return isinstance(default, Section | dict) or keys[-1] in _LISTS


class _DocumentLayer(_Layer):
    def __init__(self, document: yamldoc.Document) -> None:
        self._document = document
        tree = {} if document.value is None else document.value
        if not isinstance(tree, dict):
            keys = ", ".join(Settings.model_fields)
            raise ConfigError(
                f"found {_shown(tree, ())}, expected a mapping with some of the keys {keys}",
                location=document.location(()),
            )
        self.tree = tree

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        name = _dotted(path)
        return ConfigError(
            f"{name}: {message}" if name else message,
            location=self._document.location(at or path),
            hint=hint,
        )


def _explain(error: ErrorDetails, layers: Sequence[_Layer]) -> ConfigError:
    """A validation error in words, with the place that the value came from."""
    path: Place = tuple(error["loc"])
    context = error.get("ctx", {})
    cause, hint = context.get("error"), ""
    if isinstance(cause, RuleError):
        message, hint = str(cause), cause.hint
        path = (*path, *cause.key.split(".")) if cause.key else path
    else:
        value = error.get("input")
        expected = str(cause) if isinstance(cause, ExpectedError) else _expected(error, context)
        message = f"found {_shown(value, path)}{_meant(value, context)}, expected {expected}"
    while path:
        for layer in layers:
            if layer.says(path):
                return layer.problem(path, message, hint=hint)
        path = path[:-1]  # a rule between keys, of which only another one was given
    return ConfigError(message, hint=hint)


def _expected(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    if words := _words(context):
        return f"one of: {', '.join(words)}"
    template = _EXPECTED.get(error["type"])
    return template.format(**context) if template else str(error["msg"])


def _words(context: Mapping[str, Any]) -> list[str]:
    """The known words, of which the value is none."""
    return re.findall("'([^']*)'", str(context.get("expected", "")))


def _meant(value: object, context: Mapping[str, Any]) -> str:
    near = nearest(value, _words(context)) if isinstance(value, str) else None
    return f" (did you mean {near!r}?)" if near else ""


def _shown(value: object, path: Place) -> str:
    """A value in a message; never one where people put keys by mistake."""
    match value:
        case str():
            return "a text" if path[:1] == (CREDENTIALS,) else show(value)
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            return show(str(value))[1:-1]


def _dotted(path: Place) -> str:
    """`limits.concurrency`, `credentials[0].api_key_env`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")
