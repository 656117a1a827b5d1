"""Plans a run: every recording of the manifest, with what is to be done about it.

For `exporter run` the plan goes into the archive's ledger; for `exporter plan` into a temporary
one, and the archive is only looked at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from exporter.archive import layout_of, open_sink, read_ledger
from exporter.errors import ErrorKind
from exporter.ledger import Ledger, LedgerThread
from exporter.model import ErrorInfo, Outcome, Status
from exporter.plan import Choice, Decision, decide, recordings

if TYPE_CHECKING:
    import asyncio

    from exporter.ledger import Looked, Totals
    from exporter.settings import Settings
    from exporter.sinks.base import Sink
    from exporter.spool import Spool

_BATCH = 500  # conversations planned in one transaction
_PAGE = 1000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PartitionPreview:
    """What a run would do in one partition."""

    account_id: str
    project_id: str
    date: str
    new: int
    archived: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do. `requested` = `new` + `archived` + `refused`."""

    conversations: int
    requested: int
    new: int
    archived: int
    refused: int
    duplicates: int
    partitions: list[PartitionPreview]


def choice_of(settings: Settings) -> Choice:
    """What is exported where the manifest does not say."""
    return Choice(settings.export.directions, settings.export.redaction)


async def plan_into(
    ledger: Ledger,
    thread: LedgerThread,
    sink: Sink,
    spool: Spool,
    *,
    choice: Choice,
    archive: Ledger | None = None,
    stop: asyncio.Event | None = None,
) -> Totals:
    """Enter every recording of the spool with what is to be done about it.

    Args:
        ledger: gets the plan; a run has begun in it.
        thread: of both ledgers.
        sink: tells which recorded files are still there.
        spool: the conversations.
        choice: what is exported where the manifest does not say.
        archive: the ledger that knows what is archived, if that is another one.
        stop: once set, what is left of the spool is not entered any more.
    """
    duplicates = 0
    for conversations in spool.batches(_BATCH):
        if stop is not None and stop.is_set():
            break
        wanted = [one for each in conversations for one in recordings(each, choice)]
        looked = await thread.run(ledger.look_up, wanted)
        if archive is not None:
            looked = await thread.run(archive.look_up_for, looked)
        sizes = iter(await sink.sizes([one.archived.path for one in looked if one.archived]))
        decisions = [
            _decided(one, decide(one.archived, next(sizes) if one.archived else None))
            for one in looked
        ]
        duplicates += await thread.run(ledger.plan, decisions)
    await thread.run(ledger.planning_ended, duplicates)
    return await thread.run(ledger.totals)


async def preview(spool: Spool, settings: Settings) -> Preview:
    """What a run would do; nothing is downloaded and nothing is written.

    Raises:
        DestinationError: the archive's ledger cannot be read.
    """
    layout = layout_of(settings)
    async with LedgerThread() as thread:
        archive = await thread.run(read_ledger, settings)
        ledger = await thread.run(Ledger, None)
        await thread.run(ledger.begin_run, "preview", datetime.now(UTC))
        sink = open_sink(settings, "preview")
        totals = await plan_into(
            ledger, thread, sink, spool, choice=choice_of(settings), archive=archive
        )
        counts: dict[tuple[str, str, str], Counter[Status]] = {}
        last = 0
        while page := await thread.run(ledger.results, last, _PAGE):
            for last, recording, outcome in page:  # noqa: B007 (the last one is used)
                date = layout.date(recording.started_at)
                key = recording.account_id, recording.project_id, date
                counts.setdefault(key, Counter())[outcome.status] += 1
        for each in filter(None, (archive, ledger)):
            await thread.run(each.close)
    return Preview(
        conversations=totals.conversations,
        requested=sum(totals.by_status.values()),
        new=totals.planned,
        archived=totals.by_status[Status.SKIPPED],
        refused=totals.by_status[Status.FAILED],
        duplicates=totals.duplicates,
        partitions=[
            PartitionPreview(*key, new=each[Status.CANCELLED], archived=each[Status.SKIPPED])
            for key, each in sorted(counts.items())
        ],
    )


def _decided(looked: Looked, decision: Decision) -> tuple[Looked, str, Outcome | None]:
    if looked.collides:
        recording = looked.recording
        error = ErrorInfo(
            ErrorKind.IDENTIFIER_COLLISION,
            f"{recording.conversation_id} differs from another conversation of this archive by"
            " upper and lower case only, which many file systems and stores cannot tell apart",
        )
        return looked, decision, Outcome(Status.FAILED, error=error)
    if decision is Decision.ARCHIVED:
        return looked, decision, Outcome(Status.SKIPPED, looked.archived)
    if decision is not Decision.NEW and looked.archived:
        _log.warning(
            f"recording.{decision}", recording=str(looked.recording), path=looked.archived.path
        )
    return looked, decision, None
