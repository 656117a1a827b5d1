"""The state of an archive as documents: what it lacks, since when, and how its runs ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from exporter.errors import ErrorKind
from exporter.layout import RESERVED
from exporter.ledger import KEPT
from exporter.model import Direction, Redaction, Status
from exporter.results import Count, ErrorDetail, RunStatus, Time, error_detail, timestamp

if TYPE_CHECKING:
    from exporter.ledger import Ledger, Missing, MissingGroup, PastRun
    from exporter.sinks.base import Holder as SinkHolder

_RUNS: Final = 10


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The run that holds the archive now."""

    run_id: str
    host: str
    pid: int
    since: Time


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Missing recordings of one project, status and kind of error.

    `since` is when the first of them was first asked for in vain, `oldest_started_at` when the
    oldest call of them began, as far as known.
    """

    account_id: str
    project_id: str
    status: Status
    kind: ErrorKind | None
    count: Count
    since: Time
    oldest_started_at: Time | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run; `status` and what follows are null while it is under way, and if it was killed."""

    run_id: str
    started_at: Time
    finished_at: Time | None
    status: RunStatus | None
    exit_code: int | None
    results: str | None


class Undescribed(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptions of archived conversations that are not archived themselves.

    `waiting` are asked for again by every later run with `export.metadata`; `failed` have been
    asked for so often that only a manifest that names them asks again; `not_found` do not exist.
    `since` is when the first of them was first asked for in vain.
    """

    waiting: Count
    failed: Count
    not_found: Count
    since: Time | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What `status` says, but for the recordings themselves.

    `not_reached` are recordings that the latest run was asked for and did not come to, because it
    ended early; or, while it goes on, those that it has still to do. None of them counts elsewhere.
    """

    schema_version: int = 1
    archive: str
    held_by: Holder | None
    archived: Count
    pending: Count
    failed: Count
    not_found: Count
    gone: Count
    not_reached: Count
    undescribed: Undescribed
    oldest: Time | None
    groups: list[Group]
    runs: list[Run]


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that is missing."""

    account_id: str
    project_id: str
    conversation_id: str
    started_at: Time | None
    direction: Direction
    redaction: Redaction
    status: Status
    since: Time
    asked_at: Time
    runs: Annotated[int, msgspec.Meta(ge=1)]
    error: ErrorDetail | None


def standing_of(archive: str, holder: SinkHolder | None, ledger: Ledger) -> Standing:
    """What is to be told of an archive."""
    groups = ledger.missing_groups()
    waiting, failed, not_found, since = ledger.undescribed()
    counts = {str(each): sum(g.count for g in groups if g.status is each) for each in KEPT}
    return Standing(
        archive=archive,
        held_by=_holder(holder) if holder else None,
        archived=ledger.recordings(),
        **counts,
        not_reached=ledger.not_reached(),
        undescribed=Undescribed(
            waiting=waiting,
            failed=failed,
            not_found=not_found,
            since=timestamp(since) if since else None,
        ),
        oldest=timestamp(min(group.since for group in groups)) if groups else None,
        groups=[_group(each) for each in groups],
        runs=[_run(each) for each in ledger.latest_runs(_RUNS)],
    )


def _holder(holder: SinkHolder) -> Holder:
    return Holder(
        run_id=holder.run_id, host=holder.host, pid=holder.pid, since=timestamp(holder.since)
    )


def _group(group: MissingGroup) -> Group:
    oldest = group.oldest_started_at
    return Group(
        account_id=group.account_id,
        project_id=group.project_id,
        status=group.status,
        kind=ErrorKind(group.kind) if group.kind else None,
        count=group.count,
        since=timestamp(group.since),
        oldest_started_at=timestamp(oldest) if oldest else None,
    )


def _run(run: PastRun) -> Run:
    return Run(
        run_id=run.run_id,
        started_at=timestamp(run.started_at),
        finished_at=timestamp(run.finished_at) if run.finished_at else None,
        status=RunStatus(run.status) if run.status else None,
        exit_code=run.exit_code,
        results=f"{RESERVED}/runs/{run.run_id}/results.json" if run.status else None,
    )


def lacking_of(one: Missing) -> Lacking:
    """One missing recording, as it is told."""
    recording = one.recording
    return Lacking(
        account_id=recording.account_id,
        project_id=recording.project_id,
        conversation_id=recording.conversation_id,
        started_at=timestamp(recording.started_at) if recording.started_at else None,
        direction=recording.direction,
        redaction=recording.redaction,
        status=one.status,
        since=timestamp(one.since),
        asked_at=timestamp(one.asked_at),
        runs=one.runs,
        error=error_detail(one.error) if one.error else None,
    )
