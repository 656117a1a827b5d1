"""Config file + environment + flags -> one `Settings` value.

Precedence, highest first: flag, environment (`EXPORTER_LIMITS__CONCURRENCY=8`), `--config` file,
the manifest's `config`, default. Every layer is a tree of the same shape; they are merged key by
key, and an error names the layer that the bad value came from.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.layout import LayoutStyle
from exporter.model import Direction, Redaction, Surface

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

T = TypeVar("T")

ENV_PREFIX = "EXPORTER_"
ENV_DELIMITER = "__"
DEFAULT_KEY_VARIABLE = "POLYAI_API_KEY"

# Source: the vendor's API reference, "Base URLs" of both families. A region of one family is
# understood for the other where there is a counterpart.
_ORIGINS = {
    Surface.PLATFORM_V3: {
        region: f"https://api.{region}.platform.polyai.app" for region in ("us-1", "uk-1", "euw-1")
    },
    Surface.AGENTS_V1: {
        region: f"https://api.{region}.poly.ai" for region in ("us", "uk", "eu", "studio")
    },
}
_COUNTERPARTS = {
    "us-1": "us",
    "uk-1": "uk",
    "euw-1": "eu",
    "us": "us-1",
    "uk": "uk-1",
    "eu": "euw-1",
}

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return timedelta(**{_UNIT[match[2]]: float(match[1])})
    if isinstance(value, (int, float)):
        raise ValueError("expected a duration with its unit, such as 90s, 15m, 24h, 3d or PT15M")  # noqa: TRY004 (pydantic wants ValueError)
    return value


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta():
        raise ValueError("expected a duration of zero or more")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    AfterValidator(_not_negative),
    WithJsonSchema(
        {"type": "string", "examples": ["90s", "15m", "24h", "3d", "PT15M"]}, mode="validation"
    ),
]
"""`90s`, `15m`, `24h`, `3d` or ISO 8601."""


def _octal(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('expected three octal digits in quotes, such as "0700"')


Mode = Annotated[
    int,
    BeforeValidator(_octal),
    WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"}, mode="validation"),
]
"""Permission bits of a file or folder, written as octal digits in quotes."""


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; the name of a folder
        raise ValueError(
            "expected a time zone of the IANA list, such as UTC or Europe/London"
        ) from None
    return name


TimeZoneName = Annotated[str, AfterValidator(_time_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TimeoutSettings(_Section):
    """Seconds."""

    connect: PositiveFloat = 10
    """Seconds to connect, TLS included."""
    read: PositiveFloat = 60
    """Seconds without a byte before the connection is given up."""
    total: PositiveFloat = 900
    """Seconds for one attempt at one recording."""


class ApiSettings(_Section):
    """Which API is exported from."""

    surface: Surface = Surface.PLATFORM_V3
    """The API family: `platform-v3` or `agents-v1`."""
    region: str = "us-1"
    """`us-1`, `uk-1`, `euw-1`; for `agents-v1` `us`, `uk`, `eu`, `studio`."""
    base_url: str | None = None
    """Overrides the region's host, for gateways and the sandbox."""
    timeout: TimeoutSettings = TimeoutSettings()
    allow_insecure_http: bool = False
    """Send the key over plain http to hosts other than loopback ones."""
    ca_file: Path | None = None
    """PEM file of certificate authorities to trust instead of the system's."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.base_url is None:
            _origin_of(self.surface, self.region)
        else:
            _check_base_url(self.base_url, allow_insecure_http=self.allow_insecure_http)
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and any path prefix that every request begins with; no final slash."""
        return (self.base_url or _origin_of(self.surface, self.region)).rstrip("/")


def _origin_of(surface: Surface, region: str) -> str:
    origins = _ORIGINS[surface]
    origin = origins.get(region) or origins.get(_COUNTERPARTS.get(region, ""))
    if origin is None:
        known = ", ".join(origins)
        raise ValueError(f"region {region!r} is not one of {known} (surface {surface})")
    return origin


