"""Logs: structured, and without secrets and telephone numbers."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.log import Redactor, configure

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "pk-live-0123456789abcdef"
NUMBERS = [
    "+441234567890",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "+1-202-555-0123",
    "+1 (202) 555.0123",
    "+49 30 1234567",
    "+35312345678",
]

identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}", fullmatch=True)


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logged(redactor: Redactor, *, as_json: bool, level: str = "debug") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    configure(json=as_json, level=level, redactor=redactor, stream=stream)
    return structlog.get_logger(), stream


def masked(fields: dict[str, Any], *secrets: str) -> dict[str, Any]:
    return dict(Redactor(secrets)(None, "info", {"event": "e", **fields}))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "text", ["{}", "call from {} ended", '"from":"{}"', "tel:{}", "from={}", "sip:{}@host", "({})."]
)
def test_telephone_numbers_are_masked(number: str, text: str) -> None:
    """An international number is masked wherever it stands in a text, however it is grouped."""
    hidden = Redactor().text(text.format(number))
    assert number not in hidden
    assert not any(part.isdigit() and len(part) > 3 for part in hidden.split())


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-22T08:00:00+02:00",
        "2026-05-22 08:00:00.123456+0530",
        "received 320044 of 1234567890 bytes",
        "1.5e+12",
        "sha256 " + "0123456789" * 6,
        "20261122T060300Z-4f2a",
        "CAabcd1234567abcdef1250065d4fc7389",
        "a/b/2026-05-21/CA1/combined.redacted.wav",
        "the key from POLYAI_API_KEY: the API answered 401",
        "the environment variable POLYAI_API_KEY is not set",
        "the x-api-key header is missing",
        "api_key_env",
        "tokens 5",
        "127.0.0.1:8765",
        "a + 1234567",
        "2001:db8::1",
        "+123456",
    ],
)
def test_everything_else_stays(text: str) -> None:
    """Times, sizes, digests, ids, paths and plain words about keys are not altered."""
    assert Redactor([KEY]).text(text) == text


@given(identifiers, identifiers)
@example("call:+441234567890", "token=abcdefgh")
def test_identifiers_are_never_altered(first: str, second: str) -> None:
    """Whoever reads a log finds a recording by its identifiers, whatever they look like."""
    fields = {
        "account_id": first,
        "project_id": second,
        "conversation_id": first,
        "recording": f"{first}/{second}/{first} combined.redacted",
        "path": f"{first}/{second}/undated/{first}/user.raw.wav",
    }
    assert masked(fields, KEY) == {"event": "e", **fields}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", fullmatch=True), st.integers())
def test_identifiers_in_sentences_and_numbers_are_not_altered(identifier: str, count: int) -> None:
    """A message that names a conversation, and any number as a value, stay as they are."""
    fields = {"reason": f"found {identifier} twice", "bytes": count, "seconds": count / 3}
    assert masked(fields) == {"event": "e", **fields}


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "api_key",
        "api-key",
        "apiKey",
        "x-api-key",
        "X-Api-Key",
        "x_api_key",
        "signingKey",
        "Authorization",
        "access_token",
        "client-secret",
        "PASSWORD",
    ],
)
def test_fields_that_hold_secrets_are_masked(name: str) -> None:
    """A field or header whose name says that it is a secret is masked, at any depth and case."""
    fields: dict[str, Any] = {name: "hidden", "headers": {name: "hidden", "Accept": "audio/wav"}}
    fields["all"] = [{"one": ({name: "hidden"},)}]
    found = masked(fields)
    assert "hidden" not in repr(found)
    assert found["headers"]["Accept"] == "audio/wav"


@pytest.mark.parametrize("name", ["monkey", "key_name", "keys", "tokens", "secretary"])
def test_fields_with_other_names_are_shown(name: str) -> None:
    """A name that only resembles that of a secret hides nothing."""
    assert masked({name: "shown", "api_key": None}) == {
        "event": "e",
        name: "shown",
        "api_key": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        "x-api-key: hidden",
        "X-API-KEY=hidden",
        "{'x-api-key': 'hidden'}",
        '{"x-api-key":"hidden"}',
        "Authorization: Bearer hidden",
        "authorization: Basic hidden",
        "https://host/path?token=hidden&a=b",
        "POLYAI_API_KEY=hidden exporter run",
        'password = "hidden"',
        "api_key: hidden, and more",
    ],
)
def test_secrets_are_masked_in_texts(text: str) -> None:
    """What is written behind the name of a secret is masked, though nobody told us its value."""
    assert "hidden" not in Redactor().text(text)
    assert "hidden" not in repr(masked({"reason": text, "nested": [{"text": text}]}))


@given(st.from_regex(r"[\x21-\x7e]{8,40}", fullmatch=True))
@example("a'b\"c\\d/e%f")
def test_a_known_key_is_masked_in_every_spelling(key: str) -> None:
    """A key that the program uses is masked as it is, and as Python and JSON would quote it."""
    redactor = Redactor()
    redactor.add(key)
    for spelling in (key, repr(key), json.dumps(key), str({"k": key}), str(KeyError(key))):
        assert key not in redactor.text(f"said <{spelling}> twice <{spelling}>")
    assert "***" in redactor.text(f"<{json.dumps(key)[1:-1]}>")


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_keys_the_longer_is_masked_first(order: int) -> None:
    """A key that begins like another one leaves no end of the longer one behind."""
    secrets = [KEY, KEY + "-second"][::order]
    assert Redactor(secrets).text(f"{KEY}-second and {KEY}") == "*** and ***"


def test_an_empty_key_masks_nothing() -> None:
    """An empty secret is ignored instead of standing between all characters."""
    assert Redactor([""]).text("text") == "text"


@pytest.mark.parametrize("as_json", [True, False])
def test_exceptions_are_masked(*, as_json: bool) -> None:
    """A traceback is written with the message and every cause masked."""
    log, stream = logged(Redactor([KEY]), as_json=as_json)
    cause = ValueError(f"sent {KEY} to {NUMBERS[0]}")
    error = RuntimeError(f"x-api-key: other-{KEY}")
    error.__cause__ = cause
    log.error("run.broken", exc_info=error, value=KeyError(KEY), raw=KEY.encode(), at={NUMBERS[1]})
    text = stream.getvalue()
    assert "direct cause" in text
    assert "RuntimeError" in text
    assert KEY not in text
    assert NUMBERS[0] not in text
    assert NUMBERS[1] not in text


def test_json_lines() -> None:
    """Each event is one line of JSON: name, level, UTC time, and the fields that are known."""
    log, stream = logged(Redactor(), as_json=True, level="info")
    log.debug("not.shown")
    log.info("run.started", run="r1", text="two\nlines", number=3, nothing=None, flag=True)
    log.warning("recording.retry", kind="timeout")
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "run.started",
        "level": "info",
        "run": "r1",
        "text": "two\nlines",
        "number": 3,
        "flag": True,
    }
    assert (second["event"], second["level"]) == ("recording.retry", "warning")


def test_console_lines() -> None:
    """For people an event is a line without colours where nobody looks at a terminal."""
    log, stream = logged(Redactor([KEY]), as_json=False)
    log.info("run.started", key=KEY, manifest="calls.yaml")
    (line,) = stream.getvalue().splitlines()
    assert "run.started" in line
    assert "manifest=calls.yaml" in line
    assert KEY not in line
    assert "\x1b" not in line
