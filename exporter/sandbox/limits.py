"""Rate limits, as a gateway applies them: one token bucket a key, and a ceiling on concurrency."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.sandbox.clock import Clock


class RetryAfterStyle(StrEnum):
    """How the `Retry-After` header tells when to come back."""

    SECONDS = "seconds"
    DATE = "date"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the sandbox puts up with; None and 0 mean: anything.

    Attributes:
        requests_per_second: sustained rate of each key; more is answered with 429.
        burst: requests that may come at once before the rate counts.
        max_concurrent: requests of all keys under way at once.
        concurrency_status: what one too many is answered with, 429 or 503.
        latency: seconds before any answer.
        retry_after: how a refusal says when to come back.
    """

    requests_per_second: float | None = None
    burst: int = 1
    max_concurrent: int | None = None
    concurrency_status: int = 429
    latency: float = 0.0
    retry_after: RetryAfterStyle = RetryAfterStyle.SECONDS

    def __post_init__(self) -> None:
        if self.requests_per_second is not None and self.requests_per_second <= 0:
            raise ValueError("requests_per_second is more than 0, or not set")
        if self.burst < 1:
            raise ValueError("burst is at least 1")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ValueError("max_concurrent is at least 1, or not set")
        if self.latency < 0:
            raise ValueError("latency is at least 0")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One request too many.

    Attributes:
        status: 429 or 503.
        wait: whole seconds after which it is worth coming back.
    """

    status: int
    wait: int


class Gate:
    """Lets requests in as the limits allow."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def refusal(self, key: str, under_way: int) -> Refusal | None:
        """Why this request may not pass, or None: it may, and is counted.

        Args:
            key: whose request it is.
            under_way: requests under way, this one among them.
        """
        limits = self._limits
        if limits.max_concurrent is not None and under_way > limits.max_concurrent:
            return Refusal(limits.concurrency_status, 1)
        if limits.requests_per_second is None:
            return None
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = _Bucket(limits.requests_per_second, limits.burst, self._clock)
            self._buckets[key] = bucket
        missing = bucket.take()
        return Refusal(429, max(1, math.ceil(missing))) if missing else None


class _Bucket:
    """Tokens trickle in at a rate, at most `burst` of them are kept, each request takes one."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._seen = clock.monotonic()

    def take(self) -> float:
        """Take a token; if there is none, the seconds until there will be one."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        # Time is a float: a bucket that is full but for a rounding error has its token.
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate
