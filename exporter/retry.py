"""Which failure is worth another attempt, and how long to wait before it.

=========  ======================================  ==============================================
class      kinds of error                          what happens
=========  ======================================  ==============================================
transient  rate_limited, server_error, timeout,    tried again, `retry.attempts` requests in all;
           connection_lost, tls, truncated,        then the recording is `failed`
           size_mismatch, not_audio,
           malformed_audio, unreadable
away       dns, connect                            tried again until the server is back; nothing
                                                   was asked, so it does not count as an attempt.
                                                   After `retry.max_outage` the run ends
permanent  bad_request, recording_not_found,       never tried again
           conversation_not_found, gone,
           too_large, unsupported_audio,
           destination_conflict,
           identifier_collision,
           bad_paging, cancelled
fatal      unauthorized, forbidden,                not tried again; when other recordings meet the
           project_not_found, wrong_host,          same, nothing more is asked of that key, project
           unexpected_status, certificate          or host (`trust`)
           destination                             ends the run at once
=========  ======================================  ==============================================

A server that answers nothing but failures for `retry.max_outage` ends the run as well (`trust`).
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from exporter.errors import ErrorKind, FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class ErrorClass(StrEnum):
    """What a kind of error says about another attempt."""

    TRANSIENT = "transient"
    AWAY = "away"
    PERMANENT = "permanent"
    FATAL = "fatal"


CLASSES = {
    ErrorKind.RATE_LIMITED: ErrorClass.TRANSIENT,
    ErrorKind.SERVER_ERROR: ErrorClass.TRANSIENT,
    ErrorKind.TIMEOUT: ErrorClass.TRANSIENT,
    ErrorKind.CONNECTION_LOST: ErrorClass.TRANSIENT,
    ErrorKind.TLS: ErrorClass.TRANSIENT,
    ErrorKind.TRUNCATED: ErrorClass.TRANSIENT,
    ErrorKind.SIZE_MISMATCH: ErrorClass.TRANSIENT,
    ErrorKind.NOT_AUDIO: ErrorClass.TRANSIENT,
    ErrorKind.MALFORMED_AUDIO: ErrorClass.TRANSIENT,
    ErrorKind.UNREADABLE: ErrorClass.TRANSIENT,
    ErrorKind.DNS: ErrorClass.AWAY,
    ErrorKind.CONNECT: ErrorClass.AWAY,
    ErrorKind.BAD_REQUEST: ErrorClass.PERMANENT,
    ErrorKind.RECORDING_NOT_FOUND: ErrorClass.PERMANENT,
    ErrorKind.CONVERSATION_NOT_FOUND: ErrorClass.PERMANENT,
    ErrorKind.GONE: ErrorClass.PERMANENT,
    ErrorKind.TOO_LARGE: ErrorClass.PERMANENT,
    ErrorKind.UNSUPPORTED_AUDIO: ErrorClass.PERMANENT,
    ErrorKind.IDENTIFIER_COLLISION: ErrorClass.PERMANENT,
    ErrorKind.DESTINATION_CONFLICT: ErrorClass.PERMANENT,
    ErrorKind.BAD_PAGING: ErrorClass.PERMANENT,
    ErrorKind.CANCELLED: ErrorClass.PERMANENT,
    ErrorKind.UNAUTHORIZED: ErrorClass.FATAL,
    ErrorKind.FORBIDDEN: ErrorClass.FATAL,
    ErrorKind.PROJECT_NOT_FOUND: ErrorClass.FATAL,
    ErrorKind.WRONG_HOST: ErrorClass.FATAL,
    ErrorKind.UNEXPECTED_STATUS: ErrorClass.FATAL,
    ErrorKind.CERTIFICATE: ErrorClass.FATAL,
    ErrorKind.DESTINATION: ErrorClass.FATAL,
}
"""Every kind has a class; a test compares this table with the documentation."""

_FIRST_DELAY = 0.5  # seconds
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: at most, the first one included.
        max_delay: seconds; the longest back-off.
        max_retry_after: seconds; when a server asks for a longer wait, the run ends instead.
        max_outage: seconds; a server that is away for longer ends the run.
        sleep: waits for so many seconds.
        chance: a number between 0 and 1.
    """

    attempts: int = 6
    max_delay: float = 60
    max_retry_after: float = 300
    max_outage: float = 120
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    def is_worthwhile(self, error: BaseException, counted: int) -> bool:
        """Whether another attempt may succeed, after so many that counted."""
        if not isinstance(error, FetchError):
            return False
        match CLASSES[error.kind]:
            case ErrorClass.AWAY:
                return True
            case ErrorClass.TRANSIENT:
                return counted < self.attempts
            case _:
                return False

    def delay(self, error: FetchError, failures: int) -> float:
        """Seconds until the next attempt: exponential, with full jitter.

        None where the server said when: the throttle makes everybody wait for that.
        """
        if error.kind is ErrorKind.RATE_LIMITED or error.retry_after is not None:
            return 0.0
        return backoff(failures, self.max_delay) * self.chance()


def backoff(failures: int, longest: float) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(longest, _FIRST_DELAY * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    failure: FetchError | None = None,
    on_retry: Callable[[FetchError, float], None] = lambda _error, _delay: None,
) -> T:
    """Call `attempt` until it succeeds, fails for good, or has failed often enough.

    Args:
        attempt: starts from the beginning each time.
        policy: how often and how patiently.
        failure: of a first attempt, which the caller has made.
        on_retry: told of each failure and the seconds until the next attempt.

    Raises:
        FetchError: the last failure.
    """
    if failure is None:
        try:
            return await attempt()
        except FetchError as error:
            failure = error
    if not policy.is_worthwhile(failure, 1):
        raise failure
    # Tenacity's machinery costs as much as a small download; nearly all succeed without it. It is
    # entered with the first failure, as if it had made that attempt itself.
    course = _Course(policy, on_retry)
    failures = [failure]

    async def again() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    retrying = AsyncRetrying(
        sleep=policy.sleep,
        wait=course.wait,
        retry=retry_if_exception(course.is_worthwhile),
        before_sleep=course.tell,
        reraise=True,
    )
    return await retrying(again)


class _Course:
    """The attempts at one recording so far."""

    def __init__(self, policy: RetryPolicy, on_retry: Callable[[FetchError, float], None]) -> None:
        self._policy = policy
        self._on_retry = on_retry
        self._counted = 0

    def is_worthwhile(self, error: BaseException) -> bool:
        if isinstance(error, FetchError) and CLASSES[error.kind] is not ErrorClass.AWAY:
            self._counted += 1
        return self._policy.is_worthwhile(error, self._counted)

    def wait(self, state: RetryCallState) -> float:
        return self._policy.delay(_error_of(state), state.attempt_number)

    def tell(self, state: RetryCallState) -> None:
        self._on_retry(_error_of(state), state.upcoming_sleep)


def _error_of(state: RetryCallState) -> FetchError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, FetchError):
        raise TypeError("only a FetchError is retried")
    return error


def parse_retry_after(value: str, date: str, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks us to wait; None where it cannot be understood.

    Args:
        value: seconds, or an HTTP date.
        date: the answer's `Date` header: the clock that an HTTP date is meant by. Where it is
            missing, ours has to do.
        now: what time our own clock says; for tests.
    """
    value = value.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        return float(value)
    until = _parse_date(value)
    if until is None:
        return None
    since = _parse_date(date) or now or datetime.now(UTC)
    return max(0.0, (until - since).total_seconds())


def _parse_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    # "-0000" means a time in UTC from who knows where: Python makes it naive.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
