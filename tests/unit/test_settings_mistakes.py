"""Wrong settings: the layer, the place, what was found and what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.errors import ConfigError
from exporter.loader import from_yaml
from exporter.settings import Settings, load_settings, sources
from tests.configs import (
    refusal,
)

if TYPE_CHECKING:
    from pathlib import Path

# Layers.

PLACES = ["default", "manifest", "config", "environment", "flag"]


# Places.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "limits:\n  concurency: 8\n",
            "job.yaml:2:3: limits: found the unknown key 'concurency' (did you mean 'concurrency'",
        ),
        (
            "limit: {}",
            "job.yaml:1:1: found the unknown key 'limit' (did you mean 'limits'?), expect",
        ),
        ("xyz: 1", "job.yaml:1:1: found the unknown key 'xyz', expected one of: api, credentials,"),
        ("limits: 5", "job.yaml:1:1: limits: found 5, expected a mapping with some of the keys co"),
        ("limits: [1]", "job.yaml:1:1: limits: found a list, expected a mapping with some of"),
        ("[1]", "job.yaml:1:1: found a list, expected a mapping with some of the keys api, cre"),
        ("text", "job.yaml:1:1: found 'text', expected a mapping"),
        (
            "limits: {concurrency: true}",
            "job.yaml:1:10: limits.concurrency: found true, expected a number",
        ),
        (
            "limits: {concurrency: 8.5}",
            "job.yaml:1:10: limits.concurrency: found 8.5, expected a whole number",
        ),
        (
            "limits: {concurrency: }",
            "job.yaml:1:10: limits.concurrency: found nothing, expected a whole number",
        ),
        (
            "limits: {concurrency: 0}",
            "job.yaml:1:10: limits.concurrency: found 0, expected a number greater than 0",
        ),
        (
            "limits: {concurrency: 1025}",
            "job.yaml:1:10: limits.concurrency: found 1025, expected a number of at most 1024",
        ),
        (
            "limits: {requests_per_second: .inf}",
            "job.yaml:1:10: limits.requests_per_second: found inf, expected a finite number",
        ),
        (
            "retry: {max_retry_after: -1}",
            "job.yaml:1:9: retry.max_retry_after: found -1, expected a number of at least 0",
        ),
        (
            "retry: {max_delay: [1]}",
            "job.yaml:1:9: retry.max_delay: found a list, expected a number",
        ),
        (
            "export:\n  directions:\n    - user\n    - agnet\n",
            "job.yaml:4:7: export.directions[1]: found 'agnet' (did you mean 'agent'?), expected",
        ),
        (
            "export: {directions: []}",
            "job.yaml:1:10: export.directions: found an empty list, expected at least one",
        ),
        (
            "export: {redaction: {a: 1}}",
            "job.yaml:1:10: export.redaction: found a mapping, expected a list",
        ),
        (
            "api: {surface: agents}",
            "job.yaml:1:7: api.surface: found 'agents' (did you mean 'agents-v1'?), expected one",
        ),
        (
            "output: {layout: flat}",
            "job.yaml:1:10: output.layout: found 'flat', expected one of: p",
        ),
        (
            "output: {timezone: Europe/Londn}",
            "job.yaml:1:10: output.timezone: found 'Europe/Londn', expected a time zone of the",
        ),
        ("output: {timezone: 5}", "job.yaml:1:10: output.timezone: found 5, expected text"),
        (
            "output: {url: ftp://host/dir}",
            "job.yaml:1:10: output.url: found 'ftp://host/dir', expected a folder on this machine",
        ),
        (
            "output: {url: 's3://bucket/a//b'}",
            "job.yaml:1:10: output.url: found 's3://bucket/a//b', expected a prefix of letters",
        ),
        (
            "output: {url: s3://b}",
            "job.yaml:1:10: output.url: found 's3://b', expected s3:// and the name of a bucket",
        ),
        (
            "object_store: {endpoint: http://store.example.com}",
            "job.yaml:1:16: object_store.endpoint: over plain http recordings would be sent",
        ),
        (
            "object_store: {lock_for: 1d}",
            "job.yaml:1:16: object_store.lock_for: found only one of lock_mode and lock_for",
        ),
        (
            "object_store: {kms_key_id: k}",
            "job.yaml:1:16: object_store.kms_key_id: found a key, but encryption is not aws:kms",
        ),
        (
            "object_store: {encryption: AES128}",
            "job.yaml:1:16: object_store.encryption: found 'AES128', expected one of: AES256",
        ),
        (
            "object_store: {tags: [a]}",
            "job.yaml:1:16: object_store.tags: found a list, expected a mapping of names",
        ),
        (
            "object_store: {tags: {'a?': b}}",
            "job.yaml:1:16: object_store.tags: found a mapping, expected names of 1 to 128",
        ),
        ("output: {url: ' '}", "job.yaml:1:10: output.url: found ' ', expected a folder"),
        ('output: {url: "a\\0b"}', "job.yaml:1:10: output.url: found 'a\\x00b', expected a folder"),
        ("api: {ca_file: ''}", "job.yaml:1:7: api.ca_file: found '', expected the name of a file"),
        (
            "api: {allow_insecure_http: 1}",
            "job.yaml:1:7: api.allow_insecure_http: found 1, expected true or false",
        ),
        (
            "log: {level: loud}",
            "job.yaml:1:7: log.level: found 'loud', expected one of: debug, inf",
        ),
        (
            "credentials: {api_key_env: A}",
            "job.yaml:1:1: credentials: found a mapping, expected a list of mappings with the keys",
        ),
        (
            "credentials: []",
            "job.yaml:1:1: credentials: found an empty list, expected at least one",
        ),
        (
            "policies: {never_raw: true}",
            "job.yaml:1:1: policies: found a mapping, expected a list of mapping",
        ),
        (
            "policies: [{project_id: p, never_rav: true}]",
            "job.yaml:1:28: policies[0]: found the unknown key 'never_rav' (did you mean",
        ),
        (
            "policies: [{never_raw: true}, {never_raw: true, require_raw: true}]",
            "job.yaml:1:49: policies[1].require_raw: found both never_raw and require_raw",
        ),
        (
            "policies: [{enough_identical: 0}]",
            "job.yaml:1:13: policies[0].enough_identical: found 0, expected a number greater",
        ),
        (
            "credentials: [{account_id: 5, api_key_env: A}]",
            "job.yaml:1:16: credentials[0].account_id: found 5, expected text (numbers in quotes)",
        ),
        (
            "credentials:\n  - api_key_env: A\n  - account_id: b\n",
            "job.yaml:3:5: credentials[1]: found neither, expected exactly one of api_key_env and",
        ),
        (
            "credentials: [{api_key_env: A, api_key_file: b}]",
            "job.yaml:1:15: credentials[0]: found both, expected exactly one of api_key_env and",
        ),
    ],
)
def test_mistakes_in_a_file(text: str, message: str) -> None:
    """File, line, column, the setting, what was found and what was expected: nothing to look up."""
    error = refusal(text)
    assert str(error).startswith(message)
    assert error.location is not None


@pytest.mark.parametrize("layer", PLACES[1:])
def test_the_layer_of_a_bad_value_is_named(layer: str, tmp_path: Path) -> None:
    """Of several layers that speak of a setting, the one whose value is bad is blamed."""
    manifest = "limits: {concurrency: 1}"
    layers: dict[str, Any] = {"config": "limits: {concurrency: 2}"}
    layers["environ"] = {"EXPORTER_LIMITS__CONCURRENCY": "3"}
    layers["flags"] = {"limits.concurrency": 4}
    match layer:
        case "manifest":
            manifest, layers, place = "limits: {concurrency: x}", {}, "job.yaml:1:10: limits.con"
        case "config":
            layers = {"config": "\n\nlimits: {concurrency: x}"}
            place = f"{tmp_path / 'config.yaml'}:3:10: limits.concurrency: "
        case "environment":
            layers["environ"] = {"EXPORTER_LIMITS__CONCURRENCY": "x"}
            del layers["flags"]
            place = "environment variable EXPORTER_LIMITS__CONCURRENCY: "
        case _:
            layers["flags"] = {"limits.concurrency": "x"}
            place = "--concurrency: "
    assert str(refusal(manifest, folder=tmp_path, **layers)).startswith(place)


def test_a_bad_key_is_found_below_a_good_layer(tmp_path: Path) -> None:
    """What a higher layer replaces is still checked for keys that nobody knows."""
    error = refusal("limits: 5", config="limits: {concurrency: 2}", folder=tmp_path)
    assert str(error).startswith("job.yaml:1:1: limits: found 5")


def test_a_rule_between_keys_blames_the_layer_that_broke_it() -> None:
    """The region that does not go with a surface is found where the region was written."""
    error = refusal("api: {region: studio}", flags={"api.surface": "platform-v3"})
    assert str(error).startswith(
        "job.yaml:1:7: api.region: found 'studio', expected a region of platform-v3: us-1, uk-1"
    )


@pytest.mark.parametrize("name", ["nothing.yaml", "."])
def test_a_config_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    """A config file that is not there, or is a folder, is named."""
    with pytest.raises(ConfigError, match="cannot read the config file") as caught:
        load_settings(config_file=tmp_path / name, environ={})
    assert str(tmp_path) in str(caught.value)


# Several.

SEVERAL = """\
wat: 1
log: {level: loud}
credentials:
  - {api_key_env: A}
  - {account: x, api_key_env: A}
  - nothing
