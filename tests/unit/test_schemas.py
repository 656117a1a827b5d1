"""The JSON Schemas of what people write: they accept what the program accepts."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import yamldoc
from exporter.errors import ConfigError, ManifestError, UsageError
from exporter.loader import open_manifest
from exporter.schemas import schema
from exporter.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
NAMES = ["config", "manifest", "partition", "results"]


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    document = json.loads(schema(name))
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def is_valid(name: str, text: str) -> bool:
    document = yamldoc.load(text, "file.yaml")
    return validator(name).is_valid(document.value)


def is_loaded(text: str, folder: Path) -> bool:
    path = folder / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        with open_manifest(str(path)) as manifest:
            list(manifest.conversations())
            load_settings(manifest_config=manifest.config, environ={})
    except (ManifestError, ConfigError):
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name: str) -> None:
    """Each is a JSON Schema of the draft that it names, with a title."""
    document = json.loads(schema(name))
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"] == f"exporter {name}"


def test_an_unknown_schema() -> None:
    """A name that there is not is answered with those that there are."""
    with pytest.raises(UsageError, match="config, manifest, partition, results") as caught:
        schema("manifst")
    assert caught.value.hint == "Did you mean manifest?"


QUERY = "version: 1\ndiscover: [{{account_id: a, project_id: p, from: -3d, to: today, {}}}]"
SHARED = "defaults: {account_id: a, project_id: p}\n"
MANIFESTS = [
    "version: 1\nconversations: []",
    f"version: 1\n{SHARED}conversations: [CA1, CA2]",
    "version: '1'\nconversations: [{id: CA1, account_id: a, project_id: p}]",
    f"version: 1\n{SHARED}conversations: [CA1, 12345, '007']",
    "version: 1\ndefaults:\nconfig:\nconversations: [{id: 1, account_id: 2, project_id: 3}]",
    """
version: 1
defaults: {account_id: a, project_id: p, directions: [user, agent], redaction: raw}
conversations: [{id: CA1, directions: combined, redaction: [redacted, raw]}]
""",
    f"""
version: 1
{SHARED}conversations:
  - {{id: CA1, started_at: 2026-05-21T22:14:03Z}}
  - {{id: CA2, started_at: '2026-05-22T08:00:00.123+02:00'}}
  - {{id: CA3, started_at: 2026-05-22 08:00 +0200}}
  - {{id: CA4, started_at: null, directions: null, redaction: null}}
  - {{id: 'a:b@c=d+e-f._g'}}
""",
    f"""
version: 1
{SHARED}config:
  limits: {{concurrency: 4, max_recording_bytes: 10MiB}}
  output: {{url: calls, dir_mode: '0750'}}
  export: {{pending_grace: 3d, directions: user}}
  credentials: [{{api_key_env: KEY}}]
conversations: [CA1]
""",
    "version: 1\ndiscover: []",
    "version: 1\ndiscover: []\nconversations: []",
    QUERY.format("timezone: Europe/London, client_env: live, channel: VOICE-SIP"),
    QUERY.format("channel: [VOICE-SIP, any], include_in_progress: true, variant_id: 12"),
    QUERY.format("query_type: semantic, query: 'about refunds', sample: random"),
    QUERY.format("directions: user, redaction: [raw], client_env: null"),
    f"""
version: 1
{SHARED}discover:
  - {{from: 2026-05-21, to: 2026-05-22}}
  - {{from: '2026-05-21T08:00:00', to: 2026-05-21T09:00:00+02:00}}
conversations: [{{id: CA1, in_progress: true}}]
""",
]


def examples() -> list[str]:
    """Every manifest that stands in the documentation, in a block of its own."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    blocks = [
        block
        for file in sorted(files)
        for block in re.findall(r"```yaml\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)
    ]
    jobs = [file.read_text(encoding="utf-8") for file in sorted(ROOT.glob("configs/*.yaml"))]
    return [
        text
        for text in [*blocks, *jobs]
        if re.search(r"^(?:conversations|discover):", text, re.MULTILINE)
    ]


@pytest.mark.parametrize("text", MANIFESTS)
def test_manifests_that_are_loaded_are_valid(text: str, tmp_path: Path) -> None:
    """What the loader takes, an editor with the schema takes too."""
    assert is_loaded(text, tmp_path)
    assert is_valid("manifest", text)


