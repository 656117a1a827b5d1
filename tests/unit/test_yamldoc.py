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
    assert type(found["key"]) is type(value)


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
    text = "a: &one x\nb: *one\nc: &many [1, *one]\nd: *many\ne: [*one, *many]\n"
    assert value_of(text) == {
        "a": "x",
        "b": "x",
        "c": [1, "x"],
        "d": [1, "x"],
        "e": ["x", [1, "x"]],
    }


@each_parser
def test_what_a_yaml_writer_shares_is_read() -> None:
    """PyYAML's own aliases for an object that stands twice are understood."""
    shared = ["user", "agent"]
    text = yaml.safe_dump([{"directions": shared}, {"directions": shared}])
    assert "*id001" in text
    assert value_of(text) == [{"directions": shared}, {"directions": shared}]


ALIAS_BOMB = "a: &a [lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# Text, place, words of the message, words of the hint.
REFUSALS: dict[str, tuple[str | bytes, str, str, str]] = {
    "python tag": ("a: !!python/object/apply:os.system [x]", "1:4", "'!!python/object/app", "code"),
    "python name": ("!!python/name:os.system x", "1:1", "'!!python/name:os.system'", "remove it"),
    "own tag": ("a: !include other.yaml", "1:4", "the tag '!include'", "remove it"),
    "binary tag": ("a: !!binary aGVsbG8=", "1:4", "'!!binary'", "remove it"),
    "scalar's tag on a list": ("a: !!str [x]", "1:4", "'!!str'", ""),
    "tag on a key": ("!!python/none x: 1", "1:1", "'!!python/none'", ""),
    "wrong explicit tag": ("a: !!int ten", "1:4", "found 'ten' with the tag '!!int'", ""),
    "wrong truth": ("a: !!int true", "1:4", "found 'true' with the tag '!!int'", ""),
    "unknown tag handle": ("a: !x!y z", "1:4", "tag", "quotation"),
    "alias of a mapping": ("a: &a {b: 1}\nc: *a", "2:4", "alias '*a' of a mapping", "Write"),
    "alias of itself": ("&a [*a]", "1:5", "alias '*a'", "Write"),
    "alias bomb": (ALIAS_BOMB, "3:8", "alias '*b' of a mapping or of a nested list", "Write"),
    "unknown alias": ("a: *b", "1:4", "alias '*b', expected its anchor before it", ""),
    "many anchors": ("\n".join(f"- &a{n} x" for n in range(1001)), "1001:3", "anchors", "Write"),
    "long anchor": (f"- &{'a' * 201} x", "1:3", "more than 200 characters", "Write"),
    "merge key": ("a: &a x\nb: {<<: *a}", "2:5", "merge key '<<'", "Write the merged keys out"),
    "key twice": (
        "a: 1\nb: 2\na: 3",
        "3:1",
        "key 'a' twice, expected it once (first at line 1",
        "",
    ),
    "mapping as key": ("? {a: 1}\n: 2", "1:3", "a key that is no plain text", ""),
    "empty key": ("'': 1", "1:1", "an empty key", ""),
    "two documents": ("a: 1\n---\nb: 2\n", "2:1", "a second YAML document", ""),
    "deep lists": ("[" * 100_000, "1:34", "more than 32 levels", ""),
    "deep mappings": ("{a: " * 100_000, "1:133", "more than 32 levels", ""),
    "deep lines": (
        "".join(" " * n + "a:\n" for n in range(100)),
        "34:34",
        "more than 32 levels",
        "",
    ),
    "many values": (f"[{'1,' * 20_000}]", "1:20000", "more than 10000 values", ""),
    "large list, aliased": (
        f"- &a [{'1,' * 100}1]\n" + "- *a\n" * 100,
        "99:3",
        "10000 values",
        "",
    ),
    "a megabyte": ("a: " + "x" * 3_000_000, "1", "more than 1024 KiB without an end", ""),
    "tab": ("a:\n\t- b\n", "2:1", "tab", "spaces"),
    "reserved character": ("a: @b", "1:4", "a character that no value can begin with", "quotation"),
    "colon in a value": ("a: b: c", "1:5", "':' where no key can be", "quotation marks"),
    "list in a line": ("a: - b", "1:4", "'- ' where no list can begin", "line of its own"),
    "no colon": ("a: 1\nb\nc: 2", "2:1", "", "':'"),
    "open quote": ("a: 1\nb: 'x\nc: 2\n", "2:4", "quotation mark without its closing", "Close"),
    "open list": ("a: [1, 2\nb: 3\n", "1:4", "opened with '['", "']'"),
    "open mapping": ("a: {b: 1\nc: 2\n", "1:4", "opened with '{'", "'}'"),
    "bad indent": ("a:\n  - x\n - y\n", "3:2", "does not fit the lines above", "Indent"),
    "no value": ("a: [}", "1:5", "no value where one is expected", "bracket"),
    "bad escape": ('a: "C:\\q"', "", "backslash", "single quotation marks"),
    "impossible escape": ('a: "\\U00110000"', "", "", ""),
    "half a character": ('a: "\\ud800"', "", "", ""),
    "bad alias": ("a: *", "1:5", "'&' or '*'", "quotation marks"),
    "bad tag escape": ("a: !%ED%A0%80 x", "", "this is not valid YAML", ""),
    "directive": ("%YAML 3.0\n---\na: 1", "1:1", "another YAML version", "Remove"),
    "not utf-8": (b"a: 1\nb: caf\xe9\n", "2:7", "the byte 0xe9, expected text in UTF-8", "UTF-8"),
    "cut utf-8": (b"a: 1\nb: caf\xc3", "2:7", "the byte 0xc3, expected text in UTF-8", "UTF-8"),
    "surrogate": ("a: \ud800", "1:4", "the byte 0xed", "UTF-8"),
    "zero byte": (b"a: 1\nb: \x00", "2:4", "U+0000", "right file"),
    "escape character": (b"\n\xc3\xa9: \x1b[31m", "2:4", "U+001B", "right file"),
    "c1 control": ("é: \x9b", "1:4", "U+009B", "right file"),
    "utf-16": ("a: 1".encode("utf-16"), "", "UTF-16 text", "Save the file as UTF-8"),
    "utf-16 without mark": ("a: 1".encode("utf-16-le"), "1:2", "U+0000", "UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00", "", "a gzip file", "Unpack"),
    "zip": (b"PK\x03\x04\x00", "", "zip archive or a spreadsheet", "export the sheet as CSV"),
    "picture": (b"\x89PNG\r\n\x1a\n", "1:1", "the byte 0x89", "right file"),
}


