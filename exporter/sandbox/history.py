"""Histories: the conversations that a project had, worked out from a seed and never stored.

A history can be years long: what was the nth conversation of a day, when it began, what became of
it, and which conversation has a given id are all computed when somebody asks. Only the clock
decides what of it can be seen: calls to come are not there, running ones are in progress, some
appear in the list late, recordings appear after their call, and all of it expires.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY: Final = 86_400.0
_ID: Final = re.compile(r"CA([0-9a-f]{6})([0-9a-f]{8})([0-9a-f]{18})\Z")
_EPOCH: Final = date(1970, 1, 1)
_CHANCES: Final = 8
_USUAL_SECONDS: Final = (20.0, 600.0)
_MOST_A_DAY: Final = 10_000_000


class Environment(StrEnum):
    """Where a conversation was held."""

    LIVE = "live"
    PRE_RELEASE = "pre-release"
    SANDBOX = "sandbox"


class Order(StrEnum):
    """How a list is sorted."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened in the projects that it is for. Times in seconds, shares of 1.

    Attributes:
        account: glob over accounts.
        project: glob over projects.
        per_day: conversations a day (UTC), evenly over the day.
        first_day: the first day; None: since ever.
        last_day: the last day; None: for ever.
        jitter: how far from even, as a share of the time between two of them; 0: exactly even.
        seconds: shortest and longest call; None: as the world's audio settings say.
        text_share: how many are chats, without a recording.
        other_env_share: how many were held in the environments `pre-release` and `sandbox`.
        variants: names of the agent's variants.
        listed_late_share: how many appear in the list only `listed_late` seconds after their end.
        listed_late: how many seconds.
        recorded_after: the recording appears so long after the end: least and most.
        unrecorded_share: how many calls never get a recording.
        retention: seconds after its start that everything of a conversation is deleted; None:
            never.
        turns: turns of the transcript that the list tells of each.
        order: how the list is sorted.
        seed: another seed, another history.
    """

    account: str = "*"
    project: str = "*"
    per_day: int = 24
    first_day: date | None = None
    last_day: date | None = None
    jitter: float = 1.0
    seconds: tuple[float, float] | None = None
    text_share: float = 0.0
    other_env_share: float = 0.0
    variants: tuple[str, ...] = ("main",)
    listed_late_share: float = 0.0
    listed_late: float = 3600.0
    recorded_after: tuple[float, float] = (0.0, 0.0)
    unrecorded_share: float = 0.0
    retention: float | None = None
    turns: int = 2
    order: Order = Order.NEWEST
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.per_day <= _MOST_A_DAY:
            raise ValueError(f"per_day is between 0 and {_MOST_A_DAY}, not {self.per_day}")
        for name in ("jitter", "text_share", "other_env_share", "listed_late_share"):
            _check_share(name, getattr(self, name))
        _check_share("unrecorded_share", self.unrecorded_share)
        if self.seconds and not 0 < self.seconds[0] <= self.seconds[1]:
            raise ValueError(f"calls last MIN to MAX seconds, 0 < MIN <= MAX, not {self.seconds}")
        if not 0 <= self.recorded_after[0] <= self.recorded_after[1]:
            raise ValueError("recorded_after is the least and the most, in this order")
        if self.listed_late < 0 or self.turns < 0 or not self.variants:
            raise ValueError("listed_late and turns are at least 0, and there is a variant")

    def is_of(self, account: str, project: str) -> bool:
        """Whether this is the history of a project."""
        return fnmatchcase(account, self.account) and fnmatchcase(project, self.project)

    def happening(self, account: str, project: str, position: int) -> Happening | None:
        """The conversation at a position: they are numbered by their start; None: there is none."""
        day, number = divmod(position, self.per_day) if self.per_day else (-1, 0)
        if not self._first <= day <= self._last:
            return None
        return _happening(self, account, project, day, number)

    def find(self, account: str, project: str, conversation: str) -> Happening | None:
        """The conversation with an id; None where there is none of that id."""
        match = _ID.match(conversation)
        if match is None:
            return None
        day, number = int(match[1], 16), int(match[2], 16)
        if number >= self.per_day:
            return None
        found = self.happening(account, project, day * self.per_day + number)
        return found if found and found.id == conversation else None

    def positions(self, start: float | None, end: float | None, now: float) -> range:
        """Positions of all that began in a window, and perhaps one more at either end.

        Args:
            start: seconds since 1970; None: the beginning of what can still be seen.
            end: likewise; None: now.
            now: likewise.
        """
        earliest = self._first * _DAY
        if self.retention is not None:
            earliest = max(earliest, now - self.retention)
        first = max(start if start is not None else 0.0, earliest)
        last = min(end if end is not None else now, now, (self._last + 1) * _DAY)
        if last < first or not self.per_day:
            return range(0)
        step = _DAY / self.per_day
        return range(max(0, math.floor(first / step) - 1), math.floor(last / step) + 1)

    def beginning_at(self, position: int, positions: range) -> range:
        """What the list still has of these positions when it goes on at one of them."""
        if self.order is Order.NEWEST:
            return range(positions.start, min(positions.stop, position + 1))
        return range(max(positions.start, position), positions.stop)

    def walk(
        self, account: str, project: str, positions: range, now: float
    ) -> Iterator[tuple[int, Happening]]:
        """What the list has at these positions, in its order."""
        for position in reversed(positions) if self.order is Order.NEWEST else positions:
            found = self.happening(account, project, position)
            if found and found.is_listed(now):
                yield position, found

    @property
    def _first(self) -> int:
        return (self.first_day - _EPOCH).days if self.first_day else 0

    @property
    def _last(self) -> int:
        return (self.last_day - _EPOCH).days if self.last_day else 0xFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One conversation of a history. Times in seconds since 1970.

    Attributes:
        id: its id.
        account: where it was.
        project: where it was.
        environment: where it was held.
        channel: how.
        variant: name of the agent's variant.
        started_at: when it began.
        ended_at: when it ended.
        listed_at: from when the list has it.
        recorded_at: from when there is a recording; None: never.
        expires_at: from when there is nothing of it; None: never.
        turns: of its transcript.
    """

    id: str
    account: str
    project: str
    environment: Environment
    channel: str
    variant: str
    started_at: float
    ended_at: float
    listed_at: float
    recorded_at: float | None
    expires_at: float | None
    turns: int

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended_at - self.started_at

    @property
    def is_voice(self) -> bool:
        """Whether it was a call."""
        return self.channel.startswith("VOICE")

    def exists(self, now: float) -> bool:
        """Whether it has begun, and has not expired."""
        return self.started_at <= now and (self.expires_at is None or now < self.expires_at)

    def is_listed(self, now: float) -> bool:
        """Whether the list has it."""
        return self.exists(now) and self.listed_at <= now

    def is_recorded(self, now: float) -> bool:
        """Whether its recording can be had."""
        return self.exists(now) and self.recorded_at is not None and self.recorded_at <= now

    def in_progress(self, now: float) -> bool:
        """Whether it has not ended yet."""
        return now < self.ended_at

    @property
    def variant_id(self) -> str:
        """Of the agent's variant."""
        return f"VARIANT-{hashlib.blake2b(self.variant.encode(), digest_size=4).hexdigest()}"

    def in_list(self, now: float) -> dict[str, Any]:
        """As the list tells it; all that is private in it is made up."""
        seconds = min(self.seconds, max(0.0, now - self.started_at))
        return {
            "id": self.id,
            "account_id": self.account,
            "project_id": self.project,
            "environment": self.environment,
            "started_at": iso(self.started_at),
            "channel": self.channel,
            "in_progress": self.in_progress(now),
            "variant_id": self.variant_id,
            "variant_name": self.variant,
            "from_number": f"+1555{int(self.id[-6:], 16) % 10_000_000:07d}",
            "to_number": "+15550100000",
            "num_turns": self.turns,
            "total_duration": round(seconds, 3),
            "polyai_duration": round(seconds, 3),
            "handoff": False,
            "handoff_reason": None,
            "handoff_destination": None,
            "metrics": {},
            "state": {"caller_name": f"Caller {self.id[-4:]}"},
            "turns": [_turn(self.id, number) for number in range(self.turns)],
        }

    def in_detail(self, now: float) -> dict[str, Any]:
        """As the API for one conversation tells it."""
        is_over = not self.in_progress(now)
        listed = self.in_list(now)
        return {
            "conversationId": self.id,
            "accountId": self.account,
            "projectId": self.project,
            "clientEnv": self.environment,
            "startedAt": iso(self.started_at),
            "finishedAt": iso(self.ended_at) if is_over else None,
            "channel": self.channel,
            "inProgress": not is_over,
            "variantId": self.variant_id,
            "variantName": self.variant,
            "fromNumber": listed["from_number"],
            "toNumber": listed["to_number"],
            "numTurns": self.turns,
            "totalDuration": listed["total_duration"],
            "state": listed["state"],
            "turns": listed["turns"],
        }


