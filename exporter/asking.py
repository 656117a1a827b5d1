"""One question to the API, until it is answered: request, what is learnt of it, retry.

Recordings, pages of a listing and descriptions of conversations are all asked for here: they share
the rate, the keys, and what is known of keys and host.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from exporter.errors import ErrorKind, ExporterError, FetchError, RetryLaterError
from exporter.model import ErrorInfo
from exporter.retry import with_retries
from exporter.trust import is_refusal, is_stranger

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from exporter.credentials import Credential, Credentials
    from exporter.retry import RetryPolicy
    from exporter.throttle import Throttle, Turn
    from exporter.trust import Host, Refusals, Subject

T = TypeVar("T")

Accepted = Callable[[], Callable[[], None]]
"""Called when the server has begun to answer well; what it returns, when the last byte has come."""

_log = structlog.get_logger()

_UNWELL = frozenset(
    {
        ErrorKind.DNS,
        ErrorKind.CONNECT,
        ErrorKind.TLS,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION_LOST,
        ErrorKind.SERVER_ERROR,
    }
)
"""Before an answer has begun, these may mean that the server is away or has too much to do."""


class Asker:
    """Asks; what it learns of traffic, keys and host is kept elsewhere.

    Args:
        give_up: is told why there is no point in going on, perhaps more than once.
        clean: takes secrets out of a text.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        throttle: Throttle,
        retry: RetryPolicy,
        refusals: Refusals,
        host: Host,
        give_up: Callable[[ExporterError], None],
        clean: Callable[[str], str] = str,
    ) -> None:
        self._credentials = credentials
        self._throttle = throttle
        self._retry = retry
        self._refusals = refusals
        self._host = host
        self._give_up = give_up
        self._clean = clean

    async def ask(self, subject: Subject, send: Callable[[str, Accepted], Awaitable[T]]) -> T:
        """Send a request until it succeeds, fails for good, or has failed often enough.

        Args:
            subject: what is asked for; tells whose key is needed.
            send: one attempt, from the beginning; gets the key, and what is to be called when the
                server has begun to answer well. It may do more than receive: once it has said that
                the last byte has come, another request may leave.

        Raises:
            FetchError: the last failure.
        """
        credential = self._credentials.of(subject.account_id, subject.project_id)
        try:
            return await self._attempt(subject, credential, send)
        except FetchError as error:
            failure = error
        return await self._try_again(subject, credential, send, failure)

    def expect(self, project: tuple[str, str], credential: str) -> None:
        """One more (account, project) is going to be asked for, with the key of that name."""
        self._refusals.expect(project, credential)

    def check(self, *, at_the_end: bool = False) -> None:
        """Give up where what was learnt leaves nothing worth asking for."""
        if (fatal := self.fatal(at_the_end=at_the_end)) is not None:
            self._give_up(fatal)

    def fatal(self, *, at_the_end: bool = False) -> ExporterError | None:
        """Why nothing is worth asking for any more, if that is so."""
        return self._refusals.fatal(at_the_end=at_the_end) or self._host.fatal(
            at_the_end=at_the_end
        )

    async def _attempt(
        self,
        subject: Subject,
        credential: Credential,
        send: Callable[[str, Accepted], Awaitable[T]],
        *,
        is_retry: bool = False,
    ) -> T:
        def check() -> None:
            if refused := self._refusals.verdict(subject):
                raise _refused_before(refused)

        def accepted() -> Callable[[], None]:
            self._throttle.accepted(turn)
            self._refusals.note_accepted(subject)
            self._host.note_answer()
            return partial(self._throttle.leave, turn)

        turn = await self._throttle.turn(credential.name, retry=is_retry, check=check)
        try:
            return await send(credential.key, accepted)
        except FetchError as error:
            # A server may echo anything, the key and the caller's number among it.
            error.message = self._clean(error.message)
            error.code = self._clean(error.code) if error.code else None
            self._learn(subject, turn, error)
            raise
        finally:
            self._throttle.leave(turn)

    async def _try_again(
        self,
        subject: Subject,
        credential: Credential,
        send: Callable[[str, Accepted], Awaitable[T]],
        failure: FetchError,
    ) -> T:
        attempts = 1

        async def attempt() -> T:
            nonlocal attempts
            attempts += 1
            return await self._attempt(subject, credential, send, is_retry=True)

        def on_retry(error: FetchError, delay: float) -> None:
            _log.info(
                "request.retry",
                of=str(subject),
                kind=error.kind,
                reason=error.message,
                attempt=attempts,
                delay_seconds=round(delay, 2),
                correlation_id=error.correlation_id,
            )

        return await with_retries(attempt, self._retry, failure=failure, on_retry=on_retry)

    def _learn(self, subject: Subject, turn: Turn, error: FetchError) -> None:
        """What a failed attempt says about the server, the key and the host."""
        info = ErrorInfo.of(error)
        if error.retry_after is not None and error.retry_after > self._retry.max_retry_after:
            self._give_up(_retry_later(error, self._retry.max_retry_after))
        if error.kind is ErrorKind.RATE_LIMITED:
            self._throttle.refused(turn, error.retry_after)
            self._host.note_answer(is_the_api=error.code is not None)
        elif turn.answered:
            return  # the body was at fault
        elif error.kind in _UNWELL:
            self._note_unwell(turn, error, info)
        elif error.http_status is not None:
            in_doubt = is_refusal(error.kind) or is_stranger(error.kind)
            self._throttle.accepted(turn, good=not in_doubt)
            self._refusals.note(subject, info)
            self._host.note_answer(is_the_api=error.code is not None)
        if is_stranger(error.kind):
            self._host.note_stranger(subject, info)
        self.check()

    def _note_unwell(self, turn: Turn, error: FetchError, info: ErrorInfo) -> None:
        self._throttle.failed(turn)
        delay = self._host.note_failure(info, turn.sent)
        if error.retry_after:
            self._throttle.pause(turn, error.retry_after)
        elif delay > 0:
            _log.warning(
                "host.unwell", kind=error.kind, reason=error.message, pause_seconds=round(delay, 2)
            )
            self._throttle.pause_all(turn, delay)


def _retry_later(error: FetchError, longest: float) -> RetryLaterError:
    return RetryLaterError(
        f"the server asks to come back in {error.retry_after:.0f} seconds, which is longer than"
        f" retry.max_retry_after ({longest:g}): {error.message}",
        hint="Run again later: what is archived is skipped. Or raise retry.max_retry_after.",
    )


def _refused_before(info: ErrorInfo) -> FetchError:
    """Not asked for, because the credential was refused before."""
    return FetchError(
        info.kind,
        info.message,
        http_status=info.http_status,
        code=info.code,
        correlation_id=info.correlation_id,
    )
