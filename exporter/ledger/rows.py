"""Rows of the ledger to values of the domain, and back."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from exporter.errors import ErrorKind
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    Drift,
    ErrorInfo,
    Outcome,
    Proof,
    Recording,
    Redaction,
    RedactionEvidence,
    Status,
    utc_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Looked(Struct, frozen=True, gc=False):
    """A recording as the ledger knows it before a run decides what to do with it.

    Attributes:
        conversation: the ledger's own number for the conversation.
        archived: what it holds of this variant, None when nothing.
        collides: the conversation differs from an earlier one by case only.
    """

    recording: Recording
    conversation: int
    archived: Archived | None
    collides: bool


class Planned(Struct, frozen=True, gc=False):
    """A recording that a run has yet to fetch.

    Attributes:
        turn: its place in the order of fetching.
        seq: the ledger's number for it, in the manifest's order.
        decision: as `plan` decided (`new`, `vanished`, `changed`, `refresh`).
        archived: what is on record; None for `new`.
    """

    turn: int
    seq: int
    recording: Recording
    decision: str
    archived: Archived | None


class Partition(Struct, frozen=True):
    """Account, project and date inside the archive.

    Attributes:
        date: `YYYY-MM-DD`, or `undated`.
        folder: relative to the archive.
    """

    account_id: str
    project_id: str
    date: str
    folder: str


class LeftRun(Struct, frozen=True):
    """A run whose results are not in the archive yet.

    Attributes:
        run_id: its id.
        info: what its results say of the run itself, as it was entered (JSON).
        started_at: when it began.
        seen_at: the last thing that it recorded.
        status: how it ended; None for a run that was killed.
        exit_code: likewise.
        finished_at: likewise.
    """

    run_id: str
    info: str
    started_at: datetime
    seen_at: datetime
    status: str | None
    exit_code: int | None
    finished_at: datetime | None


class Totals(Struct, frozen=True):
    """A run in numbers.

    Attributes:
        conversations: distinct conversations asked for.
        duplicates: recordings named again, and dropped.
        by_status: recordings by status; their sum is what was asked for.
        size: bytes fetched in this run.
        audio_seconds: of what was fetched.
        requests: sent for recordings.
        retries: of those, all but the first of each recording.
        errors: outcomes by the API's error code, or by kind where it gave none; each that is not
            archived counts once.
        carried_over: of all that was asked for, what earlier runs had left pending.
        planned: still without an outcome.
    """

    conversations: int
    duplicates: int
    by_status: dict[Status, int]
    size: int
    audio_seconds: float
    requests: int
    retries: int
    errors: dict[str, int]
    carried_over: int
    planned: int


JOINS: Final = (
    "JOIN conversations c ON c.id = o.conversation JOIN projects p ON p.id = c.project"
    " LEFT JOIN recordings r ON r.conversation = o.conversation AND r.variant = o.variant"
    " AND r.version = o.version"
)
COUNTERPART: Final = (  # raw of redacted, and the other way round
    "iif(o.variant LIKE '%.raw', replace(o.variant, '.raw', '.redacted'),"
    " replace(o.variant, '.redacted', '.raw'))"
)
RECORDING_COLUMNS: Final = "p.account_id, p.project_id, c.conversation_id, o.variant, c.started_at"
ARCHIVED_COLUMNS: Final = (
    "r.version, r.path, r.bytes, r.sha256, r.codec, r.sample_rate, r.channels, r.bits_per_sample,"
    " r.duration_seconds, r.fetched_at, r.correlation_id"
)
HELD_COLUMNS: Final = (
    f"p.account_id, p.project_id, c.conversation_id, r.variant, c.started_at, {ARCHIVED_COLUMNS}"
)
_RECORDING_WIDTH: Final = 5
_HELD_WIDTH: Final = _RECORDING_WIDTH + 11


# There are six, and a million recordings ask.
_VARIANT_NAMES: Final = {
    (direction, redaction): f"{direction}.{redaction}"
    for direction in Direction
    for redaction in Redaction
}
_VARIANTS: Final = {name: variant for variant, name in _VARIANT_NAMES.items()}
_STATUSES: Final = {str(status): status for status in Status}
_HELD: Final = (Status.EXPORTED, Status.SKIPPED)


def variant_name(recording: Recording) -> str:
    """Direction and redaction in one word, such as `combined.redacted`."""
    return _VARIANT_NAMES[recording.direction, recording.redaction]


def timestamp(moment: datetime) -> str:
    """UTC, ISO 8601, with an offset of zero: texts are compared with each other."""
    return f"{utc_text(moment)[:-1]}+00:00"


def to_moment(text: str | None) -> datetime | None:
    """Back from `timestamp`."""
    return datetime.fromisoformat(text) if text else None


def to_recording(row: Sequence[Any]) -> Recording:
    """From `RECORDING_COLUMNS`, and whether the call was in progress, where that is known."""
    account_id, project_id, conversation_id, variant, started_at, *in_progress = row
    direction, redaction = _VARIANTS[variant]
    return Recording(
        account_id,
        project_id,
        conversation_id,
        direction,
        redaction,
        to_moment(started_at),
        bool(in_progress and in_progress[0]),
    )


def to_archived(row: Sequence[Any], proof: Proof | None = None) -> Archived:
    """From `ARCHIVED_COLUMNS`, with what it is known to show."""
    version, path, size, sha256, *audio, fetched_at, correlation_id = row
    return Archived(
        path,
        size,
        sha256.hex(),
        AudioFormat(*audio),
        to_moment(fetched_at),
        correlation_id,
        version,
        proof,
    )


def split_held(row: Sequence[Any]) -> tuple[Recording, Archived]:
    """From `HELD_COLUMNS`."""
    return to_recording(row[:_RECORDING_WIDTH]), to_archived(row[_RECORDING_WIDTH:])


def split_also_held(row: Sequence[Any]) -> tuple[Recording, Archived]:
    """From `HELD_COLUMNS`, and the evidence of what is also held, which may be None."""
    recording, archived = split_held(row[:_HELD_WIDTH])
    evidence, spans = row[_HELD_WIDTH:]
    if evidence is None:
        return recording, archived
    return recording, replace(archived, proof=to_proof(evidence, spans))


def to_proof(evidence: str, spans: str) -> Proof:
    """From the columns of `pairs`."""
    return Proof(
        RedactionEvidence(evidence), tuple((start, end) for start, end in json.loads(spans))
    )


ARCHIVED_WIDTH: Final = 10


def from_archived(archived: Archived) -> tuple[object, ...]:
    """As the columns of `recordings`, the key and the partition apart."""
    audio = archived.audio
    return (
        archived.path,
        archived.size,
        bytes.fromhex(archived.sha256),
        audio.codec,
        audio.sample_rate,
        audio.channels,
        audio.bits_per_sample,
        audio.duration_seconds,
        timestamp(archived.fetched_at) if archived.fetched_at else None,
        archived.correlation_id,
    )


OUTCOME_COLUMNS: Final = (
    "status, version, attempts, error_kind, error_message, http_status, error_code,"
    " correlation_id, drift_sha256, drift_path"
)
OUTCOME_WIDTH: Final = 10
_NOTHING_AMISS: Final = (None,) * 7
NOT_REACHED: Final = "the run ended before this recording's turn"


def from_outcome(outcome: Outcome | None) -> tuple[object, ...]:
    """As `OUTCOME_COLUMNS`."""
    if outcome is None:
        return (None, None, 0, *_NOTHING_AMISS)
    error, drift = outcome.error, outcome.drift
    version = outcome.archived.version if outcome.archived else None
    if error is None and drift is None:  # as nearly all
        return (outcome.status, version, outcome.attempts, *_NOTHING_AMISS)
    return (
        outcome.status,
        version,
        outcome.attempts,
        error.kind if error else None,
        error.message if error else None,
        error.http_status if error else None,
        error.code if error else None,
        error.correlation_id if error else None,
        bytes.fromhex(drift.sha256) if drift else None,
        drift.path if drift else None,
    )


def to_outcome(
    row: Sequence[Any],
    archived: Sequence[Any],
    *,
    carried_over: bool = False,
    proof: Proof | None = None,
) -> Outcome:
    """From `OUTCOME_COLUMNS`, and the archived columns of the same recording.

    Args:
        row: the outcome.
        archived: the recording, if it is archived.
        carried_over: it was left by an earlier run.
        proof: what the recording is known to show.
    """
    name, _, attempts, kind, message, http_status, code, correlation_id, *drift = row
    status = _STATUSES.get(name, Status.CANCELLED)
    if status is Status.CANCELLED and kind is None:  # no worker had it
        kind, message = ErrorKind.CANCELLED, NOT_REACHED
    held = status in _HELD and archived[0] is not None
    return Outcome(
        status,
        to_archived(archived, proof) if held else None,
        ErrorInfo(ErrorKind(kind), message, http_status, code, correlation_id) if kind else None,
        attempts,
        Drift(drift[0].hex(), drift[1]) if drift[0] else None,
        carried_over,
    )
