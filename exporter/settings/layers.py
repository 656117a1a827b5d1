"""Where settings come from, which of them wins, and how a wrong one is reported.

Precedence, highest first: flag, environment (`EXPORTER_LIMITS__CONCURRENCY=8`), `--config` file,
the manifest's `config`, default. Every layer is a tree of the same shape. Each is checked for
unknown keys by itself; then they are merged key by key, and an error names the layer and the place
that the bad value came from.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from exporter.errors import ConfigError, Location
from exporter.mistakes import Mistakes
from exporter.settings.sources import (
    LISTS,
    DocumentLayer,
    EnvironmentLayer,
    Flag,
    FlagLayer,
    Layer,
    read_config,
    section_of,
)
from exporter.settings.tree import Settings
from exporter.settings.words import CREDENTIALS, explained, shown
from exporter.yamldoc import unknown_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from exporter import yamldoc
    from exporter.settings.words import Place

_KEY_HINT = (
    "The API key itself is never written here: name the environment variable (api_key_env) or the"
    " file (api_key_file) that holds it."
)


def load_settings(
    *,
    flags: Sequence[Flag] = (),
    config_file: Path | None = None,
    manifest_config: yamldoc.Document | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """All layers as one checked value.

    Raises:
        ConfigError: names the layer, the place in it, what was found and what was expected; with
            the other mistakes, up to ten in all.
    """
    found = _Found()
    layers = _layers(flags, environ, config_file, manifest_config, found)
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _merge(merged, _Shape(layer, found).of_section(layer.tree, Settings, ()), Settings)
    settings = _validated(merged, layers, found)
    found.tell()
    return settings


class _Found:
    """The mistakes of all layers.

    Attributes:
        spoilt: places with unknown keys, or without any: as they are, no rule holds for them.
    """

    def __init__(self) -> None:
        self.spoilt: set[Place] = set()
        self._errors: list[ConfigError] = []

    def add(self, error: ConfigError) -> None:
        """One more."""
        self._errors.append(error)

    def tell(self) -> None:
        """Go on only if there are none.

        Raises:
            ConfigError: the first, with the others; those of one file in its order.
        """
        places = [error.location or Location("") for error in self._errors]
        sources = list(dict.fromkeys(place.source for place in places))
        order = [
            (sources.index(place.source), place.line or 0, place.column or 0) for place in places
        ]
        mistakes = Mistakes()
        with mistakes.told():
            for _, error in sorted(zip(order, self._errors, strict=True), key=lambda one: one[0]):
                mistakes.add(error)
            mistakes.check()


def _layers(
    flags: Sequence[Flag],
    environ: Mapping[str, str],
    config_file: Path | None,
    manifest_config: yamldoc.Document | None,
    found: _Found,
) -> list[Layer]:
    """All that can be read, the one that wins first."""
    layers: list[Layer] = [FlagLayer(flags), EnvironmentLayer(environ, found.add)]
    try:
        if config_file is not None:
            layers.append(DocumentLayer(read_config(config_file)))
        if manifest_config is not None:
            layers.append(DocumentLayer(manifest_config))
    except ConfigError as error:
        found.add(error)
    return layers


def _validated(merged: Mapping[str, Any], layers: Sequence[Layer], found: _Found) -> Settings:
    """The settings; where they are wrong, which is noted, the defaults."""
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        errors = error.errors()
        wrong = found.spoilt | {one["loc"] for one in errors}
        for one in errors:
            place = one["loc"]
            comes_from_below = any(each[: len(place)] == place for each in wrong - {place})
            if place not in found.spoilt and not comes_from_below:
                found.add(_blamed(*explained(one), layers))
        return Settings()


def _blamed(path: Place, message: str, hint: str, layers: Sequence[Layer]) -> ConfigError:
    """A mistake, with the place that the value came from."""
    while path:
        for layer in layers:
            if layer.says(path):
                return layer.problem(path, message, hint=hint)
        path = path[:-1]  # a rule between keys, of which only another one was given
    return ConfigError(message, hint=hint)


class _Shape:
    """Whether the sections of a layer are mappings, and all their keys known."""

    def __init__(self, layer: Layer, found: _Found) -> None:
        self._layer = layer
        self._found = found

    def of_section(
        self, tree: Mapping[str, object], model: type[BaseModel], path: Place
    ) -> dict[str, object]:
        """What is well in a section; what is not is noted, and left out."""
        good: dict[str, object] = {}
        for key, value in tree.items():
            here = (*path, key)
            if key not in model.model_fields:
                about_keys = "key" in key.lower() or path[:1] == (CREDENTIALS,)
                hint = _KEY_HINT if about_keys else ""
                self._note(path, unknown_key(key, model.model_fields), at=here, hint=hint)
                continue
            section = section_of(model, key)
            if isinstance(value, dict) and section:
                good[key] = self.of_section(value, section, here)
            elif section and value is not None:
                expected = f"a mapping with some of the keys {', '.join(section.model_fields)}"
                self._note(here, f"found {shown(value, here)}, expected {expected}")
            elif not path and key in LISTS:
                good[key] = self._of_list(value, key)
            else:
                good[key] = value
        return good

    def _of_list(self, value: object, key: str) -> object:
        """A list of mappings, each with the keys of its kind; what is no mapping becomes one."""
        if not isinstance(value, list):
            self._note_entry(value, (key,))
            return ()
        return [self._of_entry(item, (key, index)) for index, item in enumerate(value)]

    def _of_entry(self, item: object, path: tuple[str, int]) -> dict[str, object]:
        if isinstance(item, dict):
            return self.of_section(item, LISTS[path[0]], path)
        self._note_entry(item, path)
        return {}

    def _note_entry(self, value: object, path: tuple[str] | tuple[str, int]) -> None:
        expected = ", ".join(LISTS[path[0]].model_fields)
        self._note(
            path,
            f"found {shown(value, path)}, expected a list of mappings with the keys {expected}",
            hint=_KEY_HINT if path[0] == CREDENTIALS else "",
        )

    def _note(self, path: Place, message: str, *, at: Place | None = None, hint: str = "") -> None:
        self._found.spoilt.add(path)
        self._found.add(self._layer.problem(path, message, at=at, hint=hint))


def _merge(into: dict[str, Any], tree: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Lay `tree` over `into`: sections are merged key by key, everything else is replaced."""
    for key, value in tree.items():
        section = section_of(model, key)
        if section is None:
            into[key] = value
        elif value is not None:  # an empty section changes nothing
            _merge(into.setdefault(key, {}), value, section)