def test_manifests_of_the_documentation_are_valid(tmp_path: Path) -> None:
    """Every manifest that we show is taken by loader and schema, but those that show a mistake."""
    for text in examples():
        assert is_loaded(text, tmp_path) is ("# refused" not in text), text
        assert "# refused" in text or is_valid("manifest", text), text


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "version: 1",
        "conversations: []",
        "version: 2\nconversations: []",
        "version: 1.5\nconversations: []",
        "version: 1\nconversations:",
        "version: 1\nconversations: CA1",
        "version: 1\nconversations: {id: CA1}",
        "version: 1\nconversatons: []",
        "version: 1\ndiscover: {}",
        "version: 1\ndiscover: [yesterday]",
        "version: 1\ndiscover: [{account_id: a, project_id: p, from: yesterday}]",
        "version: 1\ndiscover: [{account_id: a, project_id: p, from: soon, to: today}]",
        QUERY.format("id: CA1"),
        QUERY.format("client_env: prod"),
        QUERY.format("include_in_progress: maybe"),
        QUERY.format("channel: []"),
        QUERY.format("channel: [VOICE SIP]"),
        QUERY.format("sample: first"),
        "version: 1\nconversations: [{id: CA1, account_id: a, project_id: p, in_progress: soon}]",
        "version: 1\nmore: 1\nconversations: []",
        "version: 1\ndefaults: [1]\nconversations: []",
        "version: 1\ndefaults: {id: CA1}\nconversations: []",
        "version: 1\ndefaults: {account_id: }\nconversations: []",
        "version: 1\ndefaults: {directions: []}\nconversations: []",
        "version: 1\ndefaults: {redaction: [redact]}\nconversations: []",
        "version: 1\ndefaults: {account_id: ../a}\nconversations: []",
        "version: 1\nconfig: [1]\nconversations: []",
        "version: 1\nconfig: {limit: {}}\nconversations: []",
        "version: 1\nconfig: {limits: {concurrency: many}}\nconversations: []",
        "version: 1\nconfig: {limits: {concurrency: 5000}}\nconversations: []",
        "version: 1\nconfig: {output: {dir_mode: rwx}}\nconversations: []",
        "version: 1\nconfig: {export: {pending_grace: soon}}\nconversations: []",
        "version: 1\nconfig: {export: {directions: [both]}}\nconversations: []",
        "version: 1\nconfig: {credentials: []}\nconversations: []",
        *(
            f"version: 1\ndefaults: {{account_id: a, project_id: p}}\nconversations: [{entry}]"
            for entry in (
                "'..'",
                "'.hidden'",
                "a/b",
                "'a b'",
                "''",
                "[CA1]",
                "a" * 201,
                "\u00fcber",
                "{started_at: 2026-05-21T22:14:03Z}",
                "{id: }",
                "{id: [CA1]}",
                "{id: CA1, conversation: CA2}",
                "{id: CA1, started_at: 2026-05-21}",
                "{id: CA1, started_at: 2026-05-21T22:14:03}",
                "{id: CA1, started_at: yesterday}",
                "{id: CA1, directions: [both]}",
                "{id: CA1, directions: {user: true}}",
                "{id: CA1, redaction: none}",
            )
        ),
    ],
)
def test_manifests_that_are_refused_are_invalid(text: str, tmp_path: Path) -> None:
    """What the loader refuses, an editor with the schema marks, where a schema can tell."""
    assert not is_loaded(text, tmp_path)
    assert not is_valid("manifest", text)


@given(
    st.from_regex(r"[A-Za-z0-9._:@=+-]{0,5}", fullmatch=True)
    | st.text(max_size=5)
    | st.sampled_from([199, 200, 201]).map(lambda count: "a" * count)
)
@example("CA1\n")
@example(".")
def test_identifiers_are_the_loaders(
    tmp_path_factory: pytest.TempPathFactory, identifier: str
) -> None:
    """The schema and the loader agree about every identifier."""
    document = {
        "version": 1,
        "conversations": [{"id": identifier, "account_id": "a", "project_id": "p"}],
    }
    text = json.dumps(document)
    loaded = is_loaded(text, tmp_path_factory.getbasetemp())
    # Python's `$` lets a line feed pass at the end, that of JSON Schema does not.
    strict = validator("manifest").is_valid(document) and not identifier.endswith("\n")
    assert loaded == strict


def test_the_default_config_is_valid() -> None:
    """The config that a run's results tell is a config by the schema."""
    validator("config").validate(Settings().model_dump(mode="json"))


def test_every_setting_is_described() -> None:
    """An editor can say of every key what it is for, or its name and section say it."""
    document = json.loads(schema("config"))
    sections = [document, *document["$defs"].values()]
    undescribed = {
        f"{section['title']}.{name}"
        for section in sections
        for name, about in section.get("properties", {}).items()
        if "description" not in about and "$ref" not in about
    }
    assert undescribed <= {"LogSettings.format", "LogSettings.level"}


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("{}", True),
        ("limits: {max_recording_bytes: 2GiB, requests_per_second: null}", True),
        ("limits: {max_recording_bytes: 0}", False),
        ("limits: {max_recording_bytes: 2 bananas}", False),
        ("export: {directions: 'user, agent', redaction: [raw]}", True),
        ("export: {directions: 'user agent'}", False),
        ("export: {pending_grace: PT15M}", True),
        ("export: {pending_grace: 90}", False),
        ("output: {dir_mode: 0750, layout: hive}", True),
        ("api: {surface: agents-v1, base_url: null, ca_file: ca.pem}", True),
        ("api: {base_url: 'ftp://host'}", False),
        ("credentials: [{api_key_env: KEY, account_id: a}]", True),
        ("credentials: [{api_key_env: not-a-name}]", False),
        ("credentials: [{api_key: secret}]", False),
        ("metrics: {textfile: x}", False),
    ],
)
def test_configs(text: str, *, valid: bool) -> None:
    """Schema and program agree about a config."""
    document: Any = yamldoc.load(text, "config.yaml")
    assert validator("config").is_valid(document.value) is valid
    if valid:
        load_settings(manifest_config=document, environ={})
    else:
        with pytest.raises(ConfigError):
            load_settings(manifest_config=document, environ={})
