"""The JSON Schemas of the files that people write and read."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from exporter.errors import UsageError
from exporter.partition import partition_schema
from exporter.results import results_schema
from exporter.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> str:
    """A schema as indented JSON text.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _SCHEMAS:
        near = difflib.get_close_matches(name, _SCHEMAS, n=1)
        raise UsageError(
            f"there is no schema {name!r}",
            hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(_SCHEMAS)}",
        )
    return json.dumps(_SCHEMAS[name](), indent=2)


def _config_schema() -> dict[str, Any]:
    return {"$schema": _DRAFT, **Settings.model_json_schema(), "title": "exporter config"}


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "config": _config_schema,
    "partition": partition_schema,
    "results": results_schema,
}