limits: {concurrency: 0, concurency: 8}
api: {timeout: {connect: no, raed: 4}, surface: agents}
policies: [{never_raw: true, require_raw: true}, {project_id: 5}]
"""


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Those of one file in its order, each once, and the good parts between them are not."""
    error = refusal(config=SEVERAL.replace("wat: 1\n", ""), folder=tmp_path)
    told = [str(one.location).rsplit(":", 2)[1:] for one in (error, *error.also)]
    assert [line for line, _ in told] == [*"1456677788"]
    assert told[0] == ["1", "7"]
    assert told[1] == ["4", "6"]
    assert not error.has_more


def test_ten_mistakes_are_enough(tmp_path: Path) -> None:
    """What is more is said to be there."""
    error = refusal(config=SEVERAL, folder=tmp_path)
    assert len(error.also) == 9
    assert error.has_more
    assert ":1:1: found the unknown key 'wat'" in error.message


def test_mistakes_of_several_layers_are_told_at_once(tmp_path: Path) -> None:
    """A file that is no YAML hides neither a wrong flag nor wrong variables."""
    error = refusal(
        "log: {level: loud}",
        config="limits: [",
        environ={"EXPORTER_LOG_FORMAT": "json", "EXPORTER_LIMITS__WAIT": "soon"},
        flags={"limits.concurrency": "many"},
        folder=tmp_path,
    )
    told = " | ".join(str(one) for one in (error, *error.also))
    for words in (
        "EXPORTER_LOG_FORMAT is no setting; did you mean EXPORTER_LOG__FORMAT?",
        "EXPORTER_LIMITS__WAIT: found 'soon', expected a duration",
        "--concurrency: found 'many', expected a whole number",
        "config.yaml:2:1: this is not valid YAML",
    ):
        assert words in told
    assert len(error.also) == 3


