"""How values are written: durations, sizes, modes, addresses, keys."""

from __future__ import annotations

import contextlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.layout import LayoutStyle
from exporter.settings import Settings, load_settings
from tests.configs import (
    load,
    refusal,
)

KEY = "pk-live-0123456789abcdef"


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
