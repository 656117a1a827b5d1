"""Opens a manifest: which file, which format."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from exporter.errors import Location, ManifestError
from exporter.loader.from_csv import read_csv
from exporter.loader.from_jsonl import read_jsonl
from exporter.loader.from_yaml import YamlManifest
from exporter.yamldoc import TextSource, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.model import Conversation
    from exporter.window import Query
    from exporter.yamldoc import Document

STANDARD_INPUT = "-"


class ManifestFormat(StrEnum):
    """How a manifest is written."""

    YAML = "yaml"
    JSONL = "jsonl"
    CSV = "csv"


_FORMAT_OF_ENDING = {
    ".yaml": ManifestFormat.YAML,
    ".yml": ManifestFormat.YAML,
    ".jsonl": ManifestFormat.JSONL,
    ".ndjson": ManifestFormat.JSONL,
    ".csv": ManifestFormat.CSV,
}


class Manifest:
    """An opened manifest; a context manager that closes it.

    What stands before the conversations was read and checked when it was opened.

    Attributes:
        source: the path as given, or `<stdin>`.
        config: the value of the manifest's `config` key, or None.
    """

    def __init__(
        self, text: TextSource, manifest_format: ManifestFormat, close: Callable[[], None]
    ) -> None:
        self.source = text.name
        self.config: Document | None = None
        self._text = text
        self._close = close
        self._yaml: YamlManifest | None = None
        self._entries: Iterator[Conversation] | None
        if manifest_format is ManifestFormat.YAML:
            self._yaml = YamlManifest(text)
            self.config = self._yaml.config
            self._entries = self._yaml.conversations()
        elif manifest_format is ManifestFormat.JSONL:
            self._entries = read_jsonl(text)
        else:
            self._entries = read_csv(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file, if it was opened here."""
        self._close()

    @property
    def sha256(self) -> str | None:
        """The digest of all its bytes; None until `conversations` was read to its end."""
        return self._text.sha256

    @property
    def queries(self) -> list[Query]:
        """What to look for in the list; all of it when `conversations` was read to its end."""
        return self._yaml.queries if self._yaml else []

    def conversations(self) -> Iterator[Conversation]:
        """The conversations in the manifest's order, each made when it is asked for.

        To be called once: standard input cannot be read again.

        Raises:
            ManifestError: at the offending entry, when it is reached.
        """
        if self._entries is None:
            raise RuntimeError("the conversations of a manifest can be read once")
        entries, self._entries = self._entries, None
        return entries


def open_manifest(
    path: str,
    *,
    format: str | None = None,  # noqa: A002 - as the option is called
    stdin: BinaryIO | None = None,
) -> Manifest:
    """Opens a manifest and reads what stands before its conversations.

    Args:
        path: the file, or `-` for standard input.
        format: `yaml`, `jsonl` or `csv`; by default the file's ending tells, and standard input is
            YAML.
        stdin: standard input, where `path` is `-`; it is left open.

    Raises:
        ManifestError: the file cannot be opened, or what was read of it is wrong.
    """
    chosen = _format(path, format)
    if path == STANDARD_INPUT:
        if stdin is None:
            raise ManifestError("standard input is closed, expected a manifest")
        return Manifest(TextSource(stdin, "<stdin>", ManifestError), chosen, lambda: None)
    stream = _open(path)
    try:
        return Manifest(TextSource(stream, path, ManifestError), chosen, stream.close)
    except BaseException:
        stream.close()
        raise


def _format(path: str, wanted: str | None) -> ManifestFormat:
    known = ", ".join(ManifestFormat)
    if wanted is not None:
        try:
            return ManifestFormat(wanted)
        except ValueError as error:
            message = f"found the manifest format {show(wanted)}, expected one of: {known}"
            raise ManifestError(message) from error
    if path == STANDARD_INPUT:
        return ManifestFormat.YAML
    ending = Path(path).suffix.lower()
    if ending not in _FORMAT_OF_ENDING:
        if os.path.isdir(path):  # noqa: PTH112 (`Path.is_dir` raises where it may not look)
            raise ManifestError(
                "found a folder, expected a manifest",
                location=Location(path),
                hint="The manifest is named first; the archive is named with --output.",
            )
        found = f"the ending {show(ending)}" if ending else "no ending"
        raise ManifestError(
            f"found {found}, expected one of: {', '.join(_FORMAT_OF_ENDING)}",
            location=Location(path),
            hint=f"Rename the file, or say its format with --manifest-format: {known}.",
        )
    return _FORMAT_OF_ENDING[ending]


def _open(path: str) -> BinaryIO:
    try:
        # Unbuffered: `TextSource` reads in large pieces.
        return Path(path).open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "this is no file name"
        raise ManifestError(
            f"the manifest cannot be opened: {reason}",
            location=Location(path),
            hint="Is the name right, and may you read the file?",
        ) from error
