"""Restricted YAML: plain values with their places, and nothing that harms."""

from __future__ import annotations

import io
import math

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter import yamldoc
from exporter.errors import ConfigError, Location, ManifestError, UsageError
from exporter.yamldoc import events

# A busy machine is no failure.
unhurried = settings(deadline=None)


@pytest.fixture(params=["libyaml", "python"])
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(events, "_parser_class", events._PythonParser)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML came without libyaml")


each_parser = pytest.mark.usefixtures("_each_parser")


def value_of(text: str) -> object:
    return yamldoc.load(text, "file.yaml").value


def refusal(text: str | bytes) -> UsageError:
    with pytest.raises(ConfigError) as caught:
        yamldoc.load(text, "file.yaml")
    assert caught.value.location is not None
    assert str(caught.value).startswith(f"{caught.value.location}: ")
    return caught.value


@each_parser
def test_a_document_is_plain_values() -> None:
    """Mappings, lists and scalars become dict, list and Python's own scalars."""
    text = "a: {b: [1, 2.5, true, null, x]}\n'c': \"1\"\nd: |\n  two\n  lines\n"
    assert value_of(text) == {
        "a": {"b": [1, 2.5, True, None, "x"]},
        "c": "1",
        "d": "two\nlines\n",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-0.5", -0.5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("yes", "yes"),
        ("off", "off"),
        ("0700", "0700"),
        ("00123", "00123"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("9" * 30, "9" * 30),
        ("9" * 5000, "9" * 5000),
        ("1e999", "1e999"),
        ("2026-05-21", "2026-05-21"),
        ("2026-05-21T22:14:03Z", "2026-05-21T22:14:03Z"),
        ("10MiB", "10MiB"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int '12'", 12),
        ("!!float 1", 1.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!timestamp 2026-05-21", "2026-05-21"),
    ],
)
@each_parser
def test_a_plain_value_is_a_number_only_where_nobody_can_mean_another(
    text: str, value: object
) -> None:
    """Words, times, codes and long digits stay text; numbers and truth values are YAML 1.2's."""
    found = value_of(f"key: {text}")
    assert found == {"key": value}
    assert type(found["key"]) is type(value)  # type: ignore[index]


@each_parser
def test_every_value_remembers_its_place() -> None:
    """A mapping's value is found at its key, a list's at the item; unknown paths at the parent."""
    document = yamldoc.load("a:\n  b:\n    - x\n    - {c: 1}\n", "file.yaml")
    assert document.location(()) == Location("file.yaml", 1, 1)
    assert document.location(("a", "b")) == Location("file.yaml", 2, 3)
    assert document.location(("a", "b", 1)) == Location("file.yaml", 4, 7)
    assert document.location(("a", "b", 1, "c")) == Location("file.yaml", 4, 8)
    assert document.location(("a", "b", 1, "missing", 7)) == Location("file.yaml", 4, 7)
    assert document.location(("nothing",)) == Location("file.yaml", 1, 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- ~\n...\n"])
@each_parser
def test_an_empty_file_is_nothing(text: str) -> None:
    """A file without a value is a document whose value is None."""
    document = yamldoc.load(text, "file.yaml")
    assert document.value is None
    assert document.location(("a",)).source == "file.yaml"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa: caf\xc3\xa9\r\nb: 2\r\n",
        "a: café\nb: 2\n",
        io.BytesIO("a: café\nb: 2\n".encode()),
    ],
)
def test_bytes_text_and_streams_read_alike(content: io.BytesIO | bytes | str) -> None:
    """A byte order mark and Windows' line ends make no difference."""
    assert yamldoc.load(content, "file.yaml").value == {"a": "café", "b": 2}


@each_parser
def test_an_alias_may_stand_for_a_value_or_a_list_of_values() -> None:
    """What YAML writers produce for shared objects is read as if it were written out."""
    text = "a: &one x\nb: *one\nc: &many [1, *one]\nd: &list [1, 2]\ne: *list\nf: [*one, *list]\n"
    with pytest.raises(ConfigError, match=r":3:\d+.*nested list"):
        yamldoc.load(text + "g: *many\n".replace("\n", " # c\n"), "f").value  # noqa: B018
