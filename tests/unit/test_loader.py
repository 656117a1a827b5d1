"""The job loader: three formats, one set of rules, constant memory."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.errors import Location, ManifestError
from exporter.loader import ManifestFormat, open_manifest
from exporter.model import Conversation, Direction, Redaction
from tests.manifests import (
    ENTRY,
    HEAD,
    loaded,
    opened,
)

if TYPE_CHECKING:
    from pathlib import Path

NIGHT = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)


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
        ("2026-05-21T22:14:03+00:00", NIGHT),
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
        ("folder", None, "folder: found a folder, expected a manifest"),
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
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError) as caught:
        open_manifest(f"{tmp_path}/{name}", format=form)
    assert expected in str(caught.value)
    if "ending" in expected:
        assert "--manifest-format" in caught.value.hint


def test_closed_standard_input_is_explained() -> None:
    """`-` without standard input says so."""
    with pytest.raises(ManifestError, match="standard input is closed"):
        open_manifest("-")


@pytest.mark.parametrize(
    "text", ['{"id": "CA1", "account_id": "a", "project_id": "p"}\n', "id,account_id\nCA1,a\n"]
)
def test_another_format_from_standard_input_is_told_how_to_say_so(text: str) -> None:
    """No file name tells the format there, so the hint names the flag."""
    with pytest.raises(ManifestError) as caught:
        open_manifest("-", stdin=BytesIO(text.encode()))
    assert "--manifest-format jsonl" in caught.value.hint


def test_a_config_in_place_of_a_manifest_is_told_where_it_belongs(tmp_path: Path) -> None:
    """Settings at the top of a manifest: the hint says where they are read."""
    path = tmp_path / "config.yaml"
    path.write_text("api: {region: uk-1}\n", encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(path))
    assert "--config" in caught.value.hint
    assert "--manifest-format" not in caught.value.hint


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    """An open file left behind would be a warning, and warnings fail this test suite."""
    path = tmp_path / "jobs.yaml"
    path.write_text("version: 2\n", encoding="utf-8")
    with pytest.raises(ManifestError):
        open_manifest(str(path))
