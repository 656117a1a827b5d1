"""Five layers of settings become one value, and each mistake is told with its place."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.model import Direction, Redaction, Surface
from exporter.policy import Policy
from exporter.settings import Flag, Settings, load_settings
from tests.configs import (
    load,
    refusal,
)

if TYPE_CHECKING:
    from pathlib import Path

concurrency = st.integers(1, 1024)


@given(st.lists(st.none() | concurrency, min_size=4, max_size=4))
@example([None, None, None, None])
@example([1, 2, 3, 4])
def test_the_highest_layer_that_says_something_wins(
    tmp_path_factory: pytest.TempPathFactory, said: list[int | None]
) -> None:
    """Flag before environment before config file before manifest before default, always."""
    manifest, config, environment, flag = said
    settings = load(
        None if manifest is None else f"limits: {{concurrency: {manifest}}}",
        config=None if config is None else f"limits: {{concurrency: {config}}}",
        environ={"EXPORTER_LIMITS__CONCURRENCY": str(environment)} if environment else {},
        flags={"limits.concurrency": flag} if flag else {},
        folder=tmp_path_factory.getbasetemp(),
    )
    expected = next((value for value in reversed(said) if value is not None), 16)
    assert settings.limits.concurrency == expected


def test_layers_are_merged_key_by_key(tmp_path: Path) -> None:
    """What one layer says of a section leaves alone what others say of its other keys."""
    settings = load(
        "api: {region: uk-1, timeout: {read: 1, total: 2}}\nlog: {level: debug}",
        config="api: {timeout: {read: 3}}\nlog:\n",
        environ={"EXPORTER_API__TIMEOUT__CONNECT": "4", "EXPORTER_LOG__FORMAT": "json"},
        flags={"api.surface": "agents-v1"},
        folder=tmp_path,
    )
    assert settings.api.timeout.model_dump() == {"connect": 4, "read": 3, "total": 2}
    assert (settings.api.surface, settings.api.region) == (Surface.AGENTS_V1, "uk-1")
    assert (settings.log.format, settings.log.level) == ("json", "debug")


def test_lists_are_replaced_whole(tmp_path: Path) -> None:
    """Credentials of a higher layer take the place of all those below."""
    settings = load(
        "credentials: [{api_key_env: A, account_id: a}, {api_key_env: B}]",
        config="credentials: [{api_key_env: C}]",
        folder=tmp_path,
    )
    assert [entry.api_key_env for entry in settings.credentials] == ["C"]
    in_environment = load(environ={"EXPORTER_CREDENTIALS": '[{"api_key_env": "D"}]'})
    assert [entry.api_key_env for entry in in_environment.credentials] == ["D"]


def test_null_takes_a_value_away(tmp_path: Path) -> None:
    """A higher layer can take back a limit that a lower one sets."""
    manifest = "limits: {requests_per_second: 5}"
    config = "limits: {requests_per_second: null}"
    assert load(manifest).limits.requests_per_second == 5
    assert load(manifest, config=config, folder=tmp_path).limits.requests_per_second is None
    environ = {"EXPORTER_LIMITS__REQUESTS_PER_SECOND": "null"}
    assert load(manifest, environ=environ).limits.requests_per_second is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "log:\n", "api: {timeout: }"])
def test_an_empty_config_is_the_default(text: str) -> None:
    """Files, sections and nested sections may be empty."""
    assert load(text) == load() == Settings()


def test_only_the_given_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings depend on what is handed in, not on the process that happens to run."""
    monkeypatch.setenv("EXPORTER_LIMITS__CONCURRENCY", "77")
    monkeypatch.setenv("EXPORTER_LIMITS", '{"concurrency": 78}')
    assert load().limits.concurrency == 16


# The environment.


@pytest.mark.parametrize(
    ("text", "directions"),
    [
        ("user", (Direction.USER,)),
        ("user,agent", (Direction.USER, Direction.AGENT)),
        (" agent , user ,agent,", (Direction.AGENT, Direction.USER)),
    ],
)
def test_lists_in_the_environment_and_in_flags(
    text: str, directions: tuple[Direction, ...]
) -> None:
    """Outside of files a list is written with commas; what is named twice counts once."""
    assert load(environ={"EXPORTER_EXPORT__DIRECTIONS": text}).export.directions == directions
    assert load(flags={"export.directions": text}).export.directions == directions
    assert load(f"export: {{directions: '{text}'}}").export.directions == directions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORTER_PORT", "tcp://10.0.0.1:80"),
        ("EXPORTER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("EXPORTER_LOG", "debug"),
        ("EXPORTER_API", "{"),
        ("EXPORTER_API__REGION", ""),
        ("EXPORTER_CREDENTIALS", ""),
        ("EXPORTER", "x"),
        ("LIMITS__CONCURRENCY", "1"),
    ],
)
def test_variables_that_are_none_of_ours_are_ignored(name: str, value: str) -> None:
    """What Kubernetes sets for a service called exporter, and empty variables, change nothing."""
    assert load(environ={name: value}) == Settings()


