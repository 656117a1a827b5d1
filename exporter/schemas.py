"""The JSON Schemas of the files that people write and read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporter.errors import UsageError
from exporter.model import Direction, Redaction
from exporter.partition import partition_schema
from exporter.results import results_schema
from exporter.settings import Settings
from exporter.yamldoc import nearest, show

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

# YAML reads digits alone as a number; the manifest's loader takes them as they are written.
_IDENTIFIER = {
    "type": ["string", "integer"],
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}$",
    "minimum": 0,
}
_TIME = {
    "type": ["string", "null"],
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.,]+ ?(?:[Zz]|[+-][0-9:]+)$",
    "examples": ["2026-05-21T22:14:03Z", "2026-05-21T22:14:03+02:00"],
}


def schema(name: str) -> str:
    """A schema as indented JSON text.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _SCHEMAS:
        near = nearest(name, _SCHEMAS)
        raise UsageError(
            f"there is no schema {show(name)}, expected one of: {', '.join(_SCHEMAS)}",
            hint=f"Did you mean {near}?" if near else "",
        )
    return json.dumps(_SCHEMAS[name](), indent=2)


def _config_schema() -> dict[str, Any]:
    return {"$schema": _DRAFT, **Settings.model_json_schema(), "title": "exporter config"}


def _manifest_schema() -> dict[str, Any]:
    """A YAML manifest, version 1. The order of its keys is beyond what a JSON Schema can say."""
    config = Settings.model_json_schema()
    shared = {
        "account_id": _described(_IDENTIFIER, "The account, as the API writes it."),
        "project_id": _described(_IDENTIFIER, "The project (the agent), as the API writes it."),
        "directions": _words(Direction, "Which sides of the call are heard."),
        "redaction": _words(Redaction, "Whether personal information is muted."),
    }
    entry = {
        "id": _described(_IDENTIFIER, "The conversation, as the API writes it."),
        "started_at": _described(_TIME, "When the call began, with an offset."),
        **shared,
    }
    return {
        "$schema": _DRAFT,
        "title": "exporter manifest",
        "description": "What to export. Everything else stands before the conversations.",
        "type": "object",
        "properties": {
            "version": {"enum": [1, "1"], "description": "Of this form of manifest."},
            "defaults": {
                "description": "What entries need not say themselves.",
                "type": ["object", "null"],
                "properties": shared,
                "additionalProperties": False,
            },
            "config": {
                "description": "How to export: any key of the config.",
                "anyOf": [{"$ref": "#/$defs/Settings"}, {"type": "null"}],
            },
            "conversations": {
                "type": "array",
                "items": {
                    "anyOf": [
                        _described(_IDENTIFIER, "Short form of {id: …}."),
                        {
                            "type": "object",
                            "properties": entry,
                            "required": ["id"],
                            "additionalProperties": False,
                        },
                    ]
                },
            },
        },
        "required": ["version", "conversations"],
        "additionalProperties": False,
        "$defs": {**config.pop("$defs"), "Settings": config},
    }


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


def _words(kind: type[Direction | Redaction], description: str) -> dict[str, Any]:
    """A list of words, or one word alone."""
    word = {"enum": [member.value for member in kind]}
    words = {"type": "array", "items": word, "minItems": 1, "maxItems": 100}
    return {"anyOf": [words, word, {"type": "null"}], "description": description}


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "config": _config_schema,
    "manifest": _manifest_schema,
    "partition": partition_schema,
    "results": results_schema,
}
