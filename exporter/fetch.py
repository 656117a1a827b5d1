"""One recording: asked for and written. Ends in an `Outcome`, whatever the API answers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from exporter.errors import ErrorKind, FetchError
from exporter.model import Archived, ErrorInfo, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from exporter.asking import Accepted, Asker
    from exporter.couriers.courier import Brings, Delivery
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
        # Bound once: a recording that is not told of should not cost the making of a logger, nor
        # of what would be told.
        self._log = structlog.get_logger().bind()
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)

    async def fetch(self, recording: Recording, target: Target) -> Outcome:
        """Bring one recording to its target.

        Raises:
            DestinationError: the archive cannot be written.
        """
        attempts = 0

        def send(key: str, accepted: Accepted) -> Awaitable[Delivery]:
            nonlocal attempts
            attempts += 1
            return self._courier.bring(
                recording, target.path, known=target.known, key=key, accepted=accepted
            )

        try:
            delivery = await self._asker.ask(recording, send)
        except FetchError as error:
            return self._failed(recording, error, attempts)
        written = delivery.written
        if not written.is_new:  # fetched again, and still the same
            return Outcome(Status.SKIPPED, target.known[written.sha256], attempts=attempts)
        archived = Archived(
            target.path,
            written.size,
            written.sha256,
            written.audio,
            self._now(),
            delivery.correlation_id,
            target.version,
        )
        return Outcome(Status.EXPORTED, archived, attempts=attempts)

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
        if outcome.archived and self._tells_all:
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