def _check_base_url(url: str, *, allow_insecure_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("base_url: expected an address such as https://api.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url: expected scheme, host, port and path only")
    if parts.scheme == "http" and not (allow_insecure_http or _is_loopback(parts.hostname)):
        raise ValueError(
            "base_url: the key would be sent unencrypted; use https,"
            " or set allow_insecure_http: true if the network is private"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class CredentialSettings(_Section):
    """Where to find the API key for some or all projects. The key itself is never written here."""

    account_id: str | None = None
    """Only for this account; for all when left out."""
    project_id: str | None = None
    """Only for this project; for all when left out."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    api_key_file: Path | None = None
    """File whose content is the key, for systemd credentials and container secrets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.api_key_env is None) == (self.api_key_file is None):
            raise ValueError("expected exactly one of api_key_env and api_key_file")
        return self


class OutputSettings(_Section):
    """Where the archive is and how it is laid out."""

    url: str = "./archive"
    """A folder."""
    layout: LayoutStyle = LayoutStyle.PLAIN
    timezone: TimeZoneName = "UTC"
    """In which a conversation's start has its date."""
    dir_mode: Mode = 0o700
    file_mode: Mode = 0o600

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "://" in self.url and not self.url.startswith("file://"):
            raise ValueError(f"url: {self.url!r} is not a folder on this machine")
        if not self.url.strip():
            raise ValueError("url: expected a folder, found nothing")
        return self


class ExportSettings(_Section):
    """What is asked for where the manifest does not say."""

    directions: Annotated[
        tuple[Direction, ...],
        NoDecode,
        BeforeValidator(_comma_list),
        AfterValidator(_distinct),
        Field(min_length=1),
    ] = (Direction.COMBINED,)
    redaction: Annotated[
        tuple[Redaction, ...],
        NoDecode,
        BeforeValidator(_comma_list),
        AfterValidator(_distinct),
        Field(min_length=1),
    ] = (Redaction.REDACTED,)
    pending_grace: Duration = timedelta(hours=24)
    """How long after its start a conversation may be without a recording and still get one."""


class LimitSettings(_Section):
    """What a run may use."""

    concurrency: Annotated[PositiveInt, Field(le=1024)] = 16
    """Recordings fetched at a time."""
    requests_per_second: PositiveFloat | None = None
    """At most so many requests in any one second; as many as the server takes when null."""
    adaptive: bool = True
    """Learn from refusals, failures and latency how much the server takes, and stay below it."""
    max_recording_bytes: ByteSize = ByteSize(2 * 1024**3)
    """A longer body is refused."""
    max_failures: PositiveInt | None = None
    """The run stops when so many recordings have failed; never when null."""
    deadline: Duration | None = None
    """The run stops after so long, such as `6h`; never when null."""


class RetrySettings(_Section):
    """How transient failures are retried. Times in seconds."""

    attempts: PositiveInt = 6
    """Requests for one recording at most, the first one included."""
    max_delay: PositiveFloat = 60
    """Longest back-off between two attempts."""
    max_retry_after: NonNegativeInt = 300
    """Longest wait that the server may ask for; the run ends when it asks for more."""
    max_outage: Annotated[float, Field(ge=0)] = 120
    """How long the server may be away, or answer nothing but failures, before the run ends."""


class LogSettings(_Section):
    """Logs go to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """How to export: the whole config."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        use_attribute_docstrings=True,
    )

    api: ApiSettings = ApiSettings()
    credentials: tuple[CredentialSettings, ...] = (
        CredentialSettings(api_key_env=DEFAULT_KEY_VARIABLE),
    )
    """The first that matches a conversation's account and project is used."""
    output: OutputSettings = OutputSettings()
    export: ExportSettings = ExportSettings()
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag that was given on the command line.

    Attributes:
        name: as typed, for messages (`--concurrency`).
        path: the setting it stands for (`("limits", "concurrency")`).
        value: as typed, or already of the setting's type.
    """

    name: str
    path: tuple[str, str]
    value: object


def load_settings(
    *,
    flags: Sequence[Flag] = (),
    config_file: Path | None = None,
    manifest_config: yamldoc.Document | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """All layers as one checked value.

    Raises:
        ConfigError: names the layer, the place in it, what was found and what was expected.
    """
    layers: list[_Layer] = [_FlagLayer(flags), _EnvironmentLayer(environ)]
    if config_file is not None:
        layers.append(_DocumentLayer(_read_config(config_file)))
    if manifest_config is not None:
        layers.append(_DocumentLayer(manifest_config))
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _merge(merged, layer.tree)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error.errors()[0], layers) from None


def _read_config(path: Path) -> yamldoc.Document:
    try:
        with path.open("rb") as stream:
            return yamldoc.load(stream, str(path))
    except OSError as error:
        raise ConfigError(
            f"cannot read the config file {path}: {error.strerror}",
            hint="Check the path given with --config.",
        ) from None


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    """Lay `tree` over `into`: sections are merged key by key, everything else is replaced."""
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, dict):
            into[key] = {}
            _merge(into[key], value)
        elif value is not None or key not in _SECTIONS:  # an empty section changes nothing
            into[key] = value


_SECTIONS = frozenset(
    name for name, field in Settings.model_fields.items() if isinstance(field.default, _Section)
)


class _Layer:
    """One source of settings: a tree, and words for a place in it."""

    tree: Mapping[str, Any]

    def place(self, path: tuple[str | int, ...]) -> str | None:
        """Where this layer says something at `path`; None where it does not."""
        raise NotImplementedError

    def says(self, path: tuple[str | int, ...]) -> bool:
        node: Any = self.tree
        for key in path:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return False
        return True


class _FlagLayer(_Layer):
    def __init__(self, flags: Sequence[Flag]) -> None:
        self._names = {flag.path: flag.name for flag in flags}
        self.tree = {}
        for flag in flags:
            section, key = flag.path
            self.tree.setdefault(section, {})[key] = flag.value

    def place(self, path: tuple[str | int, ...]) -> str | None:
        section_and_key = path[:2]
        return next((n for p, n in self._names.items() if p == section_and_key), None)


class _EnvironmentLayer(_Layer):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._names = [
            name
            for name in environ
            if name.upper().startswith(ENV_PREFIX) and ENV_DELIMITER in name
        ]
        try:
            self.tree = _EnvironmentSource(environ)()
        except SettingsError as error:
            raise ConfigError(
                f"environment: {error}", hint="Lists of sections are written as JSON."
            ) from None
        self._refuse_unknown_sections()

    def _refuse_unknown_sections(self) -> None:
        for name in self._names:
            section = name[len(ENV_PREFIX) :].split(ENV_DELIMITER)[0].lower()
            if section not in Settings.model_fields:
                raise ConfigError(
                    f"environment variable {name}: no such setting"
                    f"{_nearest(section, Settings.model_fields)}"
                )

    def place(self, path: tuple[str | int, ...]) -> str | None:
        while path and not self.says(path):
            path = path[:-1]
        if not path:
            return None
        for length in range(len(path), 0, -1):
            wanted = ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in path[:length])
            for name in self._names:
                if name.lower() == wanted.lower():
                    return f"environment variable {name}"
        return None


class _EnvironmentSource(EnvSettingsSource):
    """Reads a given mapping instead of the process's environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {
            name.lower(): value
            for name, value in self._environ.items()
            if name.upper().startswith(ENV_PREFIX)
        }


