"""Settings loaded from text, and how they are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter import yamldoc
from exporter.errors import ConfigError
from exporter.settings import Flag, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
