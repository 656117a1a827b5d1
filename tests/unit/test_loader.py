"""The job loader: three formats, one set of rules, constant memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter
from exporter.errors import Location, ManifestError
from exporter.loader import Manifest, ManifestFormat, open_manifest
from exporter.model import Conversation, Direction, Redaction

# A busy machine is no failure.
unhurried = settings(deadline=None)

HEAD = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\nconversations:\n"
NIGHT = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)


def opened(content: bytes | str, form: str | None = None) -> Manifest:
    raw = content.encode() if isinstance(content, str) else content
    return open_manifest("-", format=form, stdin=io.BytesIO(raw))


def loaded(content: bytes | str, form: str | None = None) -> list[Conversation]:
    with opened(content, form) as manifest:
        return list(manifest.conversations())


def refusal(content: bytes | str, form: str | None = None) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        loaded(content, form)
    assert caught.value.exit_code == 2
    return caught.value


def one(entry: str) -> Conversation:
    (conversation,) = loaded(f"{HEAD}  - {entry}\n")
    return conversation


def test_a_manifest_names_conversations() -> None:
    """The documented example loads: mappings, flow mappings and short forms, with defaults."""
    manifest = """\
version: 1
defaults:                       # for all
  account_id: ws-fd112d8f
  project_id: PROJECT-58RP822I
  directions: [combined]
conversations:
  - id: CAabcd1234567abcdef1250065d4fc7389
    started_at: 2026-05-21T22:14:03Z
  - {id: CA02, started_at: 2026-05-22T08:00:00+02:00, directions: [user, agent],
     redaction: [redacted, raw], account_id: ws-2}
  - CA03
"""
    assert loaded(manifest) == [
        Conversation(
            "ws-fd112d8f",
            "PROJECT-58RP822I",
            "CAabcd1234567abcdef1250065d4fc7389",
            started_at=NIGHT,
            directions=(Direction.COMBINED,),
            location=Location("<stdin>", 7, 5),
        ),
        Conversation(
            "ws-2",
            "PROJECT-58RP822I",
            "CA02",
            started_at=datetime(2026, 5, 22, 6, tzinfo=UTC),
            directions=(Direction.USER, Direction.AGENT),
            redaction=(Redaction.REDACTED, Redaction.RAW),
            location=Location("<stdin>", 9, 5),
        ),
        Conversation(
            "ws-fd112d8f",
            "PROJECT-58RP822I",
            "CA03",
            directions=(Direction.COMBINED,),
            location=Location("<stdin>", 11, 5),
        ),
    ]


def test_json_lines_name_conversations() -> None:
    """One object a line; blank lines and Windows' line ends do no harm."""
    text = (
        '{"id": "C1", "account_id": "a", "project_id": "p", "started_at": null}\r\n\n'
        '{"project_id":"p","account_id":"a","id":"C2","started_at":"2026-05-21T22:14:03Z",'
        '"directions":["user","user"],"redaction":"raw"}'
    )
    assert loaded(text, "jsonl") == [
        Conversation("a", "p", "C1", location=Location("<stdin>", 1, 1)),
        Conversation(
            "a",
            "p",
            "C2",
            started_at=NIGHT,
            directions=(Direction.USER,),
            redaction=(Redaction.RAW,),
            location=Location("<stdin>", 3, 1),
        ),
    ]


def test_a_csv_file_names_conversations() -> None:
    """Columns in any order; empty cells are not given; a spreadsheet's empty rows are skipped."""
    text = (
        "\ufeffaccount_id, id ,project_id,directions,redaction,started_at\r\n"
        'a,"C1",p,,,\r\n'
        "\r\n"
        ",,,,,\r\n"
        "a,C2,p,user | agent,raw,2026-05-21T22:14:03Z\r\n"
    )
    assert loaded(text, "csv") == [
        Conversation("a", "p", "C1", location=Location("<stdin>", 2, 1)),
        Conversation(
            "a",
            "p",
            "C2",
            started_at=NIGHT,
            directions=(Direction.USER, Direction.AGENT),
            redaction=(Redaction.RAW,),
            location=Location("<stdin>", 5, 1),
        ),
    ]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("version: 1\nconversations: []\n", "yaml"),
        ("---\nversion: 1\nconfig:\ndefaults:\nconversations: []\n...\n", "yaml"),
        ('{"version": "1", "conversations": []}', "yaml"),
        ("id,account_id,project_id\n", "csv"),
    ],
)
def test_an_empty_job_is_a_job(content: str, form: str) -> None:
    """No conversation is a right answer to a question; an empty file is none."""
    assert loaded(content, form) == []


@pytest.mark.parametrize(
    "identifier",
    [
        *("00123", "yes", "1e5", "0x1F", "2026-05-21", "1:30", "True", "NaN", "1_000", "3.10"),
        *("CA@x+y=z", "a.b..c-_", "x" * 200),
    ],
)
def test_identifiers_keep_their_text(identifier: str) -> None:
    """What looks like a number, a truth value or a date to YAML is text here."""
    assert one(identifier).conversation_id == identifier
    assert one(f"{{id: {identifier}, account_id: {identifier}}}").account_id == identifier


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-05-21T22:14:03Z", NIGHT),
        ("2026-05-21t22:14:03z", NIGHT),
        ("2026-05-21 22:14:03 +00:00", NIGHT),
        ("2026-05-22 00:14:03+02:00", NIGHT),
        ("2026-05-22T00:14:03+0200", NIGHT),
        ("2026-05-22T00:14:03+02", NIGHT),
        ("2026-05-21T17:14:03-05:00", NIGHT),
        ("2026-05-21T22:14Z", NIGHT.replace(second=0)),
        ("2026-05-21T22:14:03.5Z", NIGHT.replace(microsecond=500_000)),
        ("2026-05-21T22:14:03,123456789Z", NIGHT.replace(microsecond=123_456)),
    ],
)
def test_a_time_with_an_offset_is_an_instant(written: str, time: datetime) -> None:
    """ISO 8601 in its usual variants, kept as UTC."""
    started_at = one(f"{{id: C, started_at: '{written}'}}").started_at
    assert started_at == time
    assert started_at is not None
    assert started_at.tzinfo is UTC


@pytest.mark.parametrize(
    "value", ["[user, agent]", "[user, user, agent, user]", "\n     - user\n     - 'agent'\n"]
)
def test_directions_are_distinct_and_in_order(value: str) -> None:
    """A list names each direction once, whatever its style; the order is kept."""
    assert one(f"id: C\n    directions: {value}").directions == (Direction.USER, Direction.AGENT)


def test_one_word_is_a_list_of_one() -> None:
    """`directions: user` and `redaction: raw` mean the lists of that word."""
    conversation = one("{id: C, directions: user, redaction: raw}")
    assert conversation.directions == (Direction.USER,)
    assert conversation.redaction == (Redaction.RAW,)


def test_an_entry_may_leave_out_what_it_does_not_know() -> None:
    """A null is not given: the default or nothing applies."""
    conversation = one("{id: C, started_at: ~, directions: null, redaction: }")
    assert (conversation.started_at, conversation.directions, conversation.redaction) == (None,) * 3


def test_what_a_yaml_writer_shares_is_understood() -> None:
    """PyYAML writes aliases for a list or a time that stands twice; they load as written out."""
    directions = ["user", "agent"]
    entries = [{"id": f"C{n}", "started_at": NIGHT, "directions": directions} for n in range(3)]
    text = HEAD.removesuffix("conversations:\n") + yaml.safe_dump({"conversations": entries})
    assert "*id001" in text
    assert "*id002" in text
    assert {c.started_at for c in loaded(text)} == {NIGHT}
    assert {c.directions for c in loaded(text)} == {(Direction.USER, Direction.AGENT)}


def test_the_config_is_known_before_the_conversations() -> None:
    """A manifest's `config` is a document with its own places, there when the file is opened."""
    text = "version: 1\nconfig:\n  output: {url: ./archive}\nconversations: [\n"
    with opened(text) as manifest:
        assert manifest.config is not None
        assert manifest.config.value == {"output": {"url": "./archive"}}
        assert manifest.config.location(("output", "url")) == Location("<stdin>", 3, 12)
        with pytest.raises(ManifestError):
            list(manifest.conversations())


def test_a_manifest_without_config_has_none() -> None:
    """No config and an empty one are the same."""
    with opened("version: 1\nconfig:\nconversations: []\n") as manifest:
        assert manifest.config is None


def test_entries_are_read_as_they_are_asked_for() -> None:
    """The first conversations arrive though the tenth thousandth is broken."""
    text = HEAD + "".join(f"  - C{n}\n" for n in range(10_000)) + "  - ../etc\n"
    with opened(text) as manifest:
        conversations = manifest.conversations()
        assert next(conversations).conversation_id == "C0"
        with pytest.raises(ManifestError, match=r":10004:5: id: found '\.\./etc'"):
            list(conversations)


ENTRY = '{"id":"C","account_id":"a","project_id":"p"}\n'


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (f"\ufeff{HEAD}  - C1\n\n# the end\n", "yaml"),
        (ENTRY * 3, "jsonl"),
        ("id,account_id,project_id\nC,a,p\n", "csv"),
    ],
)
def test_the_digest_is_of_every_byte(content: str, form: str) -> None:
    """The manifest's SHA-256 is the file's, and there only once the end was seen."""
    with opened(content, form) as manifest:
        assert manifest.sha256 is None
        assert len(list(manifest.conversations())) > 0
        assert manifest.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_conversations_are_read_once() -> None:
    """A second reading would silently be empty, so it is a bug that shows."""
    with opened(HEAD + "  - C1\n") as manifest:
        manifest.conversations()
        with pytest.raises(RuntimeError, match="once"):
            manifest.conversations()


# Which file.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("jobs.yaml", HEAD + "  - C1\n"),
        ("jobs.YML", HEAD + "  - C1\n"),
        ("jobs.jsonl", ENTRY),
        ("jobs.ndjson", ENTRY),
        ("jobs.csv", "id,account_id,project_id\nC,a,p\n"),
    ],
)
def test_the_ending_tells_the_format(tmp_path: Path, name: str, content: str) -> None:
    """Each known ending is read as what it says, and places name the file."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with open_manifest(str(path)) as manifest:
        (conversation,) = manifest.conversations()
        assert manifest.source == str(path)
        assert conversation.location is not None
        assert conversation.location.source == str(path)


def test_the_option_overrides_the_ending(tmp_path: Path) -> None:
    """`--manifest-format` wins over the file's name."""
    path = tmp_path / "jobs.txt"
    path.write_text(ENTRY, encoding="utf-8")
    with open_manifest(str(path), format=ManifestFormat.JSONL) as manifest:
        assert len(list(manifest.conversations())) == 1


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("missing.yaml", None, "missing.yaml: the manifest cannot be opened: No such file"),
        ("folder.yaml", None, "folder.yaml: the manifest cannot be opened: Is a directory"),
        ("a\0b.yaml", None, "cannot be opened: this is no file name"),
        ("jobs.txt", None, "jobs.txt: found the ending '.txt', expected one of: .yaml, .yml"),
        ("jobs", None, "jobs: found no ending, expected one of: .yaml"),
        ("jobs.yaml", "xml", "the manifest format 'xml', expected one of: yaml, jsonl, csv"),
    ],
)
def test_a_file_that_cannot_be_opened_is_explained(
    tmp_path: Path, name: str, form: str | None, expected: str
) -> None:
    """Missing, a folder, an unknown ending or format: one sentence that says which."""
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ManifestError) as caught:
        open_manifest(f"{tmp_path}/{name}", format=form)
    assert expected in str(caught.value)
    if "ending" in expected:
        assert "--manifest-format" in caught.value.hint


def test_closed_standard_input_is_explained() -> None:
    """`-` without standard input says so."""
    with pytest.raises(ManifestError, match="standard input is closed"):
        open_manifest("-")


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    """An open file left behind would be a warning, and warnings fail this test suite."""
    path = tmp_path / "jobs.yaml"
    path.write_text("version: 2\n", encoding="utf-8")
    with pytest.raises(ManifestError):
        open_manifest(str(path))


# Bad manifests: text, place, words of the message, words of the hint.

CONFIG_BOMB = "version: 1\nconfig:\n  a: &a [lol, lol]\n  b: &b [*a, *a]\n  c: &c [*b, *b]\n"
RULE = "expected an identifier: 1 to 200 of the letters"
TIME_RULE = "expected a time such as 2026-05-21T22:14:03Z"

BAD_HEADS: dict[str, tuple[str | bytes, str, str, str]] = {
    "empty": ("", "", "an empty file, expected a manifest", "version: 1"),
    "comments only": ("# nothing\n\n", "", "an empty file", "version: 1"),
    "no value": ("---\n", ":2:1", "found nothing, expected a manifest", "version: 1"),
    "a list": ("- CA1\n", ":1:1", "found a list, expected a manifest", "version: 1"),
    "a text": ("hello\n", ":1:1", "found 'hello', expected a manifest", "version: 1"),
    "no version": ("conversations: []\n", ":1:1", "'version' is missing", "version: 1"),
    "late version": ("conversations: []\nversion: 1\n", ":1:1", "before 'conversations'", ""),
    "wrong version": ("version: 2\n", ":1:10", "version: found '2', expected 1", "version 1"),
    "version of a wrong type": ("version: [1]\n", ":1:10", "found a list, expected 1", ""),
    "version with a tag": ("version: !x 1\n", ":1:10", "found the tag '!x'", "remove it"),
    "no conversations": ("version: 1\n", ":1:1", "'conversations' is missing", "version: 1"),
    "null conversations": ("version: 1\nconversations:\n", ":2:15", "found nothing", "write []"),
    "mapping of conversations": (
        "version: 1\nconversations: {a: b}\n",
        ":2:16",
        "found a mapping, expected a list of entries",
        "'- '",
    ),
    "unknown key": (
        "version: 1\nconversation: []\n",
        ":2:1",
        "unknown key 'conversation' (did you mean 'conversations'?)",
        "",
    ),
    "key twice": ("version: 1\nversion: 1\n", ":2:1", "key 'version' twice", ""),
    "key of a wrong type": ("[a]: 1\n", ":1:1", "found a list, expected a key", ""),
    "defaults after discover": (
        "version: 1\ndiscover: []\ndefaults: {account_id: a}\nconversations: []\n",
        ":3:1",
        "found 'defaults' after 'discover', expected it before",
        "Move 'defaults' up",
    ),
    "mapping of queries": (
        "version: 1\ndiscover: {from: yesterday}\n",
        ":2:11",
        "discover: found a mapping, expected a list of queries",
        "'- '",
    ),
    "query of a wrong type": (
        "version: 1\ndiscover: [yesterday]\n",
        ":2:12",
        "found 'yesterday', expected a query: a mapping",
        "",
    ),
    "defaults after conversations": (
        HEAD.replace("defaults", "config").replace("account_id: ws-1, project_id: P-1", "")
        + "  - {id: C, account_id: a, project_id: p}\ndefaults: {directions: [user]}\n",
        ":5:1",
        "found 'defaults' after 'conversations', expected it before",
        "Move 'defaults' up",
    ),
    "config after conversations": (
        "version: 1\nconversations: []\nconfig: {}\n",
        ":3:1",
        "found 'config' after 'conversations', expected it before",
        "Move 'config' up",
    ),
    "unknown key after": ("version: 1\nconversations: []\nx: 1\n", ":3:1", "unknown key 'x'", ""),
    "second document": ("version: 1\nconversations: []\n---\n", ":3:1", "a second YAML doc", ""),
    "list of defaults": ("version: 1\ndefaults: [x]\n", ":2:11", "defaults: found a list", ""),
    "id as default": ("version: 1\ndefaults: {id: x}\n", ":2:12", "the unknown key 'id'", ""),
    "null default": (
        "version: 1\ndefaults: {account_id: }\n",
        ":2:24",
        "account_id is missing: found nothing",
        "remove the key",
    ),
    "bad default identifier": (
        "version: 1\ndefaults:\n  project_id: a/b\n",
        ":3:15",
        "project_id: found 'a/b' with the character '/'",
        "",
    ),
    "bad default direction": (
        "version: 1\ndefaults: {directions: [user, both]}\n",
        ":2:31",
        "directions: found 'both', expected a list of combined, user, agent",
        "",
    ),
    "list as config": ("version: 1\nconfig: [x]\n", ":2:9", "config: found a list", ""),
    "key twice in config": ("version: 1\nconfig: {a: 1, a: 2}\n", ":2:16", "'a' twice", ""),
    "alias bomb": (CONFIG_BOMB, ":5:10", "the alias '*b'", "Write the value out"),
    "deep nesting": ("[" * 100_000, ":1:1", "found a list", ""),
    "deep mappings": ("{a: " * 100_000, ":1:2", "the unknown key 'a'", ""),
    "deep config": ("version: 1\nconfig: " + "[" * 100_000, ":2:42", "32 levels of nesting", ""),
    "python tag": ("!!python/object:os.system {}", ":1:1", "'!!python/object:os.system'", ""),
    "tab": ("version: 1\nconversations:\n\t- C\n", ":3:1", "tab", "spaces"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00", ":1:1", "the byte 0x89", "right file"),
    "zeros": (b"\x00" * 100, ":1:1", "U+0000", "right file"),
    "gzip": (b"\x1f\x8b\x08\x00\x00", "", "found a gzip file", "Unpack"),
    "utf-16": (HEAD.encode("utf-16"), "", "UTF-16", "Save the file as UTF-8"),
}

BAD_ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "unknown key": (
        "{id: C, strated_at: x}",
        ":4:13",
        "unknown key 'strated_at' (did you mean 'started_at'?), expected one of: id, started_at",
        "",
    ),
    "another tool's key": ("{conversation_id: C}", ":4:6", "(did you mean 'id'?)", ""),
    "key twice": ("{id: C, id: D}", ":4:13", "key 'id' twice", ""),
    "key with a tag": ("{!!str id: C}", ":4:6", "'id' with a tag", ""),
    "key of a wrong type": ("{[id]: C}", ":4:6", "found a list, expected a key", ""),
    "merge key": ("{<<: *x, id: C}", ":4:6", "unknown key '<<'", "'defaults'"),
    "list as entry": ("[CA1]", ":4:5", "found a list, expected an entry", ""),
    "empty entry": ("", ":4:4", "found an empty entry", ""),
    "empty text": ("''", ":4:5", "id: found an empty text", ""),
    "alias as entry": ("*x", ":4:5", "found the alias '*x', expected an entry", ""),
    "no id": ("{started_at: 2026-05-21T22:14:03Z}", ":4:5", "id is missing", ""),
    "null id": ("id: ", ":4:8", "id is missing: found nothing", "after 'id:'"),
    "null account": ("{id: C, account_id: ~}", ":4:25", "account_id is missing", "remove the key"),
    "list as id": ("{id: [C]}", ":4:10", "id: found a list, expected a single value", ""),
    "mapping as id": ("{id: {a: b}}", ":4:10", "id: found a mapping, expected a single", ""),
    "path": ("../../etc/passwd", ":4:5", f"'../../etc/passwd' with the character '/', {RULE}", ""),
    "backslash": ("'a\\b'", ":4:5", "with the character '\\\\'", ""),
    "dots": ("..", ":4:5", "id: found '..', which begins with '.'", ""),
    "dot": (".", ":4:5", "id: found '.', which begins with '.'", ""),
    "dash": ("{id: -a}", ":4:10", "which begins with '-'", ""),
    "space": ("a b", ":4:5", "id: found 'a b' with a space", ""),
    "line end": ('"a\\n"', ":4:5", r"found 'a\n' with the invisible character U+000A", ""),
    "zero": ('"a\\0"', ":4:5", r"found 'a\x00' with the invisible character U+0000", ""),
    "escape": ('"a\\e[31m"', ":4:5", r"found 'a\x1b[31m' with the invisible character U+001B", ""),
    "right to left": ('"a\\u202eb"', ":4:5", "the invisible character U+202E", ""),
    "not ascii": ("CAé", ":4:5", "with the character 'é' (U+00E9), which is not ASCII", ""),
    "fullwidth digit": ("CA\uff11", ":4:5", "(U+FF11), which is not ASCII", ""),
    "too long": ("x" * 201, ":4:5", "id: found 201 characters ('xxx", ""),
    "naive time": (
        "{id: C, started_at: 2026-05-21T22:14:03}",
        ":4:25",
        f"started_at: found '2026-05-21T22:14:03' without an offset, {TIME_RULE}",
        "Add 'Z'",
    ),
    "date": ("{id: C, started_at: 2026-05-21}", ":4:25", "without a time of day", "remove"),
    "not iso": ("{id: C, started_at: 21/05/2026 22:14}", ":4:25", TIME_RULE, ""),
    "week date": ("{id: C, started_at: 2026-W21-4T00:00:00Z}", ":4:25", TIME_RULE, ""),
    "no such day": ("{id: C, started_at: 2026-02-30T00:00:00Z}", ":4:25", "not in the calen", ""),
    "no such hour": ("{id: C, started_at: '2026-02-20T24:00:00Z'}", ":4:25", TIME_RULE, ""),
    "leap second": ("{id: C, started_at: 2016-12-31T23:59:60Z}", ":4:25", "leap second", "59"),
    "year one": ("{id: C, started_at: 0001-01-01T00:00:00+14:00}", ":4:25", "the year 0001", ""),
    "last year": ("{id: C, started_at: 9999-12-31T23:59:59-14:00}", ":4:25", "year 9999", ""),
    "empty time": ("{id: C, started_at: ''}", ":4:25", "started_at: found '', expected", ""),
    "list as time": ("{id: C, started_at: [x]}", ":4:25", "found a list, expected a single", ""),
    "no direction": ("{id: C, directions: []}", ":4:25", "an empty list", "Remove 'directions'"),
    "direction": ("{id: C, directions: [user, Agent]}", ":4:32", "(did you mean 'agent'?)", ""),
    "redaction": ("{id: C, redaction: none}", ":4:24", "expected a list of redacted, raw", ""),
    "null word": ("{id: C, redaction: [raw, ~]}", ":4:30", "redaction: found '~'", ""),
    "nested words": ("{id: C, directions: [[user]]}", ":4:26", "found a list, expected a wo", ""),
    "mapped words": ("{id: C, directions: {a: b}}", ":4:25", "a mapping, expected a list", ""),
    "many words": (f"{{id: C, directions: [{'user,' * 200}]}}", ":4:526", "more than 100", ""),
    "unknown alias": ("{id: *c}", ":4:10", "alias '*c', expected its anchor", ""),
    "alias of an entry": ("&e {id: C, directions: *e}", ":4:28", "alias '*e' of a mapping", ""),
    "deep nesting": ("[" * 100_000, ":4:5", "found a list", ""),
    "deep value": ("{id: " + "[" * 100_000, ":4:10", "found a list", ""),
    "deep words": ("{directions: " + "[" * 100_000, ":4:19", "found a list, expected a word", ""),
    "python tag": ("!!python/object/apply:os.system [x]", ":4:5", "'!!python/object/ap", "code"),
    "python name": ("{id: !!python/name:os.system x}", ":4:10", "'!!python/name:os.sys", "code"),
    "python key": ("{!!python/name:x id: C}", ":4:6", "'!!python/name:x'", "code"),
    "tag in words": ("{id: C, directions: [!x user]}", ":4:26", "'!x'", "remove"),
    "binary tag": ("!!binary aGVsbG8=", ":4:5", "'!!binary'", "remove"),
    "endless text": ("'" + "x " * 1_000_000, ":4", "more than 1024 KiB without an end", ""),
    "open bracket": ("{id: C\n  - D\n", ":4:5", "opened with '{'", "Close"),
    "missing space": ("C1\n  -C2\n", ":5:3", "a line without a ':'", "a space after '-'"),
    "bad indent": ("C1\n   - C2\n", ":4:5", "found 'C1 - C2' with a space", ""),
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_a_bad_manifest_is_refused(case: str) -> None:
    """The place, what was found, what was expected, and where it helps what to do."""
    content, place, message, hint = BAD_HEADS[case]
    error = refusal(content)
    assert str(error).startswith(f"<stdin>{place}: ")
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_is_refused(case: str) -> None:
    """Likewise for an entry; the message is short and safe to print."""
    entry, place, message, hint = BAD_ENTRIES[case]
    error = refusal(f"{HEAD}  - {entry}\n")
    assert str(error).startswith(f"<stdin>{place}: ")
    assert message in error.message
    assert hint in error.hint
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize(("key", "head"), [("account_id", "{}"), ("project_id", "{account_id: a}")])
def test_a_conversation_needs_an_account_and_a_project(key: str, head: str) -> None:
    """Neither on the entry nor under the defaults: the message says where they may stand."""
    error = refusal(f"version: 1\ndefaults: {head}\nconversations:\n  - C1\n")
    assert str(error).startswith(f"<stdin>:4:5: {key} is missing")
    assert "'defaults'" in error.hint


def test_the_second_of_two_definitions_of_an_anchor_counts() -> None:
    """An anchor may be given anew, as YAML allows; a harmful one hides no good one."""
    text = "  - {id: &a C1}\n  - {id: &a C2}\n  - {id: *a}\n  - &a {id: C3}\n  - {id: *a}\n"
    error = refusal(HEAD + text)
    assert str(error).startswith("<stdin>:8:10: found the alias '*a' of a mapping")


BAD_LINES: dict[str, tuple[str, str, str]] = {
    "empty": ("", "", "an empty file, expected one conversation a line"),
    "blank": ("\n \n", "", "an empty file"),
    "short form": ('"C1"', ":1:1", "found 'C1', expected an object"),
    "list": ("[]", ":1:1", "found a list, expected an object"),
    "truth": ("true", ":1:1", "found true, expected an object"),
    "number": ("12", ":1:1", "found the number 12, expected an object"),
    "cut": ('{"id": "C', ":1:8", "not valid JSON: Unterminated string"),
    "two objects": (ENTRY[:-1] + ENTRY, ":1:45", "not valid JSON: Extra data"),
    "yaml": (HEAD, ":1:1", "not valid JSON"),
    "head": ('{"version": 1}', ":1:2", "unknown key 'version'"),
    "unknown key": (
        ENTRY + ENTRY.replace("}", ',"strated_at":"x"}'),
        ":2:45",
        "unknown key 'strated_at' (did you mean 'started_at'?)",
    ),
    "key twice": (ENTRY.replace("}", ',"id":"D"}'), ":1:45", "key 'id' twice"),
    "key twice, escaped": (ENTRY.replace("}", ',"\\u0069d":"D"}'), ":1:2", "key 'id' twice"),
    "no account": ('{"id": "C"}', ":1:1", "account_id is missing"),
    "null id": (ENTRY.replace('"C"', "null"), ":1:2", "id is missing: found nothing"),
    "number as id": (
        ENTRY.replace('"C"', "1.5"),
        ":1:2",
        "id: found the number 1.5, expected text",
    ),
    "huge number": (ENTRY.replace('"C"', "9" * 400), ":1:2", "id: found the number 999"),
    "object as id": (ENTRY.replace('"C"', "{}"), ":1:2", "id: found an object, expected text"),
    "naive time": (ENTRY.replace("}", ',"started_at":"2026-05-21T22:14:03"}'), ":1:45", "offset"),
    "empty time": (ENTRY.replace("}", ',"started_at":""}'), ":1:45", TIME_RULE),
    "no direction": (ENTRY.replace("}", ',"directions":[]}'), ":1:45", "an empty list"),
    "direction": (ENTRY.replace("}", ',"directions":["x"]}'), ":1:45", "directions: found 'x'"),
    "number in words": (ENTRY.replace("}", ',"redaction":[1]}'), ":1:45", "found the number 1"),
    "object as words": (ENTRY.replace("}", ',"redaction":{}}'), ":1:45", "found an object"),
    "path": (ENTRY.replace("C", "../C"), ":1:2", "with the character '/'"),
    "quote": (ENTRY.replace("C", 'C\\"'), ":1:2", "with the character '\"'"),
    "zero": (ENTRY.replace("C", "C\\u0000"), ":1:2", r"'C\x00' with the invisible character"),
    "surrogate": (ENTRY.replace("C", "C\\ud800"), ":1:", "not valid JSON"),
    "deep": ("[" * 100_000, ":1:1", "nested brackets or digits without end"),
    "deep value": ('{"id":' + "[" * 100_000, ":1:1", "nested brackets or digits without end"),
    "digits": ("1" * 10_000, ":1:1", "nested brackets or digits without end"),
    "endless line": ("x" * 3_000_000, ":1", "more than 1024 KiB without an end"),
    "not utf-8": (ENTRY + "\n" + ENTRY + '{"é', ":4:3", "the byte 0xe9, expected text in UTF-8"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_json_line_is_refused(case: str) -> None:
    """The line, the column of the key, what was found and what was expected."""
    content, place, message = BAD_LINES[case]
    error = refusal(content.encode("latin-1"), "jsonl")
    assert str(error).startswith(f"<stdin>{place}")
    assert message in error.message
    assert str(error).isprintable()
    assert len(str(error)) < 400


COLUMNS = "id,account_id,project_id\n"
BAD_TABLES: dict[str, tuple[str, str, str, str]] = {
    "empty": ("", "", "an empty file, expected a header row", "The first row"),
    "blank": ("\n\n", "", "an empty file", "The first row"),
    "no header": ("C,a,p\n", ":1:1", "the unknown column 'C'", "The first row"),
    "missing column": ("id,account_id\n", ":1:1", "no column 'project_id'", "The first row"),
    "unknown column": (f"{COLUMNS[:-1]},startd_at\n", ":1:26", "mean 'started_at'?", "first row"),
    "column twice": (f"{COLUMNS[:-1]},id\n", ":1:26", "the column 'id' twice", ""),
    "semicolons": ("id;account_id;project_id\n", ":1:1", "unknown column", "with ','"),
    "few cells": (f"{COLUMNS}C,a\n", ":2:1", "found 2 cells, expected 3", "quotation marks"),
    "many cells": (f"{COLUMNS}C,a,p,x\n", ":2:1", "found 4 cells, expected 3", "'|'"),
    "empty cell": (f"{COLUMNS}C,,p\n", ":2:3", "account_id is missing", ""),
    "bad cell": (f'{COLUMNS}"C,"" ",a/b,p\n', ":2:9", "id: found", ""),
    "path": (f'{COLUMNS}"C",a/b,p\n', ":2:5", "account_id: found 'a/b'", ""),
    "words": (f"directions,{COLUMNS}user|x,C,a,p\n", ":2:1", "directions: found 'x'", ""),
    "open quote": (f'{COLUMNS}C,a,p\n"C,a,p\nC,a,p\n', ":3:1", "not valid CSV", "left open"),
    "text after quote": (f'{COLUMNS}"C"x,a,p\n', ":2:1", "not valid CSV", "quotation mark"),
    "line end in a cell": (f'{COLUMNS}"C\n1",a,p\n', ":2:1", "a cell with a line end", ""),
    "carriage return": (f"{COLUMNS}C\rD,a,p\n", ":2:1", "not valid CSV", ""),
    "endless cell": (f'{COLUMNS}"' + "x\n" * 500_000, ":2:1", "not valid CSV", ""),
    "zero": (f"{COLUMNS}C\0,a,p\n", ":2:2", "U+0000", "right file"),
    "not utf-8": (f"{COLUMNS}Cé,a,p\n", ":2:2", "the byte 0xe9", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_csv_file_is_refused(case: str) -> None:
    """The line, the column of the cell, what was found and what was expected."""
    content, place, message, hint = BAD_TABLES[case]
    error = refusal(content.encode("latin-1"), "csv")
    assert str(error).startswith(f"<stdin>{place}")
    assert message in error.message
    assert hint in error.hint
    assert str(error).isprintable()


# Properties.

ALPHANUMERIC = "ABCXYZabcxyz0123456789"
IDENTIFIERS = st.builds(
    str.__add__,
    st.sampled_from(ALPHANUMERIC),
    st.text(ALPHANUMERIC + "._:@=+-", max_size=30),
) | st.sampled_from(["null", "true", "no", "1e5", "0x1F", "007", "1:30", "2026-05-21", "3.14"])
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1970, 1, 3), datetime(2999, 12, 28), timezones=OFFSETS)  # noqa: DTZ001


def words(kind: type[Direction | Redaction]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([member.value for member in kind]), min_size=1, max_size=4)


ENTRIES = st.fixed_dictionaries(
    {"id": IDENTIFIERS, "account_id": IDENTIFIERS, "project_id": IDENTIFIERS},
    optional={
        "started_at": TIMES,
        "directions": words(Direction),
        "redaction": words(Redaction),
    },
)


def expected(entry: dict[str, Any]) -> Conversation:
    directions, redaction = entry.get("directions"), entry.get("redaction")
    return Conversation(
        entry["account_id"],
        entry["project_id"],
        entry["id"],
        started_at=entry.get("started_at"),
        directions=tuple(dict.fromkeys(map(Direction, directions))) if directions else None,
        redaction=tuple(dict.fromkeys(map(Redaction, redaction))) if redaction else None,
    )


def without_place(conversations: list[Conversation]) -> list[Conversation]:
    return [
        Conversation(
            c.account_id, c.project_id, c.conversation_id, c.started_at, c.directions, c.redaction
        )
        for c in conversations
    ]


def as_yaml(entries: list[dict[str, Any]]) -> str:
    head = "version: 1\n"
    return head + yaml.safe_dump({"conversations": entries})


def as_jsonl(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry, default=datetime.isoformat) + "\n" for entry in entries)


def as_csv(entries: list[dict[str, Any]]) -> str:
    table = io.StringIO()
    columns = ["started_at", "id", "redaction", "account_id", "project_id", "directions"]
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    for entry in entries:
        writer.writerow(
            {
                key: "|".join(value)
                if isinstance(value, list)
                else value.isoformat()
                if isinstance(value, datetime)
                else value
                for key, value in entry.items()
            }
        )
    return table.getvalue()


WRITERS = {"yaml": as_yaml, "jsonl": as_jsonl, "csv": as_csv}


@given(st.lists(ENTRIES, min_size=1, max_size=8))
@unhurried
def test_every_format_says_the_same(entries: list[dict[str, Any]]) -> None:
    """Any right entries, written by the usual writers, load alike from YAML, JSON lines and CSV."""
    wanted = [expected(entry) for entry in entries]
    for form, write in WRITERS.items():
        assert without_place(loaded(write(entries), form)) == wanted


def assert_loaded_or_refused(content: bytes, form: str) -> None:
    try:
        loaded(content, form)
    except ManifestError as error:
        assert str(error).isprintable()  # noqa: PT017 - either end is right


@given(st.binary(max_size=300), st.sampled_from(ManifestFormat))
@unhurried
def test_arbitrary_bytes_are_loaded_or_refused(content: bytes, form: str) -> None:
    """No input makes anything but conversations or a manifest error."""
    assert_loaded_or_refused(content, form)


PIECES = st.sampled_from(
    [
        *(b"\n", b"\r", b"\t", b"  ", b"- ", b": ", b",", b"|", b"#", b"\\", b"---\n"),
        *(b"{", b"}", b"[", b"]", b'"', b"'", b"&a ", b"*a", b"!!", b"<<"),
        *(b"\0", b"\xff", b"\xc3", b"id", b"null", b"1"),
    ]
)


@given(
    st.lists(ENTRIES, min_size=1, max_size=3),
    st.sampled_from(list(WRITERS)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 6), PIECES), min_size=1, max_size=4),
)
@unhurried
def test_damaged_manifests_are_loaded_or_refused(
    entries: list[dict[str, Any]], form: str, damages: list[tuple[int, int, bytes]]
) -> None:
    """A right manifest with a few wounds loads or is refused, but breaks nothing."""
    content = WRITERS[form](entries).encode()
    for place, length, piece in damages:
        start = place % (len(content) + 1)
        content = content[:start] + piece + content[start + length :]
    assert_loaded_or_refused(content, form)


# Memory.

MEASURE_PEAK = """
import resource, sys
from exporter.loader import open_manifest

class Generated:
    '''A manifest that is made while it is read.'''
    def __init__(self, head, entry, count):
        self.head, self.entry, self.left, self.number = head, entry, count, 0
    def read(self, size):
        if self.head:
            head, self.head = self.head, ""
            return head.encode()
        count = min(500, self.left)
        self.left -= count
        self.number += count
        first = self.number - count
        return "".join(self.entry.format(n) for n in range(first, self.number)).encode()

def load(form, count):
    with open_manifest("-", format=form, stdin=Generated(*MANIFESTS[form], count)) as manifest:
        assert sum(1 for _ in manifest.conversations()) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

TIME = "2026-05-21T22:14:03Z"
MANIFESTS = {
    "yaml": ("version: 1\\ndefaults: {account_id: a, project_id: p}\\nconversations:\\n",
             "- id: CA{0:032x}\\n  started_at: " + TIME + "\\n  directions: &d [user]\\n"),
    "jsonl": ("", '{{"id": "CA{0:032x}", "account_id": "a{0}", "project_id": "p"}}\\n'),
    "csv": ("id,account_id,project_id\\n", "CA{0:032x},a{0},p\\n"),
}
form = sys.argv[1]
few, many = load(form, 10_000), load(form, 100_000)
print(many - few)
"""


@pytest.mark.parametrize("form", list(ManifestFormat))
def test_memory_does_not_grow_with_the_number_of_conversations(form: str) -> None:
    """100,000 conversations need no more memory than 10,000: at most two megabytes of noise."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE_PEAK, form],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(exporter.__file__).parents[1],
    )
    assert int(done.stdout) < 2 * 1024 * 1024


# Several mistakes.

WRONG_YAML = f"""{HEAD}  - {{id: CA1, started_at: 2026-05-21}}
  - {{idd: CA2, deep: [[1, {{a: &late CA9}}], *late], id: x}}
  - CA3
  - {{id: CA4, directions: [user, [agent]], redaction: raw}}
  - {{id: CA5, redaction: {{raw: true}}}}
  - [CA6]
  - {{id: , started_at: 2026-05-21T22:14:03Z}}
  - {{[a, b]: c}}
  - !!python/object:os.system {{id: CA7}}
  - {{id: *late}}
  - {{id: CA8, directions: both}}
"""
WRONG_YAML_LINES = [4, 5, 7, 8, 9, 10, 11, 12, 14]
WRONG_LINES = """\
{"id": "CA1"}
{"id": "CA2", "account_id": "a", "project_id": "p"}

{"id": "CA3", "account_id": "a", "project_id": "p", "project_id": "q"}
[]
{"id": "CA4
"""
WRONG_ROWS = "id,account_id,project_id,started_at\nCA1,a,p,now\nCA2,a\n\nCA3,a,p,\n,a,p,\n"
SEVERAL = {
    "yaml": (WRONG_YAML, WRONG_YAML_LINES),
    "jsonl": (WRONG_LINES, [1, 4, 5, 6]),
    "csv": (WRONG_ROWS, [2, 3, 6]),
}


@pytest.mark.parametrize("form", SEVERAL)
def test_several_mistakes_are_told_at_once(form: str) -> None:
    """Each entry that is wrong is told with its place; those between them are understood."""
    content, lines = SEVERAL[form]
    error = refusal(content, form)
    told = [one.location.line for one in (error, *error.also) if one.location]
    assert told == lines
    assert not error.has_more


@pytest.mark.parametrize("form", SEVERAL)
def test_ten_mistakes_are_enough(form: str) -> None:
    """Then reading ends, and the message says that there are more."""
    wrong = {
        "yaml": f"{HEAD}" + "  - {id: C/A}\n" * 10,
        "jsonl": '{"id": 1}\n' * 10,
        "csv": "id,account_id,project_id\n" + "C/A,a,p\n" * 10,
    }[form]
    error = refusal(wrong, form)
    assert len(error.also) == 9
    assert not error.has_more
    entry = wrong.splitlines()[-1]
    error = refusal(f"{wrong}{entry}\n{entry}\n", form)
    assert len(error.also) == 9
    assert error.has_more


def test_mistakes_are_told_with_what_ends_the_reading() -> None:
    """Text that is no YAML ends it; what was wrong before is told first."""
    error = refusal(f"{HEAD}  - {{id: C/A}}\n  - {{id: CA1\n  - CA2\n")
    assert [one.location.line for one in (error, *error.also) if one.location] == [4, 5]
    assert "'C/A'" in error.message


def test_wrong_queries_are_told_with_wrong_entries() -> None:
    """Of queries before and behind the entries alike; queries alone need no entries."""
    query = "  - {account_id: a, project_id: p, from: soon, to: today}\n"
    before = f"version: 1\ndiscover:\n{query}{query}"
    entries = "conversations:\n  - {id: CA1, account_id: a, project_id: p}\n  - CA2\n"
    assert len(refusal(before).also) == 1
    error = refusal(before + entries)
    assert [one.location.line for one in (error, *error.also) if one.location] == [3, 4, 7]
    error = refusal(f"version: 1\n{entries}discover:\n{query}")
    assert [one.location.line for one in (error, *error.also) if one.location] == [4, 6]


def test_a_wrong_entry_is_not_read_for_ever() -> None:
    """What has brackets without end is given up, however it goes on."""
    error = refusal(f"{HEAD}  - {{strange: {'[' * 20_000}")
    assert "unknown key 'strange'" in error.message
    assert len(error.also) == 1


@unhurried
@given(
    st.lists(
        st.sampled_from(
            [
                "CA1",
                "{id: CA1}",
                "{id: [CA1]}",
                "{x: {y: [1, {z: 2}]}, id: CA1}",
                "{id: CA1, directions: [{a: b}, user]}",
                "{id: CA1, directions: [user, *no]}",
                "{? {a: b} : c, id: CA1}",
                "[[CA1]]",
                "!!set {id: CA1}",
                "*no",
                "{id: CA1, id: CA2}",
                "{id: CA1, redaction: !!seq {raw: 1}}",
            ]
        ),
        max_size=10,
    )
)
def test_every_wrong_entry_and_no_right_one_is_told(entries: list[str]) -> None:
    """Whatever is wrong with an entry, the next one begins where it begins."""
    wrong = [
        number for number, entry in enumerate(entries, start=4) if entry not in {"CA1", "{id: CA1}"}
    ]
    content = HEAD.replace("conversations:\n", "conversations:") + (
        "\n" + "".join(f"  - {entry}\n" for entry in entries) if entries else " []\n"
    )
    if not wrong:
        assert len(loaded(content)) == len(entries)
        return
    error = refusal(content)
    assert [one.location.line for one in (error, *error.also) if one.location] == wrong
