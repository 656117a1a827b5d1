"""The layers that settings come from: flags, environment, files. Each is a tree with its places."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pydantic import BaseModel

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.settings.tree import CredentialSettings, PolicySettings, Section, Settings
from exporter.settings.words import CREDENTIALS, Place, dotted, shown
from exporter.yamldoc import unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

ENV_PREFIX = "EXPORTER_"
ENV_DELIMITER = "__"
LISTS: Mapping[str, type[Section]] = {CREDENTIALS: CredentialSettings, "policies": PolicySettings}
OF_MANIFESTS: Final = ("version", "conversations", "defaults", "discover", "config")
"""The keys that a manifest begins with."""
_HEAD_BYTES: Final = 64 * 1024
_ENTRIES: Final = re.compile(rb"^conversations:", re.MULTILINE)
_MANIFEST_HINT = (
    "This seems to be a manifest, which says what to export: it is named without a flag. --config"
    " names a file that says how, and a manifest may have that itself, under 'config:'."
)


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


def section_of(model: type[BaseModel], key: str) -> type[Section] | None:
    """The section that a key of `model` begins; None for a key with a value of its own."""
    default = model.model_fields[key].default
    return type(default) if isinstance(default, Section) else None


class Layer(ABC):
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


class FlagLayer(Layer):
    """What was given on the command line."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._names = {flag.path: flag.name for flag in flags}
        self.tree = {}
        for flag in flags:
            section, key = flag.path
            self.tree.setdefault(section, {})[key] = flag.value

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        """Named by the flag."""
        place = (at or path)[:2]
        name = next((name for path, name in self._names.items() if path[: len(place)] == place), "")
        return ConfigError(f"{name}: {message}", hint=hint)


class EnvironmentLayer(Layer):
    """Environment variables; the names of wrong ones go to `refuse`."""

    def __init__(self, environ: Mapping[str, str], refuse: Callable[[ConfigError], None]) -> None:
        self._names: dict[tuple[str, ...], str] = {}
        for name in environ:
            keys = _keys_of(name)
            if meant := _with_double_underscores(name):
                message = f"environment variable {name} is no setting; did you mean {meant}?"
                refuse(ConfigError(message))
            elif keys and keys[0] not in Settings.model_fields:
                message = unknown_key(keys[0], Settings.model_fields)
                refuse(ConfigError(f"environment variable {name}: {message}"))
            elif keys and environ[name]:
                self._names[keys] = name
        self.tree = {}
        # A whole section as JSON first, then the keys that are given by themselves.
        for keys in sorted(self._names, key=len):
            _plant(self.tree, keys, _read(environ[self._names[keys]], keys))

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        """Named by the variable."""
        place = tuple(str(key) for key in at or path)
        name = next(
            name for keys, name in self._names.items() if keys[: len(place)] == place[: len(keys)]
        )
        return ConfigError(f"environment variable {name}: {message}", hint=hint)


def _with_double_underscores(name: str) -> str | None:
    """Everybody's typo, which would be ignored silently: EXPORTER_OUTPUT_URL, EXPORTER_URL."""
    if not name.upper().startswith(ENV_PREFIX):
        return None
    rest = name[len(ENV_PREFIX) :].lower()
    for section, key in _LEAVES:
        if rest in {key, f"{section}_{key}"}:
            return f"{ENV_PREFIX}{section}{ENV_DELIMITER}{key}".upper()
    return None


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
    return keys if len(keys) > 1 or keys[0] in LISTS else None


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
        section = section_of(model, key) if key in model.model_fields else None
        if section is None:
            return False
        model = section
    if keys[-1] not in model.model_fields:
        return False
    default = model.model_fields[keys[-1]].default
    return isinstance(default, Section | dict) or keys[-1] in LISTS


class DocumentLayer(Layer):
    """A config file, or a manifest's `config`."""

    def __init__(self, document: yamldoc.Document) -> None:
        self._document = document
        tree = {} if document.value is None else document.value
        if not isinstance(tree, dict):
            keys = ", ".join(Settings.model_fields)
            raise ConfigError(
                f"found {shown(tree, ())}, expected a mapping with some of the keys {keys}",
                location=document.location(()),
            )
        self.tree = tree

    def problem(
        self, path: Place, message: str, *, at: Place | None = None, hint: str = ""
    ) -> ConfigError:
        """With line and column."""
        name = dotted(path)
        return ConfigError(
            f"{name}: {message}" if name else message,
            location=self._document.location(at or path),
            hint=hint,
        )


def _load(stream: BinaryIO, name: str) -> yamldoc.Document:
    try:
        return yamldoc.load(stream, name)
    except ConfigError as error:
        # Too long for a config, most likely.
        if not error.hint and stream.seekable():
            stream.seek(0)
            if _ENTRIES.search(stream.read(_HEAD_BYTES)):
                error.hint = _MANIFEST_HINT
        raise


def read_config(path: Path) -> yamldoc.Document:
    """A config file.

    Raises:
        ConfigError: it cannot be read, is no YAML, or is a manifest.
    """
    try:
        with path.open("rb") as stream:
            document = _load(stream, str(path))
    except OSError as error:
        raise ConfigError(
            f"cannot read the config file {path}: {error.strerror or error}",
            hint="Check the path given with --config.",
        ) from None
    keys = document.value.keys() if isinstance(document.value, dict) else set[str]()
    strange = next((key for key in OF_MANIFESTS if key in keys), None)
    if strange is not None and not keys & Settings.model_fields.keys():
        raise ConfigError(
            unknown_key(strange, Settings.model_fields),
            location=document.location((strange,)),
            hint=_MANIFEST_HINT,
        )
    return document