class _DocumentLayer(_Layer):
    def __init__(self, document: yamldoc.Document) -> None:
        self._document = document
        tree = document.value
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            raise ConfigError(
                f"found {type(tree).__name__}, expected a mapping such as `limits: {{…}}`",
                location=document.location(()),
            )
        self.tree = tree

    def place(self, path: tuple[str | int, ...]) -> str | None:
        return str(self._document.location(path)) if self.says(path[:1]) else None


def _explain(error: ErrorDetails, layers: Sequence[_Layer]) -> ConfigError:
    """The first validation error in words, with the place that the value came from."""
    path = tuple(error["loc"])
    name = ".".join(str(part) for part in path)
    place = next((p for layer in layers if layer.says(path) and (p := layer.place(path))), None)
    if place is None:  # a missing key, or a rule that spans a section
        place = next((p for layer in layers if (p := layer.place(path))), "config")
    match error["type"]:
        case "extra_forbidden":
            what = f"unknown key {name!r}{_nearest(str(path[-1]), _siblings(path))}"
        case "value_error":
            what = f"{name}: {str(error['msg']).removeprefix('Value error, ')}{_found(error)}"
        case _:
            message = str(error["msg"])
            what = f"{name}: {message[0].lower()}{message[1:]}{_found(error)}"
    return ConfigError(f"{place}: {what}")


def _found(error: ErrorDetails) -> str:
    value = error.get("input")
    return f", found {value!r}"[:120] if isinstance(value, (str, int, float, bool)) else ""


def _siblings(path: tuple[str | int, ...]) -> Sequence[str]:
    """The keys that may stand beside the last one of `path`."""
    model: type[BaseModel] = Settings
    for key in path[:-1]:
        if isinstance(key, int):
            model = CredentialSettings
        elif isinstance(default := model.model_fields[key].default, BaseModel):
            model = type(default)
    return list(model.model_fields)


def _nearest(key: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
