"""The pages about results, doctor and sandbox are right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
import typer.main

from exporter import cli
from exporter.audio import encodings
from exporter.doctor import NAMES, State
from exporter.errors import ErrorKind
from exporter.model import PiiAccessState, RedactionEvidence, Status
from exporter.results import (
    Result,
    Results,
    RunInfo,
    RunStatus,
    Summary,
    results_schema,
)
from exporter.retry import CLASSES, ErrorClass
from exporter.sandbox import AudioSettings, Limits, World
from exporter.sandbox.scenario import parse_scenario
from exporter.sandbox.serve import parse_call_seconds
from tests.pages import (
    OPTIONS,
    PAGES,
    RESULTS,
    blocks,
    code,
    commands,
    conversations,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SANDBOX = PAGES["docs/sandbox.md"]


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
