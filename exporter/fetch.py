"""One recording: asked for and written. Ends in an `Outcome`, whatever the API answers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from exporter.errors import ErrorKind, FetchError
from exporter.model import Archived, ErrorInfo, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.asking import Accepted, Asker
    from exporter.couriers.courier import Brings
    from exporter.model import Recording
    from exporter.target import Target

_CLOCKS_APART = timedelta(days=1)  # how far ahead of our clock a call may claim to begin

_STATUS_OF_KIND = {
    ErrorKind.RECORDING_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.CONVERSATION_NOT_FOUND: Status.NOT_FOUND,
    ErrorKind.GONE: Status.GONE,
    ErrorKind.CANCELLED: Status.CANCELLED,
}
_LEVEL = {
    Status.FAILED: logging.ERROR,
    # A stop was told already; and these are only the few that had been handed out by then.
    Status.CANCELLED: logging.DEBUG,
}


class Fetcher:
    """Fetches recordings into the archive."""

    def __init__(
        self,
        *,
        asker: Asker,
        courier: Brings,
        pending_grace: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._asker = asker
        self._courier = courier
        self._pending_grace = pending_grace
        self._now = now
        # Bound once: a recording that is not told of should not cost the making of a logger.
        self._log = structlog.get_logger().bind()

    async def fetch(self, recording: Recording, target: Target) -> Outcome:
        """Bring one recording to its target.

        Raises:
            DestinationError: the archive cannot be written.
        """
        attempts = 0

        async def send(key: str, accepted: Accepted) -> Archived:
            nonlocal attempts
            attempts += 1
            return await self._attempt(recording, target, key, accepted)

        try:
            archived = await self._asker.ask(recording, send)
        except FetchError as error:
            return self._failed(recording, error, attempts)
        if archived.sha256 in target.known:  # fetched again, and still the same
            return Outcome(Status.SKIPPED, archived, attempts=attempts)
        return Outcome(Status.EXPORTED, archived, attempts=attempts)

    async def _attempt(
        self, recording: Recording, target: Target, key: str, accepted: Accepted
    ) -> Archived:
        delivery = await self._courier.bring(
            recording, target.path, known=target.known, key=key, accepted=accepted
        )
        written = delivery.written
        if not written.is_new:
            return target.known[written.sha256]
        return Archived(
            target.path,
            written.size,
            written.sha256,
            written.audio,
            self._now(),
            delivery.correlation_id,
            target.version,
        )

    def _failed(self, recording: Recording, error: FetchError, attempts: int) -> Outcome:
        info = ErrorInfo.of(error)
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

    def tell(self, recording: Recording, outcome: Outcome) -> None:
        """Log how a recording ended."""
        if outcome.archived:
            self._log.debug(
                "recording.exported",
                recording=str(recording),
                path=outcome.archived.path,
                bytes=outcome.archived.size,
                sha256=outcome.archived.sha256,
                correlation_id=outcome.archived.correlation_id,
            )
        elif outcome.error:
            self._log.log(
                _LEVEL.get(outcome.status, logging.WARNING),
                f"recording.{outcome.status}",
                recording=str(recording),
                kind=outcome.error.kind,
                reason=outcome.error.message,
                http_status=outcome.error.http_status,
                code=outcome.error.code,
                correlation_id=outcome.error.correlation_id,
            )
