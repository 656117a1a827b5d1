"""The documentation says what is so: its examples, its tables, its links and its commands."""

from __future__ import annotations

import csv
import io
import re
import shlex
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import pytest

from exporter.certificate import REASONS
from exporter.discovery import LeftOut
from exporter.errors import ManifestError
from exporter.layout import Layout, LayoutStyle, path_part
from exporter.loader.entry import ENTRY_KEYS
from exporter.loader.query import QUERY_KEYS
from exporter.plan import Choice, recordings
from exporter.results import (
    WindowCounts,
    WindowInfo,
)
from exporter.schemas import schema
from exporter.settings import (
    Settings,
    load_settings,
)
from tests.pages import (
    FENCE,
    MANIFEST,
    OPTIONS,
    PAGES,
    REFUSED,
    RESULTS,
    ROOT,
    blocks,
    code,
    commands,
    conversations,
    manifest_of,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


ENTRY_HEAD = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\nconversations:\n  - "


# Links and commands.


def slugs(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link points to a file of the repository, and to a heading that is in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[name])):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not heading or heading in slugs(target.read_text(encoding="utf-8")), link


def invocations(page: str) -> Iterator[list[str]]:
    """What follows `exporter` wherever the page shows how to call it."""
    spans = re.findall(r"`(exporter [^`\n]+)`", FENCE.sub("", page))
    files = [line for block in blocks(page, "ini") for line in block.splitlines()]
    for text in [*commands(page), *spans, *files]:
        words = shlex.shlex(text, posix=True, punctuation_chars="|&;<>()")
        words.whitespace_split = True
        words.commenters = "#"
        call: list[str] | None = None
        for word in [*words, ";"]:
            if re.fullmatch(r"[|&;<>()]+", word):
                yield from [call] if call else []
                call = None
            elif call is not None:
                call.append(word)
            elif Path(word.rpartition("=")[2]).name == "exporter":
                call = []


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_flags_exist(name: str) -> None:
    """Every call of `exporter` names a command that exists, and only flags of that command."""
    for command, *arguments in invocations(PAGES[name]):
        if command.startswith("-"):
            assert command in OPTIONS[""]
            continue
        assert command in OPTIONS, command
        flags = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert flags <= OPTIONS[command], (command, flags)
        if command == "schema" and arguments[0].islower():
            schema(arguments[0])


@pytest.mark.parametrize("name", PAGES)
def test_flags_in_the_text_exist(name: str) -> None:
    """Every flag that the text mentions by itself is a flag of some command."""
    known = set().union(*OPTIONS.values())
    for flag in re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", FENCE.sub("", PAGES[name])):
        assert flag in known, flag


@pytest.mark.parametrize("name", PAGES)
def test_environment_variables_are_settings(name: str) -> None:
    """Every `EXPORTER_…=value` of the documentation is accepted."""
    texts = [*commands(PAGES[name]), *re.findall(r"`(EXPORTER_[^`]+)`", PAGES[name])]
    for text in texts:
        for word in shlex.split(text):
            variable, equals, value = word.partition("=")
            if variable.startswith("EXPORTER_") and equals:
                assert load_settings(environ={variable: value}) != load_settings(environ={}), word


# The manifest.


@pytest.mark.parametrize("language", ["yaml", "jsonl", "csv"])
def test_manifest_examples(language: str) -> None:
    """Each example is read, or refused in the words that stand in it."""
    found = blocks(MANIFEST, language)
    assert found
    for text in found:
        refusal = REFUSED.search(text)
        if refusal is None:
            assert any(manifest_of(text, language))
            continue
        with pytest.raises(ManifestError, match=re.escape(refusal[1])):
            conversations(text.replace(refusal[0], "") if language == "csv" else text, language)


def test_the_queries_of_the_documentation() -> None:
    """What the pages show under `discover` is understood."""
    shown = [
        text for page in PAGES.values() for text in blocks(page, "yaml") if "discover:" in text
    ]
    assert len(shown) > 2
    for text in shown:
        assert manifest_of(text, "yaml")[1], text


def test_every_key_of_a_query_is_described() -> None:
    """The table of flags and keys has all keys of a query, and flags that the command has."""
    rows = table(PAGES["docs/discover.md"], "flag", "key in a manifest")
    assert [code(row[1])[0] for row in rows] == list(QUERY_KEYS)
    assert {flag for row in rows for flag in code(row[0])} <= OPTIONS["discover"]


def test_every_field_of_a_window_is_described() -> None:
    """The table has each field of `discovered`, and no others."""
    described = [name for row in table(RESULTS, "in `discovered`") for name in code(row[0])]
    fields = [field.encode_name for field in msgspec.structs.fields(WindowInfo)]
    assert described == fields
    (counts,) = (row[1] for row in table(RESULTS, "in `discovered`") if "`conversations`" in row[0])
    assert [word for word in code(counts) if word in WindowCounts.__struct_fields__] == list(
        WindowCounts.__struct_fields__
    )
    (reasons,) = (row[1] for row in table(RESULTS, "in `discovered`") if "`left_out`" in row[0])
    assert code(reasons) == [each.value for each in LeftOut] == list(REASONS)