def _turn(conversation: str, number: int) -> dict[str, Any]:
    who = ("agent", "user")[number % 2]
    return {"id": f"{conversation}-{number}", "speaker": who, "text": f"{_SAYS[who]} ({number})"}


_SAYS: Final = {
    "agent": "Thank you for calling. How can I help you today?",
    "user": "Hello, this is about my booking, the number is four seven one one.",
}


def _happening(history: History, account: str, project: str, day: int, number: int) -> Happening:
    chances = _chances(history.seed, account, project, day, number)
    step = _DAY / history.per_day
    # To the millisecond, as the API tells it.
    start = round(day * _DAY + step * (number + history.jitter * chances[0] * 0.999), 3)
    shortest, longest = history.seconds or _USUAL_SECONDS
    end = start + round(shortest * (longest / shortest) ** chances[1], 3)
    is_text = chances[2] < history.text_share
    least, most = history.recorded_after
    recorded = end + least + (most - least) * chances[3]
    is_recorded = not is_text and chances[4] >= history.unrecorded_share
    is_late = chances[5] < history.listed_late_share
    environment = Environment.LIVE
    if (drawn := chances[6]) < history.other_env_share:
        is_sandbox = drawn < history.other_env_share / 2
        environment = Environment.SANDBOX if is_sandbox else Environment.PRE_RELEASE
    spread = chances[7]
    return Happening(
        id=_id(history.seed, account, project, day, number),
        account=account,
        project=project,
        environment=environment,
        channel=("WEBCHAT", "CHAT")[number % 2] if is_text else "VOICE-SIP",
        variant=history.variants[int(spread * len(history.variants))],
        started_at=start,
        ended_at=end,
        listed_at=end + history.listed_late if is_late else start,
        recorded_at=recorded if is_recorded else None,
        expires_at=None if history.retention is None else start + history.retention,
        turns=history.turns,
    )


