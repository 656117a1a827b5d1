"""The page about the config is right: examples, defaults, flags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import typer.main
from pydantic import BaseModel
from typer.testing import CliRunner

from exporter import cli, running, yamldoc
from exporter.errors import UsageError
from exporter.model import Surface
from exporter.settings import (
    ApiSettings,
    CredentialSettings,
    PolicySettings,
    Settings,
    load_settings,
)
from tests.pages import (
    CONFIG,
    OPTIONS,
    PAGES,
    REFUSED,
    blocks,
    code,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def settings_of(text: str) -> Settings:
    """The settings of a config file."""
    return load_settings(manifest_config=yamldoc.load(text, "config.yaml"), environ={})


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