def test_variables_in_any_case() -> None:
    """Names of variables may be written in lower case."""
    assert load(environ={"exporter_limits__concurrency": "3"}).limits.concurrency == 3


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"EXPORTER_LIMIT__CONCURRENCY": "8"},
            "EXPORTER_LIMIT__CONCURRENCY: found the unknown key 'limit' (did you mean 'limits'?),",
        ),
        (
            {"EXPORTER_LIMITS__CONCURENCY": "8"},
            "EXPORTER_LIMITS__CONCURENCY: found the unknown key 'concurency' (did you mean 'concu",
        ),
        (
            {"EXPORTER_LIMITS__CONCURRENCY": "many"},
            "EXPORTER_LIMITS__CONCURRENCY: found 'many', expected a whole",
        ),
        (
            {"EXPORTER_API__TIMEOUT": "5"},
            "EXPORTER_API__TIMEOUT: found 5, expected a mapping with some of the keys connect, re",
        ),
        (
            {"EXPORTER_API__TIMEOUT": "soon"},
            "EXPORTER_API__TIMEOUT: found 'soon', expected a mapping",
        ),
        (
            {"EXPORTER_API__REGION__X": "5"},
            "EXPORTER_API__REGION__X: found a mapping, expected text",
        ),
        (
            {"EXPORTER_CREDENTIALS__0__API_KEY_ENV": "A"},
            "EXPORTER_CREDENTIALS__0__API_KEY_ENV: found a mapping, expected a list of mappings w",
        ),
        (
            {"EXPORTER_CREDENTIALS": '[{"api_key_env": "A", "acount_id": "a"}]'},
            "EXPORTER_CREDENTIALS: found the unknown key 'acount_id'",
        ),
        (
            {"EXPORTER_EXPORT__DIRECTIONS": "user,agnt"},
            "EXPORTER_EXPORT__DIRECTIONS: found 'agnt' (did you mean 'agent'?), expected one of:",
        ),
        ({"EXPORTER__API__REGION": "us"}, "EXPORTER__API__REGION: found the unknown key '_api'"),
        ({"EXPORTER_LIMITS__": "1"}, "EXPORTER_LIMITS__: found the unknown"),
    ],
)
def test_mistakes_in_the_environment(environ: dict[str, str], message: str) -> None:
    """The variable is named, with what was found and what was expected."""
    assert str(refusal(environ=environ)).startswith(f"environment variable {message}")


# What there is.