def test_the_formats_say_the_same() -> None:
    """The first examples in YAML, JSON lines and CSV name the same conversations."""
    from_yaml, from_jsonl, from_csv = (
        conversations(blocks(MANIFEST, language)[0], language)
        for language in ("yaml", "jsonl", "csv")
    )
    assert from_yaml == from_jsonl == from_csv


def test_where_files_land() -> None:
    """The paths in the text are those of the first example, plain and in the hive layout."""
    choice = Choice(Settings().export.directions, Settings().export.redaction)
    asked = [
        each
        for one in conversations(blocks(MANIFEST, "yaml")[0])
        for each in recordings(one, choice)
    ]
    paths = {f"archive/{Layout(style).path(each)}" for style in LayoutStyle for each in asked}
    shown = {line for block in blocks(MANIFEST, "") for line in block.splitlines()}
    shown = {line for line in shown if line.startswith("archive/")}
    assert len(shown) > 3
    assert shown <= paths


def test_identifiers_as_folders() -> None:
    """The table of percent-encoded names is right."""
    rows = table(MANIFEST, "identifier", "folder")
    assert rows
    for identifier, folder in rows:
        assert [path_part(*code(identifier))] == code(folder)


def test_dates_of_folders() -> None:
    """The table of starts, time zones and dates is right."""
    rows = table(MANIFEST, "`started_at`", "time zone", "folder")
    assert len(rows) > 3
    for start, zone, folder in rows:
        moment = datetime.fromisoformat(*code(start)) if code(start) else None
        layout = Layout(timezone=ZoneInfo(code(zone)[0] if code(zone) else "UTC"))
        assert [layout.date(moment)] == code(folder)


def test_times() -> None:
    """Times are right or refused, as their table says."""
    rows = table(MANIFEST, "`started_at`", "is")
    assert len(rows) > 3
    for time, verdict in rows:
        text = f"{ENTRY_HEAD}{{id: CA01, started_at: '{code(time)[0]}'}}\n"
        if verdict.startswith("right"):
            (one,) = conversations(text)
            assert one.started_at is not None
        else:
            assert verdict.startswith("refused")
            with pytest.raises(ManifestError):
                conversations(text)


def test_refused_entries() -> None:
    """Each entry of the table of errors is refused in the words beside it."""
    rows = table(MANIFEST, "an entry such as", "is refused with")
    assert len(rows) > 5
    for entry, message, _ in rows:
        with pytest.raises(ManifestError, match=re.escape(code(message)[0])):
            conversations(f"{ENTRY_HEAD}{code(entry)[0]}\n")


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"\x1f\x8b\x08\x00", 0),
        (b"PK\x03\x04", 1),
        ("version: 1".encode("utf-16"), 2),
        (b"", 3),
        (b"version: 1\nconversations: ['" + b"x " * 1_000_000, 4),
        (b"version: 1\n", 5),
    ],
)
def test_refused_files(content: bytes, number: int) -> None:
    """The messages about whole files are the program's."""
    messages = [text for row in table(MANIFEST, "message", "means") for text in code(row[0])]
    assert len(messages) == 6
    with pytest.raises(ManifestError, match=re.escape(messages[number])):
        conversations(content)


def test_every_key_of_an_entry_is_described() -> None:
    """The table of keys has all keys of an entry, and no others."""
    described = [code(row[0])[0] for row in table(MANIFEST, "key", "required")]
    assert sorted(described) == sorted(ENTRY_KEYS)


def test_the_message_in_full_is_right() -> None:
    """The message that the text explains is the program's, place and hint included."""
    (shown,) = (block for block in blocks(MANIFEST, "") if block.startswith("error: "))
    text = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\nconversations:\n"
    text += "  - id: CA01\n    started_at: 2026-05-21T22:14:03\n"
    with pytest.raises(ManifestError) as caught:
        conversations(text)
    message = f"error: {caught.value}\nhint: {caught.value.hint}\n"
    pattern = re.escape(shown).replace("…", ".*")
    assert re.fullmatch(pattern, message.replace("<stdin>", "manifest.yaml"))


def test_a_database_makes_a_manifest() -> None:
    """SQLite's example gives columns and times that the loader takes."""
    (command,) = (each for each in commands(MANIFEST) if each.startswith("sqlite3"))
    query = shlex.split(command)[4]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE calls (call_sid, started_at)")
    database.execute("INSERT INTO calls VALUES ('CA01', '2026-05-21 22:14:03')")
    cursor = database.execute(query)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column[0] for column in cursor.description])
    writer.writerows(cursor)
    database.close()
    database.close()
    (one,) = conversations(text.getvalue(), "csv")
    assert one.conversation_id == "CA01"
    assert one.started_at == datetime.fromisoformat("2026-05-21T22:14:03Z")


def test_a_script_makes_a_manifest() -> None:
    """The Python example turns another table into JSON lines that the loader takes."""
    (script,) = blocks(MANIFEST, "python")
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="Call SID,Project,Start (UTC)\nCA01,PROJECT-A,2026-05-21 22:14:03\n",
        capture_output=True,
        text=True,
        check=True,
    )
    (one,) = conversations(done.stdout, "jsonl")
    assert one.started_at == datetime.fromisoformat("2026-05-21T22:14:03Z")
