"""One recording: request, retry, write. Ends in an `Outcome`, whatever the API answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from exporter.errors import ErrorKind, ExporterError, FetchError, RetryLaterError
from exporter.model import Archived, ErrorInfo, Outcome, Status
from exporter.retry import with_retries
from exporter.trust import is_refusal, is_stranger

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.client import Client
    from exporter.credentials import Credential, Credentials
    from exporter.model import Recording
    from exporter.retry import RetryPolicy
    from exporter.target import Target
    from exporter.throttle import Throttle, Turn
    from exporter.trust import Host, Refusals
    from exporter.writer import Writer

_log = structlog.get_logger()

_CLOCKS_APART = timedelta(days=1)  # how far ahead of our clock a call may claim to begin

_STATUS_OF_KIND = {
    ErrorKind.RECORDING_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.CONVERSATION_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.GONE: Status.GONE,
    ErrorKind.CANCELLED: Status.CANCELLED,
}

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


class Fetcher:
    """Fetches recordings into the archive; what it learns of traffic, keys and host is elsewhere.

    Args:
        give_up: is told why there is no point in going on, perhaps more than once.
    """

    def __init__(
        self,
        *,
        client: Client,
        writer: Writer,
        credentials: Credentials,
        throttle: Throttle,
        retry: RetryPolicy,
        pending_grace: timedelta,
        refusals: Refusals,
        host: Host,
        give_up: Callable[[ExporterError], None],
        clean: Callable[[str], str] = str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._writer = writer
        self._credentials = credentials
        self._throttle = throttle
        self._retry = retry
        self._pending_grace = pending_grace
        self._refusals = refusals
        self._host = host
        self._give_up = give_up
        self._clean = clean
        self._now = now

    async def fetch(self, recording: Recording, target: Target) -> Outcome:
        """Bring one recording to its target.

        Raises:
            DestinationError: the archive cannot be written.
        """
        credential = self._credentials.of(recording.account_id, recording.project_id)
        attempts = 0

        def check() -> None:
            if refused := self._refusals.verdict(recording):
                raise _RefusedBeforeError(refused)

        async def attempt() -> Archived:
            nonlocal attempts
            turn = await self._throttle.turn(credential.name, retry=attempts > 0, check=check)
            attempts += 1
            try:
                return await self._attempt(recording, credential, target, turn)
            except FetchError as error:
                # A server may echo anything, the key and the caller's number among it.
                error.message = self._clean(error.message)
                error.code = self._clean(error.code) if error.code else None
                self._learn(recording, turn, error)
                raise
            finally:
                self._throttle.leave(turn)

        def on_retry(error: FetchError, delay: float) -> None:
            _log.info(
                "recording.retry",
                recording=str(recording),
                kind=error.kind,
                reason=error.message,
                attempt=attempts,
                delay_seconds=round(delay, 2),
                correlation_id=error.correlation_id,
            )

        try:
            archived = await with_retries(attempt, self._retry, on_retry=on_retry)
        except FetchError as error:
            return self._failed(recording, error, attempts)
        if archived.sha256 in target.known:  # fetched again, and still the same
            return Outcome(Status.SKIPPED, archived, attempts=attempts)
        return Outcome(Status.EXPORTED, archived, attempts=attempts)

    def check(self, *, at_the_end: bool = False) -> None:
        """Give up where what was learnt leaves nothing worth asking for."""
        fatal = self._refusals.fatal(at_the_end=at_the_end) or self._host.fatal(
            at_the_end=at_the_end
        )
        if fatal is not None:
            self._give_up(fatal)

    async def _attempt(
        self, recording: Recording, credential: Credential, target: Target, turn: Turn
    ) -> Archived:
        async with self._client.open(recording, credential.key) as body:
            self._throttle.accepted(turn)
            self._refusals.note_accepted(recording)
            self._host.note_answer()
            written = await self._writer.write(body.chunks(), target.path, known=target.known)
        if not written.is_new:
            return target.known[written.sha256]
        return Archived(
            target.path,
            written.size,
            written.sha256,
            written.audio,
            self._now(),
            body.correlation_id,
            target.version,
        )

    def _learn(self, recording: Recording, turn: Turn, error: FetchError) -> None:
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
            self._refusals.note(recording, info)
            self._host.note_answer(is_the_api=error.code is not None)
        if is_stranger(error.kind):
            self._host.note_stranger(recording, info)
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

    def _failed(self, recording: Recording, error: FetchError, attempts: int) -> Outcome:
        info = error.info if isinstance(error, _RefusedBeforeError) else ErrorInfo.of(error)
        status = _STATUS_OF_KIND.get(info.kind, Status.FAILED)
        if info.kind is ErrorKind.RECORDING_NOT_FOUND and self._may_still_come(recording):
            status = Status.PENDING
        return Outcome(status, error=info, attempts=attempts)

    def _may_still_come(self, recording: Recording) -> bool:
        if recording.in_progress:
            return True
        if recording.started_at is None:
            return False
        # A mistyped year must not be waited for until then.
        return -_CLOCKS_APART < self._now() - recording.started_at < self._pending_grace


def _retry_later(error: FetchError, longest: float) -> RetryLaterError:
    return RetryLaterError(
        f"the server asks to come back in {error.retry_after:.0f} seconds, which is longer than"
        f" retry.max_retry_after ({longest:g}): {error.message}",
        hint="Run again later: what is archived is skipped. Or raise retry.max_retry_after.",
    )


class _RefusedBeforeError(FetchError):
    """Not asked for, because the credential was refused before."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.kind, info.message)
        self.info = info
