"""The one error tree.

::

    ExporterError                   something that ends a run or a command; has an exit code
    ├── UsageError              2   the user's input is wrong: where, found what, expected what
    │   ├── ConfigError         2   … in the config file, the environment or a flag
    │   └── ManifestError       2   … in the manifest
    ├── CredentialsRefusedError 3   the API refused every key
    ├── DestinationError        4   the archive cannot be written
    │   └── DestinationAwayError 4  … nor read: which says nothing about any file's content
    ├── ArchiveBusyError        5   another run holds the archive
    ├── PolicyError             7   raw recordings where none may be, or none where they must be
    ├── CourierLostError        1   a process that fetched for the run has ended
    ├── HostError               1   nothing at the configured host is the API, or it is away
    └── RetryLaterError         8   the server asks for a longer wait than the config allows
    FetchError                      one attempt at one recording failed; says why (`kind`)

An `ExporterError` ends the run. A `FetchError` never does by itself: it becomes the outcome of one
recording. Libraries' own exceptions are translated at the border (`client`, `sinks`, `loader`).
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ErrorKind(StrEnum):
    """Why a recording was not exported: the closed set of `error.kind` in the results."""

    # The API answered.
    BAD_REQUEST = "bad_request"  # 400, 405, 422, …: the same request will fail again
    UNAUTHORIZED = "unauthorized"  # 401
    FORBIDDEN = "forbidden"  # 403
    RECORDING_NOT_FOUND = "recording_not_found"  # 404: the conversation has no recording
    CONVERSATION_NOT_FOUND = "conversation_not_found"  # 404: no such conversation
    PROJECT_NOT_FOUND = "project_not_found"  # 404: no such account or project (or wrong region)
    WRONG_HOST = "wrong_host"  # 404 without the API's own error body
    GONE = "gone"  # 410
    RATE_LIMITED = "rate_limited"  # 429
    SERVER_ERROR = "server_error"  # 5xx
    UNEXPECTED_STATUS = "unexpected_status"  # any other status, redirects among them

    # The network failed.
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"  # the hand-shake was cut or failed
    CERTIFICATE = "certificate"  # the server's certificate is not trusted
    TIMEOUT = "timeout"  # connect, read or total time, also 408
    CONNECTION_LOST = "connection_lost"

    # The answer was no whole recording, or no page of a listing.
    TRUNCATED = "truncated"  # fewer bytes than promised by HTTP or by the WAV header
    SIZE_MISMATCH = "size_mismatch"  # bytes behind the end that the WAV header tells
    TOO_LARGE = "too_large"  # over limits.max_recording_bytes
    NOT_AUDIO = "not_audio"  # empty, JSON, HTML, text: anything but a WAV file
    MALFORMED_AUDIO = "malformed_audio"  # a WAV file whose structure is broken
    UNSUPPORTED_AUDIO = "unsupported_audio"  # a WAV file in an encoding that cannot be checked
    UNREADABLE = "unreadable"  # JSON was expected, and something else came
    BAD_PAGING = "bad_paging"  # the pages of a listing lead nowhere, or in a circle

    # Something on this side.
    IDENTIFIER_COLLISION = "identifier_collision"  # differs from another identifier by case only
    DESTINATION_CONFLICT = "destination_conflict"  # another, unrecorded file has the final name
    DESTINATION = "destination"  # the archive could not be written
    CANCELLED = "cancelled"  # the run stopped before this recording's turn was over


class Location(Struct, frozen=True, gc=False):
    """A place in the user's input; line and column count from 1."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """`file:line:column`, as far as known."""
        return ":".join(
            str(part) for part in (self.source, self.line, self.column) if part is not None
        )


class ExporterError(Exception):
    """Ends a run or a command.

    Attributes:
        message: what happened, and where.
        hint: what to do about it, or an empty string.
        exit_code: the process's exit code.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ExporterError):
    """The user's input is wrong.

    Attributes:
        location: the place in the input, where there is one.
        also: what else is wrong with the same input.
        has_more: and still more is, which is not told.
    """

    exit_code: int = 2

    def __init__(self, message: str, *, location: Location | None = None, hint: str = "") -> None:
        super().__init__(f"{location}: {message}" if location else message, hint=hint)
        self.location = location
        self.also: tuple[UsageError, ...] = ()
        self.has_more = False


class ConfigError(UsageError):
    """The config file, an environment variable or a flag is wrong."""


class ManifestError(UsageError):
    """The manifest is wrong."""


class CredentialsRefusedError(ExporterError):
    """The API refused the key (401, 403): asking again and again is pointless."""

    exit_code: int = 3


class DestinationError(ExporterError):
    """The archive cannot be written: full, read-only, forbidden, or gone."""

    exit_code: int = 4


class DestinationAwayError(DestinationError):
    """The archive's storage does not answer, or not to us: no file of it is to blame."""


class ArchiveBusyError(ExporterError):
    """Another run holds this archive."""

    exit_code: int = 5


class PolicyError(ExporterError):
    """What the settings say of raw recordings was not kept, or could not be."""

    exit_code: int = 7


class HostError(ExporterError):
    """What answers at the configured host is not the API, or nothing answers there."""


class CourierLostError(ExporterError):
    """A process that fetched for the run has ended before the run did, or could not be started."""


class RetryLaterError(ExporterError):
    """The server asked us to come back later than `retry.max_retry_after` allows."""

    exit_code: int = 8


class FetchError(Exception):
    """One attempt at one recording failed.

    Attributes:
        kind: why, from the closed set.
        message: a sentence for people; holds no secret.
        http_status: the HTTP status, where there was an answer.
        code: the API's `error_code`.
        correlation_id: what the vendor's support asks for.
        retry_after: seconds that the server asked us to wait.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        http_status: int | None = None,
        code: str | None = None,
        correlation_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.http_status = http_status
        self.code = code
        self.correlation_id = correlation_id
        self.retry_after = retry_after
