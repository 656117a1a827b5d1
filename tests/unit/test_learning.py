"""The learnt rate against servers whose limits it is not told, in virtual time, seed by seed."""

from __future__ import annotations

import pytest

from exporter.bucket import Stretch, fit, rate_of
from exporter.concurrency import Concurrency
from exporter.learner import RateLearner
from tests.simulation import Server, halved, simulate, steady

CASES = {
    "60 a second, 30 at once": (Server(steady(60), 30), 120, 64, 100),
    "5 a second, 30 at once": (Server(steady(5), 30), 300, 64, 80),
    "500 a second, 250 at once": (Server(steady(500), 250), 180, 256, 4),
    "60, then 30, then 60": (Server(halved(60, 130, 260), 30), 400, 64, 30),
}
BATCHES = 4


def test_there_are_at_least_200_seeds() -> None:
    """The suite is as large as it claims."""
    assert sum(seeds for *_, seeds in CASES.values()) >= 200


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("case", CASES)
def test_it_uses_the_whole_limit_and_is_hardly_refused(case: str, batch: int) -> None:
    """95 % of the limit as goodput, at most 1 % refused, no pause cut short, with each seed."""
    server, seconds, workers, seeds = CASES[case]
    for seed in range(batch, seeds, BATCHES):
        figures = simulate(server, seconds=seconds, workers=workers, seed=seed)
        assert figures.goodput >= 0.95, (seed, figures)
        assert figures.refused <= 0.01, (seed, figures)
        assert figures.broken == 0, (seed, figures)


def test_without_a_limit_nothing_is_held_back() -> None:
    """A server that refuses nothing gets as many requests as the workers can send."""
    server = Server(steady(1e9), 1e9, latency=(0.1, 0.1))
    figures = simulate(server, seconds=20, workers=32, seed=1)
    sent = figures.goodput * server.capacity(10, 20)
    rounds = 10 / (0.1 * 1.06)  # the mean latency is a little above the nominal one
    assert sent >= 0.95 * 32 * rounds


def test_the_bucket_is_found_from_two_stretches() -> None:
    """A short fast and a long slow stretch tell rate and size."""
    stretches = []
    for pace, seconds in ((100.0, 0.75), (70.0, 3.0)):  # 40 a second more; 10 a second more
        stretch = Stretch(0.0, full=True)
        for number in range(int(pace * seconds)):
            stretch.accept(number / pace)
        stretch.end(seconds)
        stretches.append(stretch)
    rate, size, badness = fit(stretches, rates=(30, 120), size=10)
    assert rate == pytest.approx(60, rel=0.05)
    assert size == pytest.approx(30, rel=0.15)
    assert badness < 3
    assert rate_of(stretches[1], 30, (10, 200)) == pytest.approx(60, rel=0.05)


def test_a_stretch_keeps_few_points() -> None:
    """However long a stretch is, its memory is bounded, and its count exact."""
    stretch = Stretch(0.0, full=False)
    for number in range(100_000):
        stretch.accept(number / 10)
    stretch.end(10_000)
    assert len(stretch._points) < 100
    assert stretch.accepted == 100_000
    assert stretch.left(10, 1) == pytest.approx(0, abs=2)


def test_refusals_of_one_moment_count_once() -> None:
    """Requests that were under way when the first refusal came tell nothing new."""
    learner = RateLearner(0.0)
    assert learner.refused(sent=1.0, now=1.1, resume_at=2.1)
    rate = learner.rate
    assert not learner.refused(sent=1.05, now=1.2, resume_at=2.2)
    assert learner.rate == rate


def test_a_rate_that_nobody_waits_for_does_not_grow() -> None:
    """While requests are fewer than allowed, the rate stays, for nothing could test it."""
    learner = RateLearner(0.0)
    learner.refused(sent=1.0, now=1.0, resume_at=2.0)
    rate = learner.rate
    for number in range(100):
        learner.accepted(2.0 + number)
    assert learner.rate == rate


def grown(most: int = 64, *, adaptive: bool = True) -> Concurrency:
    concurrency = Concurrency(most, adaptive=adaptive)
    while concurrency.limit < most:
        concurrency.good(0.1, needed=True)
    return concurrency


def test_concurrency_starts_with_two_scouts_and_doubles() -> None:
    """Each good answer allows one more, up to the maximum."""
    concurrency = Concurrency(16)
    limits = [int(concurrency.limit)]
    for _ in range(20):
        concurrency.good(0.1, needed=True)
        limits.append(int(concurrency.limit))
    assert limits[:3] == [2, 3, 4]
    assert limits[-1] == 16


def test_doubt_keeps_the_second_scout_alone() -> None:
    """After an answer that shows nothing good, no third request follows; later doubts are mild."""
    concurrency = Concurrency(16)
    concurrency.doubt()
    assert concurrency.limit == 1
    concurrency.good(0.1, needed=True)
    concurrency.doubt()
    assert concurrency.limit == 2


def test_failures_make_concurrency_smaller_and_success_makes_it_grow_again() -> None:
    """More than one failure in ten answers takes 30 %; good answers bring it back."""
    concurrency = grown()
    before = concurrency.limit
    while not concurrency.bad():
        pass
    assert concurrency.limit == pytest.approx(0.7 * before)
    assert concurrency.reason == "failures"
    for _ in range(500):
        concurrency.good(0.1, needed=True)
    assert concurrency.limit == 64


def test_growing_latency_makes_concurrency_smaller() -> None:
    """Answers that take more than twice as long as at best mean that too much is under way."""
    concurrency = grown()
    for _ in range(200):
        concurrency.good(0.1, needed=True)
    assert concurrency.limit == 64
    while not concurrency.good(1.0, needed=True):
        pass
    assert concurrency.limit == pytest.approx(0.9 * 64)
    assert concurrency.reason == "slow answers"


def test_a_fixed_concurrency_only_restarts() -> None:
    """`adaptive: false` keeps the maximum, but still comes back gradually after a pause."""
    concurrency = grown(adaptive=False)
    for _ in range(100):
        assert not concurrency.bad()
    assert not concurrency.restart(to_blame=True, paced=False)
    assert concurrency.limit == 1
    for _ in range(70):
        concurrency.good(0.1, needed=False)
    assert concurrency.limit == 64
