"""Rules: which requests a fault befalls. The first rule that matches a request decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from exporter.sandbox.answers import Endpoint
from exporter.sandbox.listing import page_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.sandbox.answers import Asked
    from exporter.sandbox.calls import Direction
    from exporter.sandbox.faults import Action


@dataclass(frozen=True, slots=True)
class Times:
    """A range of counts, from 1; both ends belong to it.

    Attributes:
        first: the first.
        last: the last; None: there is no last.
    """

    first: int = 1
    last: int | None = None

    def __post_init__(self) -> None:
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise ValueError("counts start at 1, and a range at its smaller end")

    @classmethod
    def parse(cls, text: str) -> Times:
        """From `3`, `1..2` or `3..`."""
        first, dots, last = text.partition("..")
        try:
            numbers = int(first), int(last) if last else None
        except ValueError:
            raise ValueError(f"expected a count such as 3, 1..2 or 3.., found {text!r}") from None
        return cls(numbers[0], numbers[1] if dots else numbers[0])

    def __contains__(self, count: int) -> bool:
        return self.first <= count and (self.last is None or count <= self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a rule is for; what is not said does not matter.

    Attributes:
        endpoint: what kind of thing is asked for: `audio`, `list` or `conversation`.
        conversation: glob over conversation ids.
        account: glob over accounts.
        project: glob over projects.
        key: glob over names of keys.
        direction: as asked for.
        redacted: as asked for.
        attempts: which requests for one and the same recording, page or conversation.
        requests: which of all requests of that kind, whatever they ask for.
        pages: which pages of a list.
        probability: how many of 1 of the matching requests.
        seed: another seed, other victims.
    """

    endpoint: Endpoint = Endpoint.AUDIO
    conversation: str = "*"
    account: str = "*"
    project: str = "*"
    key: str = "*"
    direction: Direction | None = None
    redacted: bool | None = None
    attempts: Times = field(default_factory=Times)
    requests: Times = field(default_factory=Times)
    pages: Times = field(default_factory=Times)
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is between 0 and 1, not {self.probability}")

    def includes(self, asked: Asked, *, attempt: int, number: int) -> bool:
        """Whether a request is meant.

        Args:
            asked: what was asked.
            attempt: how often this was asked for.
            number: how many requests of this kind there were.
        """
        return (
            asked.endpoint is self.endpoint
            and attempt in self.attempts
            and number in self.requests
            and (asked.endpoint is not Endpoint.LIST or page_number(asked) in self.pages)
            and (self.direction is None or asked.direction == self.direction)
            and (self.redacted is None or asked.redacted == self.redacted)
            and fnmatchcase(asked.conversation, self.conversation)
            and fnmatchcase(asked.account or "", self.account)
            and fnmatchcase(asked.project, self.project)
            and fnmatchcase(asked.key.name if asked.key else "", self.key)
            and (self.probability == 1 or self._is_unlucky(asked, attempt))
        )

    def _is_unlucky(self, asked: Asked, attempt: int) -> bool:
        # Drawn from what is asked, not from a sequence: who comes first must not matter.
        drawn = Random(f"{self.seed} {asked.subject} {attempt}").random()
        return drawn < self.probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to matching requests.

    Attributes:
        match: which requests.
        action: what happens to them; None: they are answered as usual.
        delay: seconds before it happens.
    """

    match: Match = field(default_factory=Match)
    action: Action | None = None
    delay: float = 0.0


class Turn(NamedTuple):
    """What a script says about one request.

    Attributes:
        attempt: how often this was asked for.
        number: the rule's place in the script, from 1; None: no rule matches.
        rule: the rule.
    """

    attempt: int
    number: int | None
    rule: Rule | None


class Script:
    """Rules in order, and the counts that they refer to."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        # Hashes instead of identifiers: a million recordings fit in memory.
        self._attempts: Counter[int] = Counter()
        self._requests: Counter[Endpoint] = Counter()

    def turn(self, asked: Asked) -> Turn:
        """Count a request, and find the rule for it."""
        self._requests[asked.endpoint] += 1
        number_of_kind = self._requests[asked.endpoint]
        subject = hash(asked.subject)
        self._attempts[subject] += 1
        attempt = self._attempts[subject]
        for number, rule in enumerate(self._rules, start=1):
            if rule.match.includes(asked, attempt=attempt, number=number_of_kind):
                return Turn(attempt, number, rule)
        return Turn(attempt, None, None)
