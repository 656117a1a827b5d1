"""PII access: what pairs prove about a key, and what they only make likely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import PiiAccessState
from exporter.pii_access import ENOUGH_IDENTICAL, PairCounts, chance_of_none, judge

CONFIRMED = PiiAccessState.CONFIRMED
SUSPECTED = PiiAccessState.SUSPECTED_MISSING
UNKNOWN = PiiAccessState.UNKNOWN

NONE = PairCounts()
counts = st.builds(PairCounts, st.integers(0, 50), st.integers(0, 50))


@pytest.mark.parametrize(
    ("run", "earlier", "state"),
    [
        (NONE, NONE, UNKNOWN),
        (PairCounts(identical=19), NONE, UNKNOWN),
        (PairCounts(identical=20), NONE, SUSPECTED),
        (PairCounts(confirmed=1, identical=1000), NONE, CONFIRMED),
        (NONE, PairCounts(confirmed=1), CONFIRMED),
        (PairCounts(identical=19), PairCounts(confirmed=1), CONFIRMED),
        (PairCounts(identical=20), PairCounts(confirmed=1), SUSPECTED),
        (PairCounts(identical=10), PairCounts(identical=10), SUSPECTED),
        (PairCounts(identical=10), PairCounts(identical=9), UNKNOWN),
    ],
)
def test_states(run: PairCounts, earlier: PairCounts, state: PiiAccessState) -> None:
    """One difference proves access, many equals make it doubtful, and this run weighs more."""
    assert judge(run, earlier).state is state


@given(counts, counts, st.integers(1, 40))
def test_never_suspected_without_enough(
    run: PairCounts, earlier: PairCounts, enough_identical: int
) -> None:
    """A proof in the run settles it; nothing is suspected of fewer conversations than asked for."""
    found = judge(run, earlier, enough_identical=enough_identical)
    if run.confirmed:
        assert found.state is CONFIRMED
    elif (run + earlier).identical < enough_identical:
        assert found.state is (CONFIRMED if earlier.confirmed else UNKNOWN)
    assert found.reason


@pytest.mark.parametrize(
    ("run", "earlier", "words"),
    [
        (PairCounts(confirmed=1), NONE, "in 1 conversation in this run"),
        (NONE, PairCounts(confirmed=1200), "in 1,200 conversations in earlier runs"),
        (PairCounts(identical=20), NONE, "all 20 conversations compared: if every fifth"),
        (PairCounts(identical=20), NONE, "would be 1.15%"),
        (PairCounts(identical=200), NONE, "would be less than 0.01%"),
        (PairCounts(identical=20), PairCounts(confirmed=1), "may have been taken away since"),
        (PairCounts(identical=3), NONE, "3 conversations compared, raw and redacted the same"),
        (NONE, NONE, "no pair of raw and redacted audio"),
    ],
)
def test_reasons(run: PairCounts, earlier: PairCounts, words: str) -> None:
    """Each finding says in a sentence what it rests on."""
    assert words in judge(run, earlier).reason


@given(counts, counts, counts)
def test_what_another_key_read_changes_a_reason_only(
    run: PairCounts, earlier: PairCounts, others: PairCounts
) -> None:
    """It is told where nothing is known of this key, and decides nothing."""
    without, found = judge(run, earlier), judge(run, earlier, of_any_key=run + earlier + others)
    assert found.state is without.state
    is_told = without.state is UNKNOWN and others.confirmed > 0
    assert ("no record says that today's key read it" in found.reason) is is_told


def test_default_number() -> None:
    """By default a false suspicion is one in a hundred or so where every fifth call has PII."""
    assert chance_of_none(ENOUGH_IDENTICAL, 0.2) < 0.012
    assert chance_of_none(10, 0.0) == 1.0


def test_no_number_at_all() -> None:
    """To suspect without any evidence is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        judge(NONE, enough_identical=0)
