"""Five layers of settings become one value, and each mistake is told with its place."""

from __future__ import annotations

import contextlib
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.layout import LayoutStyle
from exporter.model import Direction, Redaction, Surface
from exporter.policy import Policy
from exporter.settings import Flag, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "pk-live-0123456789abcdef"


def load(
    manifest: str | None = None,
    *,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    folder: Path | None = None,
) -> Settings:
    file = None
    if config is not None:
        assert folder is not None
        file = folder / "config.yaml"
        file.write_text(config)
    given_flags = []
    for name, value in (flags or {}).items():
        section, key = name.split(".")
        given_flags.append(Flag(f"--{key}", (section, key), value))
    return load_settings(
        flags=given_flags,
        config_file=file,
        manifest_config=yamldoc.load(manifest, "job.yaml") if manifest is not None else None,
        environ=environ or {},
    )


def refusal(manifest: str | None = None, **layers: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(manifest, **layers)
    error = caught.value
    assert error.exit_code == 2
    told = f"{error} {error.hint}".lower()
    for jargon in ("input should", "pydantic", "settings,", "tuple", "class '", "validat", "none"):
        assert jargon not in told
    return error


# Layers.

PLACES = ["default", "manifest", "config", "environment", "flag"]
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


# Values.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86400),
        ("3d", 259200),
        ("1.5h", 5400),
        ("0s", 0),
        ("15 m", 900),
        ("PT15M", 900),
        ("P1D", 86400),
        ("P1DT2H3M4S", 93784),
        ("P2W", 1209600),
        ("PT0.5S", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Durations are written with their unit, or as ISO 8601 has them."""
    settings = load(f"export: {{pending_grace: {text}}}")
    assert settings.export.pending_grace == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "90",
        "'90'",
        "-5s",
        "-PT5S",
        "1:30",
        "P",
        "PT",
        "P1H",
        "1h30m",
        "1w",
        "''",
        "true",
        "9e9d",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    """A number without unit is refused instead of guessed, and so is what would overflow."""
    error = refusal(f"export: {{pending_grace: {text}}}")
    assert "expected a duration with its unit, such as 90s, 15m, 24h, 3d or PT15M" in str(error)


def test_a_duration_that_overflows() -> None:
    """Several parts that are each fine can be too much together."""
    error = refusal("export: {pending_grace: P999999999W}")
    assert "expected a shorter duration" in str(error)


@given(st.integers(0, 999_999), st.sampled_from("smhd"))
def test_durations_keep_their_unit(number: int, unit: str) -> None:
    """Any whole number of any unit is that long."""
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    settings = load(flags={"export.pending_grace": f"{number}{unit}"})
    assert settings.export.pending_grace.total_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500000", 500_000),
        ("'500000'", 500_000),
        ("500B", 500),
        ("10MiB", 10 * 1024**2),
        ("2GB", 2 * 10**9),
        ("2gib", 2 * 1024**3),
        ("1.5 kB", 1500),
        ("3T", 3 * 10**12),
        ("4Ki", 4096),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are bytes, or have a unit to the base of 1000 or 1024."""
    assert load(f"limits: {{max_recording_bytes: {text}}}").limits.max_recording_bytes == size


@pytest.mark.parametrize(
    "text", ["0", "-5", "0.5", "1.5", "true", "10 bananas", "MiB", "1e9", "1e400GB", "''", "0.1B"]
)
def test_what_is_no_size(text: str) -> None:
    """A limit of nothing, or of something that is no size, is refused."""
    error = refusal(f"limits: {{max_recording_bytes: {text}}}")
    assert "expected a size of at least one byte, such as 500000, 10MiB or 2GB" in str(error)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("'0700'", 0o700), ("0700", 0o700), ("'750'", 0o750), ("0755", 0o755), ("'0777'", 0o777)],
)
def test_modes(text: str, mode: int) -> None:
    """Permissions are octal digits; a leading zero makes them text even without quotes."""
    assert load(f"output: {{dir_mode: {text}}}").output.dir_mode == mode
    environ = {"EXPORTER_OUTPUT__DIR_MODE": text.strip("'")}
    assert load(environ=environ).output.dir_mode == mode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dir_mode: 700", 'found 700, expected three octal digits, such as "0700" (in quotes)'),
        ("dir_mode: 0o700", "found 448, expected three octal digits"),
        ("dir_mode: 0800", "found '0800', expected three octal digits"),
        ("dir_mode: rwx------", "found 'rwx------', expected three octal digits"),
        ("dir_mode: 01777", "found '01777', expected three octal digits"),
        ("dir_mode: '0600'", '"0600" would lock the owner out, expected "0700" or wider'),
        ("file_mode: '0400'", '"0400" would lock the owner out, expected "0600" or wider'),
        ("file_mode: '0077'", '"0077" would lock the owner out, expected "0600" or wider'),
    ],
)
def test_what_is_no_mode(text: str, message: str) -> None:
    """A number that YAML may have read otherwise, and a mode that locks us out, are refused."""
    assert f": {message}" in str(refusal(f"output: {{{text}}}"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("yes", True),
        ("on", True),
        ("'1'", True),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("'0'", False),
    ],
)
def test_switches(text: str, *, value: bool) -> None:
    """True and false have the usual words, in the environment too."""
    assert load(f"api: {{allow_insecure_http: {text}}}").api.allow_insecure_http is value
    environ = {"EXPORTER_API__ALLOW_INSECURE_HTTP": text.strip("'")}
    assert load(environ=environ).api.allow_insecure_http is value


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/calls/", "s3://bucket/calls"),
        ("gs://my-bucket.example/a/b=c", "gs://my-bucket.example/a/b=c"),
        ("az://container/calls", "az://container/calls"),
        ("file:///srv/calls", "file:///srv/calls"),
        ("./archive", "./archive"),
    ],
)
def test_archives(url: str, stored: str) -> None:
    """A folder, or a place in an object store, always written the same way."""
    assert load_settings(environ={"EXPORTER_OUTPUT__URL": url}).output.url == stored