def test_the_settings_that_work() -> None:
    """The config has exactly the keys that do something; the rest come with their features."""

    def keys(model: Any, prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name in type(model).model_fields:
            value = getattr(model, name)
            nested = hasattr(type(value), "model_fields")
            found |= keys(value, f"{prefix}{name}.") if nested else {prefix + name}
        return found

    assert keys(Settings()) == {
        "api.surface",
        "api.region",
        "api.base_url",
        "api.timeout.connect",
        "api.timeout.read",
        "api.timeout.total",
        "api.allow_insecure_http",
        "api.ca_file",
        "credentials",
        "output.url",
        "output.layout",
        "output.timezone",
        "output.dir_mode",
        "output.file_mode",
        "object_store.endpoint",
        "object_store.region",
        "object_store.allow_insecure_http",
        "object_store.ca_file",
        "object_store.retry_timeout",
        "object_store.tags",
        "object_store.storage_class",
        "object_store.encryption",
        "object_store.kms_key_id",
        "object_store.bucket_key",
        "object_store.lock_mode",
        "object_store.lock_for",
        "output.raw_url",
        "output.raw_dir_mode",
        "output.raw_file_mode",
        "output.state_dir",
        "export.directions",
        "export.redaction",
        "export.never_raw",
        "export.require_raw",
        "export.enough_identical",
        "export.pending_grace",
        "export.lookup_started_at",
        "export.order",
        "export.retention",
        "export.expiry_warning",
        "export.metadata",
        "export.metadata_pii",
        "export.recheck",
        "export.refresh",
        "policies",
        "limits.concurrency",
        "limits.processes",
        "limits.requests_per_second",
        "limits.adaptive",
        "limits.max_recording_bytes",
        "limits.min_free_bytes",
        "limits.wait",
        "limits.max_failures",
        "limits.deadline",
        "retry.attempts",
        "retry.max_delay",
        "retry.max_retry_after",
        "retry.max_outage",
        "log.format",
        "log.level",
    }


def test_the_defaults() -> None:
    """Without any config the documented defaults apply."""
    settings = load()
    assert settings.api.origin == "https://api.us-1.platform.polyai.app"
    assert [entry.api_key_env for entry in settings.credentials] == ["POLYAI_API_KEY"]
    assert (settings.output.url, settings.output.timezone) == ("./archive", "UTC")
    assert (settings.output.dir_mode, settings.output.file_mode) == (0o700, 0o600)
    assert settings.export.directions == (Direction.COMBINED,)
    assert settings.export.redaction == (Redaction.REDACTED,)
    assert settings.export.pending_grace == timedelta(hours=24)
    assert settings.limits.concurrency == 16
    assert settings.limits.max_recording_bytes == 2 * 1024**3
    assert settings.retry.model_dump() == {
        "attempts": 6,
        "max_delay": 60,
        "max_retry_after": 300,
        "max_outage": 120,
    }


def test_the_first_policy_that_matches_holds() -> None:
    """Account and project choose it, and what stands behind it does not count there."""
    settings = load(
        "export: {enough_identical: 30}\npolicies:\n"
        "  - {account_id: a, project_id: open}\n"
        "  - {account_id: a, never_raw: true}\n"
        "  - {project_id: p, require_raw: true, enough_identical: 50}\n"
    )
    expected = {
        ("a", "open"): Policy(never_raw=False, require_raw=False, enough_identical=30),
        ("a", "p"): Policy(never_raw=True, require_raw=False, enough_identical=30),
        ("b", "p"): Policy(never_raw=False, require_raw=True, enough_identical=50),
        ("b", "q"): Policy(never_raw=False, require_raw=False, enough_identical=30),
    }
    assert {project: settings.policy_of(*project) for project in expected} == expected


@pytest.mark.parametrize("name", ["never_raw", "require_raw"])
@given(everywhere=st.booleans(), here=st.booleans())
def test_a_policy_loosens_nothing(name: str, *, everywhere: bool, here: bool) -> None:
    """What `export` or a flag says of all projects holds in those with a policy, too."""
    text = f"policies: [{{project_id: p, {name}: {str(here).lower()}}}]"
    flags = [Flag(f"--{name}", ("export", name), value=True)] if everywhere else []
    document = yamldoc.load(text, "job.yaml")
    settings = load_settings(flags=flags, manifest_config=document, environ={})
    assert getattr(settings.policy_of("a", "p"), name) == (everywhere or here)
    assert getattr(settings.policy_of("a", "q"), name) == everywhere


def test_policies_in_the_environment() -> None:
    """They are JSON there, as the credentials are, and a mistake names the variable."""
    text = '[{"project_id": "p", "never_raw": true}]'
    settings = load_settings(environ={"EXPORTER_POLICIES": text})
    assert settings.policy_of("a", "p").never_raw
    with pytest.raises(ConfigError, match="environment variable EXPORTER_POLICIES: found 'p'"):
        load_settings(environ={"EXPORTER_POLICIES": "p"})


def test_settings_can_be_written_and_read_again() -> None:
    """What the results tell of the config is a config, also of times longer than a year."""
    settings = load(
        "output: {dir_mode: '0750'}\nexport: {pending_grace: 36h, redaction: raw,"
        " retention: 400d, expiry_warning: 30d}\nlimits: {deadline: 1.5s, wait: 0s}"
    )
    dumped = settings.model_dump(mode="json")
    assert dumped["output"]["dir_mode"] == "0750"
    document = yamldoc.load(io.BytesIO(_as_yaml(dumped).encode()), "job.yaml")
    assert load_settings(manifest_config=document, environ={}) == settings


def _as_yaml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_as_yaml, value)) + "]"
        case str():
            return f'"{value}"'
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case _:
            return str(value)
