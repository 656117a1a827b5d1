"""Rules and limits: which requests are hit, counted and drawn reproducibly."""

import pytest

from exporter.sandbox import Direction, Limits, Match, Respond, Rule, Times, World, answers
from exporter.sandbox.limits import Gate, Refusal
from exporter.sandbox.rules import Script

WORLD = World()


class ManualClock:
    """Time stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def asked(
    conversation: str = "CA1",
    *,
    account: str = "ws-1",
    project: str = "P",
    query: str = "",
    key: str = "sandbox-key",
) -> answers.Asked:
    path = f"/v3/{account}/{project}/conversations/{conversation}/audio"
    found = answers.understand(path, query, key, WORLD)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), True),
        (Match(conversation="CA*"), True),
        (Match(conversation="CB*"), False),
        (Match(account="ws-2"), False),
        (Match(project="P"), True),
        (Match(project="p"), False),
        (Match(key="full"), True),
        (Match(key="no-*"), False),
        (Match(direction=Direction.USER), True),
        (Match(direction=Direction.AGENT), False),
        (Match(redacted=True), True),
        (Match(redacted=False), False),
        (Match(attempts=Times(2)), False),
        (Match(requests=Times(1, 1)), True),
        (Match(probability=0.0), False),
    ],
)
def test_match(match: Match, expected: bool) -> None:
    """Every condition of a match must hold; what is not said does not matter."""
    request = asked(query="direction=user&redacted=true")
    assert match.includes(request, attempt=1, number=1) is expected


def test_first_matching_rule_decides() -> None:
    """Rules are tried in order, so a special case stands before a general one."""
    script = Script([Rule(match=Match(conversation="CA1"), delay=1.0), Rule(action=Respond(500))])
    assert script.turn(asked("CA1")).number == 1
    assert script.turn(asked("CA2")).number == 2


def test_attempts_are_counted_for_each_recording() -> None:
    """Attempts belong to one variant of one conversation, requests are counted over all."""
    script = Script([Rule(match=Match(attempts=Times(2, 2))), Rule(match=Match(requests=Times(4)))])
    turns = [
        script.turn(asked(query=query))
        for query in ("direction=user", "direction=agent", "direction=user", "direction=user")
    ]
    assert [(turn.attempt, turn.number) for turn in turns] == [
        (1, None),
        (1, None),
        (2, 1),
        (3, 2),
    ]


def test_probability_does_not_depend_on_order() -> None:
    """Who is hit depends on what is asked and the seed, not on who comes first."""
    match = Match(probability=0.3, seed=7)
    ids = [f"CA{number}" for number in range(500)]
    forwards = {i for i in ids if match.includes(asked(i), attempt=1, number=1)}
    backwards = {i for i in reversed(ids) if match.includes(asked(i), attempt=1, number=9)}
    assert forwards == backwards
    assert 100 < len(forwards) < 200
    other = Match(probability=0.3, seed=8)
    assert forwards != {i for i in ids if other.includes(asked(i), attempt=1, number=1)}


@pytest.mark.parametrize(
    ("text", "expected"), [("3", Times(3, 3)), ("1..2", Times(1, 2)), ("3..", Times(3, None))]
)
def test_times(text: str, expected: Times) -> None:
    """Counts are written as a number, a range, or an open range."""
    assert Times.parse(text) == expected


@pytest.mark.parametrize("text", ["", "0", "2..1", "x", "1..y", "..3"])
def test_impossible_times(text: str) -> None:
    """A range that holds nothing, or is none, is refused."""
    with pytest.raises(ValueError, match="count"):
        Times.parse(text)


def test_bucket() -> None:
    """A burst passes at once, then one request for each tick of the rate, and no hoarding."""
    clock = ManualClock()
    gate = Gate(Limits(requests_per_second=0.5, burst=2), clock)
    refused = Refusal(429, 2)
    assert [gate.refusal("k", 1) for _ in range(3)] == [None, None, refused]
    clock.now += 2
    assert [gate.refusal("k", 1) for _ in range(2)] == [None, refused]
    clock.now += 1000
    assert [gate.refusal("k", 1) for _ in range(3)] == [None, None, refused]


def test_each_key_has_its_own_bucket() -> None:
    """One key's haste does not slow another."""
    gate = Gate(Limits(requests_per_second=1), ManualClock())
    assert [gate.refusal(key, 1) for key in ("a", "b", "a")] == [None, None, Refusal(429, 1)]


def test_concurrency() -> None:
    """More requests at once than allowed are refused with the chosen status."""
    gate = Gate(Limits(max_concurrent=2, concurrency_status=503), ManualClock())
    assert gate.refusal("k", 2) is None
    assert gate.refusal("k", 3) == Refusal(503, 1)


@pytest.mark.parametrize(
    "wrong", [{"requests_per_second": 0}, {"burst": 0}, {"max_concurrent": 0}, {"latency": -1}]
)
def test_impossible_limits(wrong: dict[str, int]) -> None:
    """Limits that nobody could keep are refused."""
    with pytest.raises(ValueError, match="is "):
        Limits(**wrong)  # type: ignore[arg-type]
