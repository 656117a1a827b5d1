"""The config's JSON Schema, with the words that stand under each setting in the source.

Pydantic can read those words itself, at every start of the program: it would take longer than the
rest of the settings together, for a schema that is asked for once.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

from exporter.settings import tree


def settings_schema() -> dict[str, Any]:
    """Of a config file; a JSON Schema without `$schema` and title of its own."""
    schema = tree.Settings.model_json_schema()
    words = _words_by_class(inspect.getsource(tree))
    parts = {tree.Settings.__name__: schema, **schema["$defs"]}
    for name, part in parts.items():
        for key, described in words.get(name, {}).items():
            part["properties"][key]["description"] = described
    return schema


def _words_by_class(source: str) -> dict[str, dict[str, str]]:
    """By class and attribute: the text that follows the attribute."""
    return {
        node.name: {
            attribute.target.id: inspect.cleandoc(below.value.value)
            for attribute, below in zip(node.body, node.body[1:], strict=False)
            if isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        }
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }
