"""Manifests that are wrong: the place, what was found, what was expected."""

from __future__ import annotations

import pytest

from tests.manifests import (
    ENTRY,
    HEAD,
    refusal,
)

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
    "a config": ("api: {}\n", ":1:1", "unknown key 'api', expected", "seems to be a config"),
    "a setting": ("version: 1\nlog: {}\n", ":2:1", "unknown key 'log', exp", "under 'config:'"),
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
