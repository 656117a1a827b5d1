"""The job loader: a manifest (YAML, JSON lines or CSV) → a stream of conversations.

`open_manifest` knows the formats; each format is a module that turns its text into the same few
values per entry; `entry` alone decides whether they are right, and makes the `Conversation`.
An entry is forgotten as soon as the next one is asked for: a manifest may be of any length.
"""

from exporter.loader.manifest import Manifest, ManifestFormat, open_manifest

__all__ = ["Manifest", "ManifestFormat", "open_manifest"]
