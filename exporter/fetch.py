"""One recording: request, retry, write. Ends in an `Outcome`, whatever the API answers."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from exporter.errors import CredentialsRefusedError, ErrorKind, FetchError
from exporter.model import Archived, ErrorInfo, Outcome, Status
from exporter.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.client import Client
    from exporter.credentials import Credential, Credentials
    from exporter.model import Recording
    from exporter.retry import RetryPolicy
    from exporter.target import Target
    from exporter.throttle import Throttle
    from exporter.writer import Writer

_log = structlog.get_logger()

_STATUS_OF_KIND = {
    ErrorKind.RECORDING_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.CONVERSATION_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.GONE: Status.GONE,
    ErrorKind.CANCELLED: Status.CANCELLED,
}

REFUSED_KINDS = (ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN)
_REFUSED_ADVICE = (
    "Check that the key is whole and not expired or rotated, that it belongs to this region and"
    " to these projects, and that its role may read recordings."
)


class Refusals:
    """Remembers which credentials the API refuses, so that it is not asked again and again.

    A 401 speaks of the key, a 403 of the key in one project. Two recordings must be refused before
    the rest is given up: the second one proves that it was not about the first.
    """

    PROOF = 2

    def __init__(self) -> None:
        self._refused: defaultdict[object, dict[Recording, ErrorInfo]] = defaultdict(dict)
        self._accepted: set[str] = set()

    def note(self, credential: Credential, recording: Recording, error: ErrorInfo) -> None:
        """An answer of 401 or 403."""
        self._refused[_scope(credential, recording, error.kind)][recording] = error

    def note_accepted(self, credential: Credential) -> None:
        """Any other answer of the API: this key works."""
        self._accepted.add(credential.name)

    def verdict(self, credential: Credential, recording: Recording) -> ErrorInfo | None:
        """Why this recording need not be asked for; None when it should be."""
        for kind in REFUSED_KINDS:
            proofs = self._refused.get(_scope(credential, recording, kind), {})
            if len(proofs) >= self.PROOF:
                first = next(iter(proofs.values()))
                return ErrorInfo(
                    kind,
                    f"not asked for: {first.message}",
                    first.http_status,
                    first.code,
                    first.correlation_id,
                )
        return None

    def check(self, credentials: set[str]) -> None:
        """Raise when none of these credentials works anywhere.

        Raises:
            CredentialsRefusedError: each was proven to be refused and none was ever accepted.
        """
        proven = {
            (scope[0] if isinstance(scope, tuple) else scope): proofs
            for scope, proofs in self._refused.items()
            if len(proofs) >= self.PROOF
        }
        if self._accepted or not credentials <= proven.keys():
            return
        first = next(iter(next(iter(proven.values())).values()))
        names = ", ".join(sorted(credentials))
        raise CredentialsRefusedError(
            f"the API refused the key from {names}: {first.message}"
            + (f" (correlation id {first.correlation_id})" if first.correlation_id else ""),
            hint=_REFUSED_ADVICE,
        )


def _scope(credential: Credential, recording: Recording, kind: ErrorKind) -> object:
    if kind is ErrorKind.UNAUTHORIZED:
        return credential.name
    return credential.name, recording.account_id, recording.project_id


class Fetcher:
    """Fetches recordings into the archive; stateless but for what it learns of credentials."""

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
        self._clean = clean
        self._now = now

    async def fetch(self, recording: Recording, target: Target) -> Outcome:
        """Bring one recording to its target.

        Raises:
            DestinationError: the archive cannot be written.
        """
        credential = self._credentials.of(recording.account_id, recording.project_id)
        attempts = 0

        async def attempt() -> Archived:
            nonlocal attempts
            await self._throttle.wait(credential.name)
            if refused := self._refusals.verdict(credential, recording):
                raise _RefusedBeforeError(refused)
            attempts += 1
            async with self._client.open(recording, credential.key) as body:
                written = await self._writer.write(body.chunks(), target.path, known=target.known)
            self._refusals.note_accepted(credential)
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

        def on_retry(error: FetchError, delay: float) -> None:
            if error.kind is ErrorKind.RATE_LIMITED:
                self._throttle.pause(credential.name, delay)
            _log.warning(
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
            # A server may echo anything, the key and the caller's number among it.
            error.message = self._clean(error.message)
            error.code = self._clean(error.code) if error.code else None
            return self._failed(recording, credential, error, attempts)
        if archived.sha256 in target.known:  # fetched again, and still the same
            return Outcome(Status.SKIPPED, archived, attempts=attempts)
        return Outcome(Status.EXPORTED, archived, attempts=attempts)

    def _failed(
        self, recording: Recording, credential: Credential, error: FetchError, attempts: int
    ) -> Outcome:
        info = error.info if isinstance(error, _RefusedBeforeError) else ErrorInfo.of(error)
        if info.kind in REFUSED_KINDS:
            if attempts:
                self._refusals.note(credential, recording, info)
        elif info.kind in _STATUS_OF_KIND:
            self._refusals.note_accepted(credential)
        status = _STATUS_OF_KIND.get(info.kind, Status.FAILED)
        if info.kind is ErrorKind.RECORDING_NOT_FOUND and self._may_still_come(recording):
            status = Status.PENDING
        return Outcome(status, error=info, attempts=attempts)

    def _may_still_come(self, recording: Recording) -> bool:
        started_at = recording.started_at
        return started_at is not None and self._now() - started_at < self._pending_grace


class _RefusedBeforeError(FetchError):
    """Not asked for, because the credential was refused before."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.kind, info.message)
        self.info = info