def _identity(seed: int, account: str, project: str, day: int, number: int) -> bytes:
    return f"{seed}\n{account}\n{project}\n{day}\n{number}".encode()


def _id(seed: int, account: str, project: str, day: int, number: int) -> str:
    """Looks like the documented example, and tells day and number to whoever knows."""
    digest = hashlib.blake2b(_identity(seed, account, project, day, number), digest_size=9)
    return f"CA{day:06x}{number:08x}{digest.hexdigest()}"


def _chances(seed: int, account: str, project: str, day: int, number: int) -> tuple[float, ...]:
    """Numbers from 0 to 1 that belong to one conversation."""
    identity = _identity(seed, account, project, day, number)
    drawn = hashlib.blake2b(identity, digest_size=8 * _CHANCES, person=b"chances").digest()
    return tuple(
        int.from_bytes(drawn[at : at + 8], "big") / 2**64 for at in range(0, 8 * _CHANCES, 8)
    )


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).strftime(
        "%Y-%m-%dT%H:%M:%S"
    )


def iso(seconds: float) -> str:
    """A time as the API writes it: ISO 8601, in UTC, to the millisecond."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{_iso_second(whole)}.{thousandths:03d}Z" if thousandths else f"{_iso_second(whole)}Z"


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is between 0 and 1, not {share}")