@pytest.mark.parametrize("case", REFUSALS)
@each_parser
def test_a_bad_document_is_refused_with_its_place_and_what_to_do(case: str) -> None:
    """Every refusal says where, what was found, and where it helps, what to do."""
    text, place, message, hint = REFUSALS[case]
    error = refusal(text)
    assert str(error).startswith(f"file.yaml:{place}")
    assert message in error.message
    assert hint in error.hint
    assert "\x1b" not in str(error)
    assert len(str(error)) < 400


def test_errors_are_of_the_kind_asked_for() -> None:
    """The loader's problems are the manifest's, not the config's."""
    with pytest.raises(ManifestError):
        yamldoc.load("[", "jobs.yaml", error=ManifestError)


def test_a_file_that_cannot_be_read_is_the_users_problem() -> None:
    """An error of the operating system becomes a usage error with its reason."""

    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ConfigError, match=r"^file\.yaml: the file cannot be read: Input/output"):
        yamldoc.load(Broken(), "file.yaml")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_pieces_read_like_one(size: int) -> None:
    """A pipe may give any number of bytes at a time: marks, characters and places stay whole."""

    class Dribble(io.BytesIO):
        def read1(self, _size: int | None = -1, /) -> bytes:
            return super().read1(size)

    content = b"\xef\xbb\xbfa: caf\xc3\xa9\nb: \xf0\x9f\x8e\x89\n"
    assert yamldoc.load(Dribble(content), "f").value == {"a": "café", "b": "🎉"}
    with pytest.raises(ConfigError, match=r"^f:3:2: found the byte 0xff"):
        yamldoc.load(Dribble(content + b"c\xff"), "f")


PARSERS = st.sampled_from([*{events._parser_class, events._PythonParser}])


def assert_read_or_refused(content: bytes | str, parser: type) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "_parser_class", parser)
        try:
            yamldoc.load(content, "file.yaml")
        except UsageError as error:
            assert str(error).isprintable()  # noqa: PT017 - either end is right


@given(st.binary(max_size=200), PARSERS)
@example(b"!<\x25ED>", events._PythonParser)
@example(b"%YAML 99999999999999999999.1\n---\n", events._PythonParser)
@example(b"? - a\n  ? b\n", events._PythonParser)
@unhurried
def test_arbitrary_bytes_are_read_or_refused(content: bytes, parser: type) -> None:
    """No input makes anything but a document or a usage error."""
    assert_read_or_refused(content, parser)


YAML_PIECES = st.sampled_from(
    [*"[]{}:,-?&*!|>'\"%@`#\n\t ~<", "- ", ": ", "\n  ", "a", "&a ", "*a", "!!", "<<", "---\n"]
)


@given(st.lists(YAML_PIECES, max_size=40).map("".join), PARSERS)
@unhurried
def test_arbitrary_yaml_is_read_or_refused(text: str, parser: type) -> None:
    """Nor does any heap of YAML's own signs."""
    assert_read_or_refused(text, parser)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
@unhurried
def test_what_pyyaml_writes_is_read_back(value: object) -> None:
    """Plain values survive a trip through PyYAML's writer, whatever they look like as text."""

    class Writer(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True

    assert value_of(yaml.dump(value, Dumper=Writer)) == value


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "strated_at",
            "unknown key 'strated_at' (did you mean 'started_at'?), expected one of: id,",
        ),
        ("STARTED_AT", "did you mean 'started_at'?"),
        ("xyz", "unknown key 'xyz', expected one of: id, started_at"),
        ("call", "did you mean 'id'?"),
        ("a\x1b[31m", "unknown key 'a\\x1b[31m', expected"),
        ("x" * 5000, "unknown key '" + "x" * 60 + "…', expected"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(word: str, expected: str) -> None:
    """The message names the nearest known key and all others, and is safe to print."""
    message = yamldoc.unknown_key(word, ("id", "started_at"), synonyms={"call": "id"})
    assert expected in message
    assert message.isprintable()
