"""The documentation says what is so: its examples, its tables, its links and its commands."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import jsonschema
import msgspec
import pytest
import typer.main
from pydantic import BaseModel
from typer.testing import CliRunner

from exporter import cli, running, yamldoc
from exporter.audio import encodings
from exporter.certificate import REASONS
from exporter.discovery import LeftOut
from exporter.doctor import NAMES, State
from exporter.errors import ErrorKind, ManifestError, UsageError
from exporter.layout import Layout, LayoutStyle, path_part
from exporter.loader import open_manifest
from exporter.loader.entry import ENTRY_KEYS
from exporter.loader.query import QUERY_KEYS
from exporter.model import Conversation, PiiAccessState, RedactionEvidence, Status, Surface
from exporter.plan import Choice, recordings
from exporter.results import (
    Result,
    Results,
    RunInfo,
    RunStatus,
    Summary,
    WindowCounts,
    WindowInfo,
    results_schema,
)
from exporter.retry import CLASSES, ErrorClass
from exporter.sandbox import AudioSettings, Limits, World
from exporter.sandbox.scenario import parse_scenario
from exporter.sandbox.serve import parse_call_seconds
from exporter.schemas import schema
from exporter.settings import (
    ApiSettings,
    CredentialSettings,
    PolicySettings,
    Settings,
    load_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.window import Query

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
MANIFEST, CONFIG, RESULTS = (PAGES[f"docs/{name}.md"] for name in ("manifest", "config", "results"))
SANDBOX = PAGES["docs/sandbox.md"]

FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REFUSED = re.compile(r"#\s*refused: (.+)$", re.MULTILINE)
ENTRY_HEAD = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\nconversations:\n  - "


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


def settings_of(text: str) -> Settings:
    """The settings of a config file."""
    return load_settings(manifest_config=yamldoc.load(text, "config.yaml"), environ={})


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


# The config.


@pytest.mark.parametrize("page", [CONFIG, PAGES["docs/object-stores.md"]], ids=["config", "stores"])
def test_config_examples(page: str) -> None:
    """Each example is accepted, or refused in the words that stand in it."""
    found = blocks(page, "yaml")
    assert found
    for text in found:
        refusal = REFUSED.search(text)
        if refusal is None:
            settings_of(text)
            continue
        with pytest.raises(UsageError, match=re.escape(refusal[1])):
            settings_of(text)


class Row(NamedTuple):
    """A setting as its table describes it."""

    name: str
    default: str | None
    flag: str | None
    variable: str | None


def setting_rows() -> list[Row]:
    tables = re.split(r"^### ", CONFIG.partition("## Settings")[2], flags=re.MULTILINE)
    rows = []
    for text in tables:
        if "| setting | type | default |" in text:
            for name, _, *cells in table(text, "setting", "type", "default", "flag"):
                first = [code(cell)[0] if code(cell) else None for cell in cells]
                rows.append(Row(code(name)[0], *first))
    return rows


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from leaves(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_is_described() -> None:
    """The tables have each setting of the program once, and no others."""
    kinds: dict[str, type[BaseModel]] = {
        "credentials": CredentialSettings,
        "policies": PolicySettings,
    }
    entries = [f"{key}[].{name}" for key, kind in kinds.items() for name in kind.model_fields]
    assert sorted(row.name for row in setting_rows()) == sorted([*leaves(Settings), *entries])


def test_defaults_are_right() -> None:
    """A config that spells out each default of the tables is the default."""
    for name, default, _, _ in setting_rows():
        if default is not None:
            text = default
            for key in reversed(name.split(".")):
                text = f"{{{key}: {text}}}"
            assert settings_of(text) == Settings(), name


def test_every_setting_has_its_variable() -> None:
    """Each variable of the tables is the setting's, and takes the default as written there."""
    for name, default, _, variable in setting_rows():
        if "[]" in name:
            continue
        assert variable == "EXPORTER_" + name.upper().replace(".", "__")
        value = str(default).strip('[]"')
        if name == "credentials":
            value = '[{"api_key_env": "POLYAI_API_KEY"}]'
        assert load_settings(environ={variable: value}) == Settings(), name