def test_what_follows_from_a_mistake_is_none_of_its_own() -> None:
    """A misspelt key is not told once more as a missing one, nor a bad entry as a missing list."""
    assert not refusal("credentials: [{api_key_emv: A}]").also
    assert not refusal("credentials: [5]").also
    assert not refusal("credentials: 5").also
    assert not refusal("credentials: [{api_key_env: A, account_id: 5}]").also


# A manifest in the place of a config, and the other way round.


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nconversations: [CA1]\n",
        "discover: []\n",
        "version: 1\nconversations:\n" + "- CA1\n" * 20_000,
    ],
    ids=["short", "queries", "long"],
)
def test_a_manifest_as_a_config_is_told_as_one(text: str, tmp_path: Path) -> None:
    """One mistake, and where a manifest belongs, instead of a complaint about each of its keys."""
    error = refusal(config=text, folder=tmp_path)
    assert error.hint.startswith("This seems to be a manifest")
    assert not error.also


def test_the_keys_of_configs_and_manifests_are_told_apart() -> None:
    """What one reader takes for the other's keys are the other's keys, and none of its own."""
    assert tuple(Settings.model_fields) == from_yaml.OF_CONFIGS
    assert sorted(sources.OF_MANIFESTS) == sorted(from_yaml._TOP_KEYS)
    assert not set(from_yaml.OF_CONFIGS) & set(sources.OF_MANIFESTS)
