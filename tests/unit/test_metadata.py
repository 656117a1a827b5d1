"""What is archived of a conversation's description: what is known to be harmless, or everything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metadata import FIELDS, NUMBERS, TURN_FIELDS, describe
from exporter.model import MetadataPii

GIVEN: dict[str, Any] = {
    "conversationId": "CA1",
    "startedAt": "2026-05-21T22:14:03Z",
    "inProgress": False,
    "fromNumber": "+441632960001",
    "toNumber": "+441632960002",
    "handoffDestination": "+441632960003",
    "state": {"caller_name": "Ada"},
    "metrics": {"latency_ms": 12.5, "solved": True, "caller": "Ada", "more": {"a": 1}},
    "turns": [
        {"id": "1", "speaker": "user", "text": "I am Ada", "startedAt": "x", "entities": ["Ada"]},
        "Ada",
    ],
    "somethingNew": "Ada",
}


def kept(document: object, pii: MetadataPii = MetadataPii.DROP) -> Any:
    return json.loads(describe(json.dumps(document).encode(), pii).content)


def test_what_may_be_personal_is_left_out() -> None:
    """Numbers of telephones, state, what was said and what is not known go; who and when stay."""
    assert kept(GIVEN) == {
        "conversationId": "CA1",
        "startedAt": "2026-05-21T22:14:03Z",
        "inProgress": False,
        "metrics": {"latency_ms": 12.5, "solved": True},
        "turns": [{"id": "1", "speaker": "user", "startedAt": "x"}],
    }


def test_everything_is_kept_byte_for_byte_where_that_is_asked_for() -> None:
    """With `keep` the file is what the API gave."""
    given = b'{ "turns" : [{"text": "I am Ada"}],\n "x": 1.50 }'
    assert describe(given, MetadataPii.KEEP).content == given


def test_both_spellings_are_one_field() -> None:
    """What is kept in camelCase is kept in snake_case."""
    assert kept({"started_at": "x", "in_progress": True, "from_number": "+44"}) == {
        "started_at": "x",
        "in_progress": True,
    }


def test_a_call_that_goes_on_is_not_final() -> None:
    """Its description is to be asked for again."""
    assert not describe(b'{"inProgress": true}', MetadataPii.KEEP).is_final
    assert not describe(b'{"in_progress": true}', MetadataPii.DROP).is_final
    assert describe(b"{}", MetadataPii.DROP).is_final


@pytest.mark.parametrize("given", [b"", b"[]", b"nonsense", b'{"a": ', b'"text"', b"\xff{}"])
def test_what_is_no_object_is_refused(given: bytes) -> None:
    """No other JSON is a description."""
    for pii in MetadataPii:
        with pytest.raises(ValueError, match=r"."):
            describe(given, pii)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just("secret"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text() | st.sampled_from(["turns", *FIELDS, *NUMBERS]), JSON))
def test_no_text_passes_but_under_names_that_are_allowed(document: dict[str, Any]) -> None:
    """Whatever the API gives: a text that is kept stands under a known name, in its place."""
    allowed = {name.lower() for name in FIELDS}
    in_turns = {name.lower() for name in TURN_FIELDS}
    for name, value in kept(document).items():
        plain = name.replace("_", "").lower()
        if plain == "turns":
            for turn in value:
                assert {key.replace("_", "").lower() for key in turn} <= in_turns
                assert not any(isinstance(each, dict | list) for each in turn.values())
        elif plain in NUMBERS:
            assert all(isinstance(each, int | float) for each in value.values())
        else:
            assert plain in allowed
            assert not isinstance(value, dict | list)
