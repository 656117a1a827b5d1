"""YAML from users: small documents as plain values that remember where they stood.

Two users, one set of rules: `load` reads a config file, and the manifest's loader reads events of
any number through an `EventReader` and turns the small parts of them into documents.

The rules make any document harmless:

- Tags: only the plain ones (`!!str`, `!!int`, …). None makes an object or runs code.
- Aliases: only for a single value or for a list of single values, which is what YAML writers
  produce by themselves. Growth by aliases of aliases ("billion laughs") cannot be written down.
- No merge keys (`<<`), no duplicate keys, no second document; limited depth and size.
- A plain value is a number, true, false or null only if it is one in YAML 1.2 and cannot be meant
  otherwise: `no`, `0700`, `1:30` and `2026-05-21` stay text.

Modules: `text` (bytes → checked text), `events` (text → events, anchors), `document` (events →
values), `scalars` (which plain value is what), `syntax` (the parser's complaints in plain words).
"""

from exporter.yamldoc.document import Document, load, read_document
from exporter.yamldoc.events import EventReader
from exporter.yamldoc.text import TextSource, nearest, show, unknown_key

__all__ = [
    "Document",
    "EventReader",
    "TextSource",
    "load",
    "nearest",
    "read_document",
    "show",
    "unknown_key",
]
