"""The decisions about what is to be done."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Archived, AudioFormat, Conversation, Direction, Recording, Redaction
from exporter.plan import Choice, Decision, decide, recordings

ARCHIVED = Archived(
    "a/p/undated/CA1/combined.redacted.wav",
    1000,
    "0" * 64,
    AudioFormat("pcm_s16le", 8000, 1, 16, 0.06),
    datetime(2026, 5, 21, tzinfo=UTC),
    None,
)
DEFAULT = Choice((Direction.COMBINED,), (Redaction.REDACTED,))

directions = st.lists(st.sampled_from(Direction), min_size=1, unique=True).map(tuple)
redaction = st.lists(st.sampled_from(Redaction), min_size=1, unique=True).map(tuple)


@pytest.mark.parametrize(
    ("archived", "size_on_disk", "decision"),
    [
        (None, None, Decision.NEW),
        (None, 1000, Decision.NEW),  # a file that nobody recorded: the writer compares contents
        (None, 0, Decision.NEW),
        (ARCHIVED, 1000, Decision.ARCHIVED),
        (ARCHIVED, None, Decision.VANISHED),
        (ARCHIVED, 999, Decision.CHANGED),
        (ARCHIVED, 0, Decision.CHANGED),  # an empty file is there, so it did not vanish
    ],
)
def test_decisions(archived: Archived | None, size_on_disk: int | None, decision: Decision) -> None:
    """What the ledger knows and what lies on the disk decide together."""
    assert decide(archived, size_on_disk) is decision


@given(directions, redaction, st.none() | directions, st.none() | redaction)
def test_recordings_are_the_product_in_the_order_asked_for(
    chosen_directions: tuple[Direction, ...],
    chosen_redaction: tuple[Redaction, ...],
    own_directions: tuple[Direction, ...] | None,
    own_redaction: tuple[Redaction, ...] | None,
) -> None:
    """Each direction comes in each redaction once; an entry's own choice wins over the config's."""
    started_at = datetime(2026, 5, 21, tzinfo=UTC)
    conversation = Conversation("a", "p", "CA1", started_at, own_directions, own_redaction)
    wanted = list(recordings(conversation, Choice(chosen_directions, chosen_redaction)))
    expected_directions = own_directions or chosen_directions
    expected_redaction = own_redaction or chosen_redaction
    assert [(one.direction, one.redaction) for one in wanted] == [
        (direction, redacted)
        for direction in expected_directions
        for redacted in expected_redaction
    ]
    assert len(set(wanted)) == len(wanted)


def test_a_recording_is_the_same_whatever_is_known_of_the_call() -> None:
    """Equal and unequal are contraries, and a call in progress is the call that has ended."""
    started_at = datetime(2026, 5, 21, tzinfo=UTC)
    one, same, other = (
        Recording("a", "p", name, Direction.USER, Redaction.RAW, started_at, is_going_on)
        for name, is_going_on in (("CA1", False), ("CA1", True), ("CA2", False))
    )
    assert [one == same, one == other] == [True, False]
    assert [one != same, one != other] == [False, True]
    assert len({one, same, other}) == 2


def test_a_recording_names_its_conversation() -> None:
    """Nothing but the variant tells the recordings of one conversation apart."""
    started_at = datetime(2026, 5, 21, tzinfo=UTC)
    assert list(recordings(Conversation("a", "p", "CA1", started_at), DEFAULT)) == [
        Recording("a", "p", "CA1", Direction.COMBINED, Redaction.REDACTED, started_at)
    ]
