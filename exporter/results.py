"""Outcomes -> the results document, its summary and its JSON Schema. Pure: no I/O.

The document is rendered as a stream of bytes, one line a recording, so that its size never is the
size of a run in memory.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from exporter.errors import ErrorKind
from exporter.model import (
    Direction,
    PiiAccessState,
    Redaction,
    RedactionEvidence,
    Status,
    Surface,
    split_mount,
    utc_text,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from exporter.model import AudioFormat, ErrorInfo, Outcome, Recording

SCHEMA_VERSION: Final = 1

Count = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[
    str,
    msgspec.Meta(description="UTC, ISO 8601", extra_json_schema={"format": "date-time"}),
]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class RunStatus(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"  # every recording asked for is archived, or pending within its grace time
    PARTIAL = "partial"  # it went to the end; some recordings failed, were not found or are gone
    STOPPED = "stopped"  # a refused key, the destination or a limit ended it
    INTERRUPTED = "interrupted"  # a signal ended it, or it was killed and the next run tells so


class ManifestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest that a run was given."""

    path: str
    sha256: Sha256 | None


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Why a recording is not there."""

    kind: ErrorKind
    http_status: int | None
    code: str | None
    message: str
    correlation_id: str | None


class FiltersInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which conversations of a window were asked for."""

    client_env: str
    channel: list[str]
    include_in_progress: bool
    variant_id: str | None
    query_type: str | None
    query: str | None
    sample: str | None


class WindowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How what was found in a window ended."""

    archived: Count
    pending: Count
    not_found: Count
    gone: Count
    failed: Count
    cancelled: Count


class WindowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A window that the run looked for conversations in, and its certificate.

    `balances` says that `found` is the sum of `left_out` and `conversations`. A conversation is
    archived if all its recordings are. `missing` and `expired` are null where nothing could be
    compared with an earlier run.
    """

    account_id: str
    project_id: str
    start: Time = msgspec.field(name="from")
    end: Time = msgspec.field(name="to")
    timezone: str
    filters: FiltersInfo
    complete: bool
    found: Count
    left_out: dict[str, Count]
    conversations: WindowCounts
    recordings: WindowCounts
    balances: bool
    missing: Count | None
    expired: Count | None
    pages: Count
    error: ErrorDetail | None


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation."""

    id: str
    started_at: Time
    finished_at: Time
    exporter_version: str
    host: str | None = None
    user: str | None = None
    status: RunStatus
    exit_code: int
    manifest: ManifestInfo
    archive: str
    surface: Surface
    config: dict[str, Any]
    discovered: list[WindowInfo] = []


class PiiAccess(msgspec.Struct, frozen=True, kw_only=True):
    """PII access in one project."""

    account_id: str
    project_id: str
    state: PiiAccessState


class MetadataCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations by what became of their description; `requested` is the sum of the others."""

    requested: Count
    exported: Count
    skipped: Count
    not_found: Count
    failed: Count
    cancelled: Count
    errors: dict[str, Count]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers; `requested` is the sum of exported … cancelled, always.

    `expiring` and `expired` are null where the config names no retention, or the run was killed;
    `metadata` is null where none was asked for, likewise.
    """

    conversations: Count
    requested: Count
    exported: Count
    skipped: Count
    pending: Count
    not_found: Count
    gone: Count
    failed: Count
    cancelled: Count
    duplicates: Count
    carried_over: Count
    bytes: Count
    audio_seconds: float
    elapsed_seconds: float
    requests: Count
    retries: Count
    rate_limited: Count
    expiring: Count | None
    expired: Count | None
    errors: dict[str, Count]
    pii_access: list[PiiAccess]
    metadata: MetadataCounts | None


class AudioInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the WAV header says."""

    codec: str
    sample_rate: Count
    channels: Count
    bits_per_sample: Count
    duration_seconds: float


class DriftInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The recording's content differs from what was archived of it before.

    `previous_path` is where the former content lies now; null where the file is gone.
    """

    version: Annotated[int, msgspec.Meta(ge=1)]
    previous_path: str | None
    previous_sha256: Sha256


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One recording.

    `redaction_evidence` and `muted_spans` are null where no comparison was made. `fetched_at` and
    `correlation_id` are null for a skipped recording of which only its partition's manifest told.
    `drift` is there only where the content differs from what was archived before, `carried_over`
    only where an earlier run had left the recording pending and no entry of the manifest names it.
    """

    account_id: str
    project_id: str
    conversation_id: str
    started_at: Time | None
    direction: Direction
    redaction: Redaction
    status: Status
    path: str | None
    bytes: Count | None
    sha256: Sha256 | None
    audio: AudioInfo | None
    redaction_evidence: RedactionEvidence | None
    muted_spans: list[tuple[float, float]] | None
    attempts: Count
    fetched_at: Time | None
    correlation_id: str | None
    error: ErrorDetail | None
    drift: DriftInfo | msgspec.UnsetType = msgspec.UNSET
    carried_over: Literal[True] | msgspec.UnsetType = msgspec.UNSET


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run."""

    schema_version: Literal[1]
    run: RunInfo
    summary: Summary
    results: list[Result]


_MILLISECOND: Final = 1000  # microseconds
_TO_SECONDS: Final = len("2026-05-21T22:14:03")
_TO_MILLISECONDS: Final = _TO_SECONDS + len(".123")


def timestamp(moment: datetime) -> str:
    """UTC to the millisecond, with `Z`; whole seconds stay whole."""
    text = utc_text(moment)
    if not moment.microsecond:
        return text
    return f"{text[: _TO_SECONDS if moment.microsecond < _MILLISECOND else _TO_MILLISECONDS]}Z"


def to_audio(audio: AudioFormat) -> AudioInfo:
    """As the documents tell it."""
    return AudioInfo(
        codec=audio.codec,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        bits_per_sample=audio.bits_per_sample,
        duration_seconds=audio.duration_seconds,
    )


def to_result(recording: Recording, outcome: Outcome) -> Result:
    """A row of the document."""
    archived = outcome.archived
    proof = archived.proof if archived else None
    return Result(
        account_id=recording.account_id,
        project_id=recording.project_id,
        conversation_id=recording.conversation_id,
        started_at=timestamp(recording.started_at) if recording.started_at else None,
        direction=recording.direction,
        redaction=recording.redaction,
        status=outcome.status,
        path=archived.own_path if archived else None,
        bytes=archived.size if archived else None,
        sha256=archived.sha256 if archived else None,
        audio=to_audio(archived.audio) if archived else None,
        redaction_evidence=proof.evidence if proof else None,
        muted_spans=list(proof.muted_spans) if proof and proof.is_comparison else None,
        attempts=outcome.attempts,
        fetched_at=timestamp(archived.fetched_at) if archived and archived.fetched_at else None,
        correlation_id=archived.correlation_id if archived else _correlation_of(outcome.error),
        error=error_detail(outcome.error) if outcome.error else None,
        drift=_drift_info(outcome) if outcome.drift else msgspec.UNSET,
        carried_over=True if outcome.carried_over else msgspec.UNSET,
    )


def _drift_info(outcome: Outcome) -> DriftInfo | msgspec.UnsetType:
    if outcome.drift is None or outcome.archived is None:
        return msgspec.UNSET
    return DriftInfo(
        version=outcome.archived.version,
        previous_path=split_mount(outcome.drift.path)[1] if outcome.drift.path else None,
        previous_sha256=outcome.drift.sha256,
    )


def _correlation_of(error: ErrorInfo | None) -> str | None:
    return error.correlation_id if error else None


def error_detail(error: ErrorInfo) -> ErrorDetail:
    """As the documents tell it."""
    return ErrorDetail(
        kind=error.kind,
        http_status=error.http_status,
        code=error.code,
        message=error.message,
        correlation_id=error.correlation_id,
    )


async def render(
    run: RunInfo, summary: Summary, pages: AsyncIterator[list[Result]]
) -> AsyncIterator[bytes]:
    """The whole document in pieces: a readable head, then one line a recording."""
    head = {"schema_version": SCHEMA_VERSION, "run": run, "summary": summary}
    text = msgspec.json.format(msgspec.json.encode(_encodable(msgspec.to_builtins(head))), indent=1)
    yield text.removesuffix(b"\n}") + b',\n "results": ['
    separator = b"\n  "
    encode = msgspec.json.Encoder().encode
    async for page in pages:
        lines = [encode(result) for result in page]
        if lines:
            yield separator + b",\n  ".join(lines)
            separator = b",\n  "
    yield b"\n ]\n}\n"


def _encodable(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """The same, where names of files that are not UTF-8 have `?` for their strange bytes."""
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {key: _encodable(item) for key, item in value.items()}
        case list():
            return [_encodable(item) for item in value]
        case _:
            return value


def encode_run(run: RunInfo) -> str:
    """What the results say of a run itself, as JSON text."""
    return msgspec.json.encode(_encodable(msgspec.to_builtins(run))).decode()


def results_schema() -> dict[str, Any]:
    """JSON Schema of the results document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "exporter results",
        **msgspec.json.schema(Results),
    }