@pytest.mark.parametrize(
    "text", ["team=voice, cost centre=a b", '{"team": "voice", "cost centre": "a b"}']
)
def test_tags_in_the_environment(text: str) -> None:
    """Tags are written as pairs, or as JSON."""
    settings = load_settings(environ={"EXPORTER_OBJECT_STORE__TAGS": text})
    assert settings.object_store.tags == {"team": "voice", "cost centre": "a b"}


def test_words_in_any_case() -> None:
    """`INFO` and `JSON` are what `info` and `json` are."""
    settings = load("log: {level: INFO, format: JSON}\noutput: {layout: Hive}\napi: {region: UK-1}")
    assert (settings.log.level, settings.log.format) == ("info", "json")
    assert settings.output.layout is LayoutStyle.HIVE
    assert settings.api.region == "uk-1"


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the home folder in files too, where no shell replaces it."""
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load(
        "output: {url: ~/calls}\napi: {ca_file: ~/ca.pem}\ncredentials: [{api_key_file: ~/key}]"
    )
    assert settings.output.url == "/home/somebody/calls"
    assert settings.api.ca_file == Path("/home/somebody/ca.pem")
    assert settings.credentials[0].api_key_file == Path("/home/somebody/key")


# Regions and addresses.

ORIGINS = {
    ("platform-v3", "us-1"): "https://api.us-1.platform.polyai.app",
    ("platform-v3", "uk-1"): "https://api.uk-1.platform.polyai.app",
    ("platform-v3", "euw-1"): "https://api.euw-1.platform.polyai.app",
    ("platform-v3", "us"): "https://api.us-1.platform.polyai.app",
    ("platform-v3", "uk"): "https://api.uk-1.platform.polyai.app",
    ("platform-v3", "eu"): "https://api.euw-1.platform.polyai.app",
    ("agents-v1", "us"): "https://api.us.poly.ai",
    ("agents-v1", "uk"): "https://api.uk.poly.ai",
    ("agents-v1", "eu"): "https://api.eu.poly.ai",
    ("agents-v1", "studio"): "https://api.studio.poly.ai",
    ("agents-v1", "us-1"): "https://api.us.poly.ai",
    ("agents-v1", "uk-1"): "https://api.uk.poly.ai",
    ("agents-v1", "euw-1"): "https://api.eu.poly.ai",
}


@pytest.mark.parametrize(("surface", "region"), ORIGINS)
def test_regions(surface: str, region: str) -> None:
    """Each region of either family leads to the host of the surface that is asked."""
    settings = load(f"api: {{surface: {surface}, region: {region}}}")
    assert settings.api.origin == ORIGINS[surface, region]


@pytest.mark.parametrize(
    ("surface", "region", "message"),
    [
        (
            "platform-v3",
            "us1",
            "found 'us1' (did you mean 'us-1'?), expected a region of platform-v3: us-1, uk-1, euw",
        ),
        ("agents-v1", "mars", "found 'mars', expected a region of agents-v1: us, uk, eu, studio"),
        ("platform-v3", "''", "found '', expected a region of platform-v3: us-1, uk-1, euw-1"),
    ],
)
def test_unknown_regions(surface: str, region: str, message: str) -> None:
    """A region that does not exist is told with those that do."""
    assert message in str(refusal(f"api: {{surface: {surface}, region: {region}}}"))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/", "https://api.example.com"),
        ("https://api.example.com:8443/polyai/v3/", "https://api.example.com:8443/polyai/v3"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:8765", "http://[::1]:8765"),
        ("HTTPS://API.example.com", "HTTPS://API.example.com"),
    ],
)
def test_addresses(url: str, origin: str) -> None:
    """An address overrides the region; plain http is fine where nothing leaves the machine."""
    settings = load(f"api: {{base_url: '{url}', region: nowhere}}")
    assert settings.api.origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1:80",
        "http://0.0.0.0",
        "http://[::]",
        "http://127.0.0.1.example.com",
    ],
)
def test_plain_http_elsewhere(url: str) -> None:
    """The key is not sent unencrypted over a network, unless that is asked for by name."""
    error = refusal(f"api: {{base_url: '{url}'}}")
    assert "the key would be sent unencrypted, expected https" in str(error)
    assert "allow_insecure_http" in error.hint
    allowed = load(f"api: {{base_url: '{url}', allow_insecure_http: true}}")
    assert allowed.api.origin == url


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "//api.example.com",
        "ftp://api.example.com",
        "https://",
        "https:///path",
        "https://a b/",
        "https://a..b/",
        "https://-a.example/",
        "https://under_score.example/",
        "https://host:99999",
        "https://host:port",
        "https://host:0",
        "https://[::1",
        "https://host\\@evil/",
        "https://" + "a" * 64 + ".example",
        "five",
    ],
)
def test_what_is_no_address(url: str) -> None:
    """What a request would trip over later is refused now, without repeating it."""
    error = refusal(f"api: {{base_url: '{url}'}}")
    assert str(error) == (
        "job.yaml:1:7: api.base_url: expected an address such as https://api.example.com"
    )


@pytest.mark.parametrize("more", [f"?key={KEY}", f"#{KEY}", "?", "#"])
@pytest.mark.parametrize("user", ["", f"{KEY}@", f"me:{KEY}@", "@"])
def test_secrets_do_not_belong_in_an_address(user: str, more: str) -> None:
    """An address with user, password, query or fragment is refused and not repeated."""
    error = refusal(flags={"api.base_url": f"https://{user}api.example.com/{more}"})
    assert str(error).startswith("--base_url: expected scheme, host, port and path only")
    assert KEY not in f"{error}{error.hint}"


# Keys.


@pytest.mark.parametrize(
    ("layers", "hinted"),
    [
        ({"manifest": f"credentials: [{{api_key: {KEY}}}]"}, True),
        ({"manifest": f"credentials: [{{api_key_env: {KEY}}}]"}, True),
        ({"manifest": f"credentials: [{KEY}]"}, True),
        ({"manifest": f"credentials: {KEY}"}, True),
        ({"manifest": f"api: {{api_key: {KEY}}}"}, True),
        ({"manifest": f"api_key: {KEY}"}, True),
        ({"manifest": f"api: {{base_url: 'https://x:{KEY}@api.example.com'}}"}, True),
        ({"environ": {"EXPORTER_CREDENTIALS": KEY}}, True),
        ({"environ": {"EXPORTER_CREDENTIALS": f'[{{"api_key_env": "{KEY}"}}]'}}, True),
        ({"environ": {"EXPORTER_API__KEY": KEY}}, True),
        ({"environ": {"EXPORTER_CREDENTIALS__API_KEY": KEY}}, True),
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(layers: dict[str, Any], *, hinted: bool) -> None:
    """Whoever writes the key itself into a config is told where it belongs, without echo."""
    error = refusal(layers.get("manifest"), environ=layers.get("environ"))
    assert KEY not in f"{error}{error.hint}{error.__dict__}"
    assert bool(error.hint) is hinted


@given(st.text(max_size=30))
@example("[" * 5000)
@example('{"a": ' * 5000)
def test_any_text_for_credentials_is_refused_in_words(text: str) -> None:
    """Whatever stands in the variable, the answer is a message and never a traceback."""
    with contextlib.suppress(ConfigError):
        load(environ={"EXPORTER_CREDENTIALS": text})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Settings.model_fields, "timeout", "url", "api_key_env", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_document_is_taken_or_refused_in_words(value: object) -> None:
    """No config, however wrong, ends in anything but settings or an error with a place."""
    document = yamldoc.Document(value, "job.yaml", {(): (1, 1)})
    try:
        load_settings(manifest_config=document, environ={})
    except ConfigError as error:
        assert re.match(r"job\.yaml:1:1: ", str(error))  # noqa: PT017 (either is fine)


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
