"""The documentation as data: blocks of code, tables, commands."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main
from msgspec.structs import replace

from exporter import cli
from exporter.loader import open_manifest
from exporter.settings import (
    load_settings,
)

if TYPE_CHECKING:
    from exporter.model import Conversation
    from exporter.window import Query

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
MANIFEST, CONFIG, RESULTS = (PAGES[f"docs/{name}.md"] for name in ("manifest", "config", "results"))
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REFUSED = re.compile(r"#\s*refused: (.+)$", re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(page) if found == language]


def commands(page: str) -> list[str]:
    """The commands of the console examples, each with its continuation lines."""
    found: list[str] = []
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line.removeprefix("$ "))
            elif found:
                found[-1] += f"\n{line}"
    return found


def table(page: str, *columns: str) -> list[list[str]]:
    """The rows of the table with this head; a head cell may be the beginning of the real one."""
    tables = re.findall(r"^(?:\|.*\|\n)+", page, re.MULTILINE)
    for text in tables:
        lines = (line[1:-1].split("|") for line in text.splitlines())
        head, _, *rows = [[cell.strip() for cell in line] for line in lines]
        if len(head) >= len(columns) and all(map(str.startswith, head, columns)):
            return rows
    raise AssertionError(f"there is no table {columns}")


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def manifest_of(content: str | bytes, form: str) -> tuple[list[Conversation], list[Query]]:
    """What a manifest names, without the places, and what it looks for."""
    raw = content.encode() if isinstance(content, str) else content
    with open_manifest("-", format=form, stdin=io.BytesIO(raw)) as manifest:
        load_settings(manifest_config=manifest.config, environ={})
        named = [replace(each, location=None) for each in manifest.conversations()]
        return named, manifest.queries


def conversations(content: str | bytes, form: str = "yaml") -> list[Conversation]:
    """The conversations that a manifest names, without the places that they were read from."""
    return manifest_of(content, form)[0]


def options() -> dict[str, set[str]]:
    """The flags of each command."""
    group: Any = typer.main.get_command(cli.app)
    found = {"": group, **group.commands}
    return {
        name: {"-h", "--help"}
        | {flag for each in command.params for flag in [*each.opts, *each.secondary_opts]}
        for name, command in found.items()
    }


OPTIONS = options()
