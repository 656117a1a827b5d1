"""The JSON Schemas of the files that people write and read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporter.errors import UsageError
from exporter.model import Direction, Redaction
from exporter.partition import partition_schema
from exporter.results import results_schema
from exporter.settings.described import settings_schema
from exporter.window import ClientEnv, QueryType, Sample
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
_TRUTH = {"enum": [True, False, "true", "false", None]}
_MOMENT = {
    "type": "string",
    "pattern": "^(?:today|yesterday|-[0-9]{1,5}d|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ].+)?)$",
    "examples": ["yesterday", "-3d", "2026-05-21", "2026-05-21T08:00:00Z"],
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
    return {"$schema": _DRAFT, **settings_schema(), "title": "exporter config"}


def _manifest_schema() -> dict[str, Any]:
    """A YAML manifest, version 1. The order of its keys is beyond what a JSON Schema can say."""
    config = settings_schema()
    shared = {
        "account_id": _described(_IDENTIFIER, "The account, as the API writes it."),
        "project_id": _described(_IDENTIFIER, "The project (the agent), as the API writes it."),
        "directions": _words(Direction, "Which sides of the call are heard."),
        "redaction": _words(Redaction, "Whether personal information is muted."),
    }
    entry = {
        "id": _described(_IDENTIFIER, "The conversation, as the API writes it."),
        "started_at": _described(_TIME, "When the call began, with an offset."),
        "in_progress": _described(_TRUTH, "The call had not ended when it was listed."),
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
            "discover": {
                "description": "What to look for in the list of conversations.",
                "type": "array",
                "maxItems": 1000,
                "items": {
                    "type": "object",
                    "properties": {**_query_keys(), **shared},
                    "required": ["from", "to"],
                    "additionalProperties": False,
                },
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
        "required": ["version"],
        "anyOf": [{"required": ["conversations"]}, {"required": ["discover"]}],
        "additionalProperties": False,
        "$defs": {**config.pop("$defs"), "Settings": config},
    }


def _query_keys() -> dict[str, Any]:
    """Of a query, those that entries do not have."""
    text = {"type": ["string", "null"]}
    plain = {"type": ["string", "integer"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}$"}
    channels = {"type": "array", "items": plain, "minItems": 1, "maxItems": 100}
    channel = {"anyOf": [channels, plain, {"type": "null"}]}
    return {
        "from": _described(_MOMENT, "The first moment of the window."),
        "to": _described(_MOMENT, "The first moment that does not belong to it any more."),
        "timezone": _described(text, "Of dates and times without an offset; an IANA name."),
        "client_env": _one_of(ClientEnv, "The environment; live when not given."),
        "channel": _described(channel, "Channels, or any; all voice channels when not given."),
        "include_in_progress": _described(_TRUTH, "Calls that have not ended, too."),
        "variant_id": _described({"anyOf": [plain, {"type": "null"}]}, "Of the agent."),
        "query_type": _one_of(QueryType, "How to look for `query`."),
        "query": _described({**text, "minLength": 1, "maxLength": 2000}, "What it is about."),
        "sample": _one_of(Sample, "Some of them instead of all."),
    }


def _one_of(kind: type[ClientEnv | QueryType | Sample], description: str) -> dict[str, Any]:
    return {"enum": [*(member.value for member in kind), None], "description": description}


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
