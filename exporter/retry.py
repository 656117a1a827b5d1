"""Which failure is worth another attempt, and how long to wait before it.

=========  =================================================================================
class      kinds of error
=========  =================================================================================
transient  dns, connect, tls, timeout, connection_lost, rate_limited, server_error,
           truncated, size_mismatch, not_audio, malformed_audio: tried again with back-off
permanent  all others: the same request would fail again
=========  =================================================================================

Of the permanent ones, unauthorized and forbidden are counted per key: see `fetch`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from exporter.errors import ErrorKind, FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

TRANSIENT = frozenset(
    {
        ErrorKind.DNS,
        ErrorKind.CONNECT,
        ErrorKind.TLS,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION_LOST,
        ErrorKind.RATE_LIMITED,
        ErrorKind.SERVER_ERROR,
        ErrorKind.TRUNCATED,
        ErrorKind.SIZE_MISMATCH,
        ErrorKind.NOT_AUDIO,
        ErrorKind.MALFORMED_AUDIO,
    }
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: at most, the first one included.
        max_delay: seconds; the longest back-off.
        max_retry_after: seconds; when a server asks for a longer wait, we do not wait at all.
        sleep: waits for so many seconds.
    """

    attempts: int = 6
    max_delay: float = 60
    max_retry_after: float = 300
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def is_transient(self, error: BaseException) -> bool:
        """Whether another attempt may succeed, and soon enough."""
        return (
            isinstance(error, FetchError)
            and error.kind in TRANSIENT
            and (error.retry_after or 0) <= self.max_retry_after
        )


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    on_retry: Callable[[FetchError, float], None] = lambda _error, _delay: None,
) -> T:
    """Call `attempt` until it succeeds, fails for good, or has failed often enough.

    Args:
        attempt: starts from the beginning each time.
        policy: how often and how patiently.
        on_retry: told of each failure and the seconds until the next attempt.

    Raises:
        FetchError: the last failure.
    """
    try:
        return await attempt()
    except FetchError as error:
        if not policy.is_transient(error):
            raise
        first_failure = error
    # Tenacity's machinery costs as much as a small download; nearly all succeed without it. It is
    # entered with the first failure, as if it had made that attempt itself.
    failures = [first_failure]

    async def again() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, FetchError):
            on_retry(error, state.upcoming_sleep)

    retrying = AsyncRetrying(
        sleep=policy.sleep,
        stop=stop_after_attempt(policy.attempts),
        wait=_Wait(policy.max_delay),
        retry=retry_if_exception(policy.is_transient),
        before_sleep=tell,
        reraise=True,
    )
    return await retrying(again)


class _Wait(wait_random_exponential):
    """Exponential back-off with full jitter, and never less than the server asked for."""

    def __init__(self, max_delay: float) -> None:
        super().__init__(multiplier=0.5, max=max_delay)

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds to wait."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, FetchError) else None
        return max(super().__call__(retry_state), asked or 0.0)
