"""Where a recording is to be written, and what that means for what is archived of it already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from exporter.layout import Layout, versioned
from exporter.model import Archived, Drift, Outcome, Status, split_mount
from exporter.plan import Decision

if TYPE_CHECKING:
    from exporter.ledger import Ledger, LedgerThread, Planned
    from exporter.model import Recording
    from exporter.sinks.base import Sink

_log = structlog.get_logger()


class Target(Struct, frozen=True):
    """Where to write a recording.

    Attributes:
        path: relative to the archive.
        version: that it is going to be.
        known: versions by digest: content that is archived already and is not written again.
    """

    path: str
    version: int = 1
    known: Mapping[str, Archived] = field(default_factory=dict)


async def target_of(
    planned: Planned, layout: Layout, sink: Sink, ledger: Ledger, thread: LedgerThread
) -> Target:
    """Where to write; a file that somebody changed is moved out of the way.

    Raises:
        DestinationError: the archive cannot be written.
    """
    recording, archived = planned.recording, planned.archived
    if archived is None:
        return Target(layout.path(recording))
    if planned.decision == Decision.REFRESH:
        versions = await thread.run(ledger.versions, recording)
        version = versions[-1].version + 1
        first = layout.beside(versions[0].path, recording)
        return Target(versioned(first, version), version, {one.sha256: one for one in versions})
    if planned.decision == Decision.CHANGED:
        await _set_aside(archived.path, recording, sink)
    # What was archived before raw recordings got an archive of their own is replaced there.
    return Target(layout.beside(archived.path, recording), archived.version)


async def _set_aside(path: str, recording: Recording, sink: Sink) -> None:
    try:
        aside = await sink.set_aside(path)
    except FileNotFoundError:  # somebody removed it since the run was planned
        _log.warning("recording.vanished", recording=str(recording), path=split_mount(path)[1])
    else:
        _log.warning("recording.set_aside", recording=str(recording), path=split_mount(aside)[1])


def with_drift(planned: Planned, outcome: Outcome) -> Outcome:
    """The outcome, saying so where the content differs from what was archived before."""
    before, now = planned.archived, outcome.archived
    if before is None or now is None or outcome.status is not Status.EXPORTED:
        return outcome
    if before.sha256 == now.sha256:
        return outcome
    kept = before.path if planned.decision == Decision.REFRESH else None
    _log.warning(
        "recording.drifted",
        recording=str(planned.recording),
        path=now.own_path,
        version=now.version,
        previous_path=split_mount(kept)[1] if kept else None,
        previous_sha256=before.sha256,
    )
    return replace(outcome, drift=Drift(before.sha256, kept))
