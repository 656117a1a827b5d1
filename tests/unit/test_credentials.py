"""Which key goes with which project, and that nothing ever shows it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.credentials import Credential, Credentials
from exporter.errors import ConfigError
from exporter.settings import CredentialSettings

if TYPE_CHECKING:
    from pathlib import Path

KEY = "pk-live-0123456789abcdef"


def from_env(
    name: str, account_id: str | None = None, project_id: str | None = None
) -> CredentialSettings:
    return CredentialSettings(account_id=account_id, project_id=project_id, api_key_env=name)


@pytest.mark.parametrize(
    ("project", "name"),
    [
        (("acme", "shop"), "SHOP"),
        (("acme", "other"), "ACME"),
        (("else", "billing"), "BILLING"),
        (("acme", "billing"), "ACME"),  # stands before the entry for the project
        (("else", "other"), "ALL"),
    ],
)
def test_the_first_match_wins(project: tuple[str, str], name: str) -> None:
    """Entries are tried in their order; what an entry does not name matches everything."""
    entries = [
        from_env("SHOP", "acme", "shop"),
        from_env("ACME", "acme"),
        from_env("BILLING", project_id="billing"),
        from_env("ALL"),
        from_env("NEVER"),
    ]
    environ = {name: f"key-of-{name}" for name in ("SHOP", "ACME", "BILLING", "ALL")}
    found = Credentials(entries, environ).of(*project)
    assert (found.name, found.key) == (name, f"key-of-{name}")


def test_keys_are_read_once_and_when_needed(tmp_path: Path) -> None:
    """A key that no project needs may be missing; one that is read is not read again."""
    file = tmp_path / "key"
    file.write_text(KEY)
    environ = {"A": KEY}
    entries = [
        from_env("A", "a"),
        CredentialSettings(account_id="b", api_key_file=file),
        from_env("MISSING", "c"),
    ]
    credentials = Credentials(entries, environ)
    needed = [("a", "1"), ("b", "1"), ("a", "2")]
    first = credentials.require(needed)
    environ.clear()
    file.unlink()
    assert credentials.require([*needed, ("b", "2")])[:3] == first


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n", f"  {KEY}\r\n\n", f"\t{KEY} "])
def test_space_around_a_key_does_not_matter(text: str, tmp_path: Path) -> None:
    """An editor's line break at the end of a file, or a shell's space, is no part of the key."""
    file = tmp_path / "key"
    file.write_bytes(text.encode())
    entries = [CredentialSettings(account_id="f", api_key_file=file), from_env("K")]
    credentials = Credentials(entries, {"K": text})
    assert [credentials.of("f", "p").key, credentials.of("e", "p").key] == [KEY, KEY]


BAD = [
    ("", "is empty"),
    (" \n", "is empty"),
    ("two words", "is not one word"),
    ("two\nlines", "is not one word"),
    ("nul\0inside", "is not one word"),
    ("tab\tinside", "is not one word"),
    ("schl\u00fcssel", "has a character that is not ASCII"),
    ("\ufeff" + KEY, "has a character that is not ASCII"),
    ("\u201c" + KEY + "\u201d", "has a character that is not ASCII"),
    ("k" * 4097, "is longer than 4096 characters"),
    ("k" * 100_000, "is longer than 4096 characters"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
@pytest.mark.parametrize("place", ["file", "environment"])
def test_what_is_no_key_is_refused_without_repeating_it(
    text: str, words: str, place: str, tmp_path: Path
) -> None:
    """A text that cannot be a header's value is refused by name, and never quoted."""
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8", newline="")
    entry = CredentialSettings(api_key_file=file) if place == "file" else from_env("K")
    name = str(file) if place == "file" else "K"
    with pytest.raises(ConfigError) as caught:
        Credentials([entry], {"K": text}).of("a", "p")
    assert caught.value.message == f"the API key in {name} {words}"
    assert caught.value.hint
    assert len(str(caught.value)) < 200 + len(name)


def test_a_missing_variable_is_named() -> None:
    """The message names the variable and for which project it is needed, and what to do."""
    with pytest.raises(ConfigError, match="POLYAI_API_KEY is not set") as caught:
        Credentials([from_env("POLYAI_API_KEY")], {}).require([("acme", "shop")])
    assert "acme/shop" in str(caught.value)
    assert "export POLYAI_API_KEY" in caught.value.hint


@pytest.mark.parametrize("kind", ["missing", "folder", "forbidden name"])
def test_a_file_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    """The message names the file and the reason."""
    name = {"missing": "nothing", "folder": ".", "forbidden name": "x" * 300}[kind]
    file = tmp_path / name
    with pytest.raises(ConfigError, match="no API key for acme/shop: cannot read") as caught:
        Credentials([CredentialSettings(api_key_file=file)], {}).of("acme", "shop")
    assert str(file) in str(caught.value)


def test_a_project_without_entry_is_named() -> None:
    """A project that no entry matches is told before anything is downloaded."""
    with pytest.raises(ConfigError, match="no entry of `credentials` matches acme/shop"):
        Credentials([from_env("K", "other")], {"K": KEY}).of("acme", "shop")


@given(st.text(max_size=40).map(lambda text: f"Zq9-{text}"))
def test_no_message_and_no_representation_holds_the_key(key: str) -> None:
    """Neither values nor errors, with their tracebacks and causes, show a key."""
    credentials = Credentials([from_env("K")], {"K": key})
    told = repr(credentials) + str(credentials)
    try:
        found = credentials.of("a", "p")
        told += repr(found) + str(found) + repr([found]) + repr({"c": found})
    except ConfigError as error:
        told += "".join(traceback.format_exception(error)) + repr(error) + error.hint
        cause: BaseException | None = error
        while cause is not None:
            told += repr(cause.__dict__)
            cause = cause.__cause__ or cause.__context__
    assert "Zq9" not in told


def test_equal_keys_are_equal_credentials() -> None:
    """A credential is a value: comparing works although the key is not shown."""
    assert Credential("K", KEY) == Credential("K", KEY) != Credential("K", "other")
    assert KEY not in f"{Credential('K', KEY)!r}"