def test_every_flag_stands_at_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag of each row sets that setting, and no flag of a setting is left out."""
    given: dict[str, str] = {}

    def remember(*_: object, flags: list[Any], **__: object) -> int:
        given.update({".".join(flag.path): flag.name for flag in flags})
        return 0

    monkeypatch.setattr(running, "run", remember)
    described = {row.name: row.flag for row in setting_rows() if row.flag}
    group: Any = typer.main.get_command(cli.app)
    switches = {
        name
        for each in group.commands["run"].params
        if getattr(each, "is_flag", False)
        for name in each.opts
    }
    arguments = [
        word
        for flag in described.values()
        for word in ((flag,) if flag in switches else (flag, "1"))
    ]
    done = CliRunner().invoke(cli.app, ["run", "manifest.yaml", *arguments])
    assert done.exit_code == 0, done.output
    assert given == described
    rows = table(CONFIG, "flag of `exporter run`")
    others = {flag.split()[0] for row in rows for flag in code(row[0])}
    long = {flag for flag in OPTIONS["run"] if flag.startswith("--")}
    assert long == {"--help", *described.values(), *others}


def test_the_complete_example_is_complete() -> None:
    """The last example spells out every setting; all but the credentials are the defaults."""
    text = blocks(CONFIG, "yaml")[-1]
    value = yamldoc.load(text, "config.yaml").value
    assert isinstance(value, dict)

    def keys(mapping: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, inner in mapping.items():
            if isinstance(inner, dict) and inner:
                yield from keys(inner, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    assert sorted(keys(value)) == sorted(leaves(Settings))
    assert (
        settings_of(text).model_copy(update={"credentials": Settings().credentials}) == Settings()
    )


def test_regions() -> None:
    """The table of regions has the addresses that the program uses, under both names."""
    rows = table(CONFIG, "region", "`platform-v3`", "`agents-v1`")
    assert len(rows) == 4
    for names, *addresses in rows:
        for surface, cell in zip(Surface, addresses, strict=True):
            for region in code(names):
                if cell:
                    assert [ApiSettings(surface=surface, region=region).origin] == code(cell)
                else:
                    with pytest.raises(ValueError, match="expected a region"):
                        ApiSettings(surface=surface, region=region)


# The results.


def example() -> str:
    return blocks(RESULTS, "json")[0]


def test_the_example_of_results_is_right() -> None:
    """It follows the schema, has every field, and its numbers add up."""
    document = json.loads(example())
    jsonschema.validate(document, results_schema())
    assert list(document["run"]) == list(RunInfo.__struct_fields__)
    assert list(document["summary"]) == list(Summary.__struct_fields__)
    sometimes = {"drift", "carried_over"}
    always = [name for name in Result.__struct_fields__ if name not in sometimes]
    assert all(
        [name for name in row if name not in sometimes] == always for row in document["results"]
    )
    summary = document["summary"]
    assert summary["requested"] == len(document["results"])
    for status in Status:
        rows = [row for row in document["results"] if row["status"] == status]
        assert summary[status] == len(rows)


def test_the_example_of_a_summary_is_right() -> None:
    """`--json` is shown with the fields that it has, in their order."""
    shown = json.loads(blocks(RESULTS, "json")[1])
    fields = [*Summary.__struct_fields__, "run_id", "status", "exit_code", "results"]
    assert list(shown) == fields
    document = json.loads(example())
    assert {name: shown[name] for name in Summary.__struct_fields__} == document["summary"]


def fields_of(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        inner = msgspec.inspect.type_info(field.type)
        kinds = inner.types if isinstance(inner, msgspec.inspect.UnionType) else (inner,)
        structs = [each.cls for each in kinds if isinstance(each, msgspec.inspect.StructType)]
        if structs:
            yield from fields_of(structs[0], f"{prefix}{field.name}.")
        elif isinstance(inner, msgspec.inspect.ListType) and isinstance(
            inner.item_type, msgspec.inspect.StructType
        ):
            yield from fields_of(inner.item_type.cls) if not prefix else [f"{prefix}{field.name}"]
        else:
            yield f"{prefix}{field.name}"


def test_every_field_of_the_results_is_described() -> None:
    """The tables have each field of the document once, and no others."""
    tables = RESULTS.split("| field | is |")[1:]
    described = [
        name
        for text in tables
        for row in table(f"| field | is |{text}", "field", "is")
        for name in code(row[0])
    ]
    assert sorted(["schema_version", *described]) == sorted(fields_of(Results))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("`run.status`", RunStatus),
        ("`status`", Status),
        ("`state`", PiiAccessState),
        ("`redaction_evidence`", RedactionEvidence),
    ],
)
def test_every_word_is_described(column: str, words: type[Status]) -> None:
    """The tables of words have all words of the program, and no others."""
    rows = table(RESULTS, column, "means")
    shown = [code(row[0])[0] for row in rows]
    assert [word for word in shown if word != "null"] == [word.value for word in words]


def test_every_kind_of_error_is_described() -> None:
    """The table has each `error.kind`, and says rightly which of them are tried again."""
    rows = {code(row[0])[0]: row[1:] for row in table(RESULTS, "`error.kind`", "tried")}
    assert list(rows) == [kind.value for kind in ErrorKind]
    assert {name for name, row in rows.items() if row[0] == "again"} == {
        kind for kind, found in CLASSES.items() if found in (ErrorClass.TRANSIENT, ErrorClass.AWAY)
    }
    assert all(all(row) for row in rows.values())


def test_every_codec_is_described() -> None:
    """The table has each name that `audio.codec` may have."""
    (cell,) = re.findall(r"^\| `audio.codec` \|(.*)\|$", RESULTS, re.MULTILINE)
    known = {
        *encodings._SAMPLE_CODECS.values(),
        *encodings._BLOCK_CODECS.values(),
        *encodings._RATE_CODECS.values(),
    }
    assert set(code(cell)) == known


def jq_commands() -> list[str]:
    return [each for each in commands(RESULTS) if "results.json" in each]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("number", range(len(jq_commands())))
def test_jq_examples_work(number: int, tmp_path: Path) -> None:
    """Each of them runs on the example, and says something about it."""
    document = json.loads(example())
    for row in document["results"]:
        if row["path"]:
            path = tmp_path / row["path"]
            path.parent.mkdir(parents=True)
            path.write_bytes(b"audio")
            row["sha256"] = sha256(b"audio").hexdigest()
    head, *rows = example().partition(' "results": [')
    lines = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in document["results"])
    (tmp_path / "results.json").write_text(f"{head}{rows[0]}\n  {lines}\n ]\n}}\n")
    command = jq_commands()[number]
    if "sha256sum" in command and shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "failed.jsonl" in command:
        (one,) = conversations((tmp_path / "failed.jsonl").read_text(), "jsonl")
        assert one.conversation_id == "CA03"
    else:
        assert done.stdout or "--quiet" in command


# The doctor.


def test_every_check_is_described() -> None:
    """The table has each check of `exporter doctor`, in its order; the others its fields."""
    page = PAGES["docs/doctor.md"]
    assert tuple(code(row[0])[0] for row in table(page, "check", "says")) == NAMES
    (shown,) = (json.loads(block) for block in blocks(page, "json"))
    rows = table(page, "field", "is")
    fields = [code(row[0])[0] for row in rows]
    assert ["schema_version", *fields[:2], "checks"] == list(shown)
    assert [name.removeprefix("checks[].") for name in fields[2:]] == list(shown["checks"][0])
    (words,) = (text for name, text in rows if "state" in name)
    assert code(words) == [state.value for state in State]


# The sandbox.


def test_every_flag_of_the_sandbox_is_described() -> None:
    """The table has each flag of `exporter sandbox`, and no others."""
    flags = [code(row[0])[0].split()[0] for row in table(SANDBOX, "flag", "default")]
    assert sorted([*flags, "--help", "-h"]) == sorted(OPTIONS["sandbox"])


def test_defaults_of_the_sandbox_are_right() -> None:
    """The defaults in the table are those of the program."""
    shown = {
        code(row[0])[0].split()[0]: code(row[1])[0]
        for row in table(SANDBOX, "flag", "default")
        if code(row[1])
    }
    audio = AudioSettings()
    assert parse_call_seconds(shown.pop("--call-seconds")) == audio.seconds
    group: Any = typer.main.get_command(cli.app)
    defaults = {each.opts[0]: each.default for each in group.commands["sandbox"].params}
    assert shown == {
        "--host": defaults["--host"],
        "--port": str(defaults["--port"]),
        "--burst": str(Limits().burst),
        "--latency": f"{Limits().latency:g}",
        "--codec": audio.codec,
        "--sample-rate": str(audio.sample_rate),
        "--header-style": audio.header_style,
        "--framing": World().framing,
        "--redaction": audio.redaction,
        "--comfort-noise": f"{audio.comfort_noise_dbfs:g}",
        "--pii-share": f"{audio.pii_share:g}",
        "--clock-skew": f"{defaults['--clock-skew']:g}",
    }


def test_flags_of_the_sandbox_stand_in_scenarios() -> None:
    """The keys beside the flags are keys of scenario files."""
    values = {"seconds": "[1, 2]", "codec": "alaw", "header_style": "list", "framing": "close"}
    values |= {"redaction": "shorten", "comfort_noise_dbfs": "-50", "pii_share": "0.5"}
    for *_, cell in table(SANDBOX, "flag", "default"):
        for dotted in code(cell):
            key = dotted.rpartition(".")[2]
            text = "[{name: a, secret: b}]" if key == "keys" else values.get(key, "8000")
            for part in reversed(dotted.split(".")):
                text = f"{{{part}: {text}}}"
            assert parse_scenario(text) != parse_scenario("{}") or key == "sample_rate"
