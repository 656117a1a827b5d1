"""Plans a run: every recording of the manifest, with what is to be done about it.

For `exporter run` the plan goes into the archive's ledger; for `exporter plan` into a temporary
one, and the archive is only looked at.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from exporter.archive import read_ledger
from exporter.errors import ErrorKind
from exporter.ledger import Ledger, LedgerThread
from exporter.model import ErrorInfo, Order, Outcome, Redaction, Status
from exporter.partitions import Partitions
from exporter.plan import Choice, Decision, decide, recordings
from exporter.presence import on_disk, states
from exporter.raw_archive import find_archives
from exporter.sinks.mounted import shown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from exporter.layout import Layout
    from exporter.ledger import Looked, Totals
    from exporter.model import Recording
    from exporter.settings import Settings
    from exporter.sinks.base import Sink
    from exporter.spool import Spool

_BATCH = 1000  # conversations planned in one transaction
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
    """What a run would do. `requested` = `new` + `archived` + `refused`.

    `carried_over` of the requested ones are pending since earlier runs; no entry names them.
    """

    conversations: int
    requested: int
    new: int
    archived: int
    refused: int
    carried_over: int
    duplicates: int
    partitions: list[PartitionPreview]


def choice_of(settings: Settings) -> Choice:
    """What is exported where the manifest does not say."""
    return Choice(settings.export.directions, settings.export.redaction)


@dataclass(frozen=True, slots=True)
class CarryOver:
    """Which recordings that earlier runs left pending are asked for again.

    Attributes:
        source: the ledger that knows them.
        projects: only of these (account, project); None: of all.
        origin: only those last asked for at this address of the API.
        never_raw: of which (account, project) no raw ones.
        fresh: a call found in progress after this moment is believed to be so still.
    """

    source: Ledger
    projects: frozenset[tuple[str, str]] | None
    origin: str
    never_raw: Callable[[str, str], bool]
    fresh: datetime

    async def pages(self, thread: LedgerThread) -> AsyncIterator[list[Recording]]:
        """They, a page at a time."""
        after = None
        while True:
            after, found = await thread.run(
                self.source.pending, after, _PAGE, origin=self.origin, fresh=self.fresh
            )
            if after is None:
                return
            yield [one for one in found if self._is_asked_for(one)]

    def _is_asked_for(self, one: Recording) -> bool:
        if one.redaction is Redaction.RAW and self.never_raw(one.account_id, one.project_id):
            return False
        return self.projects is None or (one.account_id, one.project_id) in self.projects


def carry_over(
    source: Ledger,
    settings: Settings,
    projects: Iterable[tuple[str, str]] | None = None,
    *,
    now: datetime,
) -> CarryOver:
    """What the settings allow to be asked for again.

    Args:
        source: the ledger that knows what is pending.
        settings: of the run.
        projects: those that there are keys for; None: all.
        now: what time it is.
    """
    export = settings.export
    return CarryOver(
        source,
        None if projects is None else frozenset(projects),
        settings.api.origin,
        never_raw=lambda *project: settings.policy_of(*project).never_raw,
        fresh=now - export.pending_grace,
    )


async def plan_into(
    ledger: Ledger,
    thread: LedgerThread,
    sink: Sink,
    spool: Spool,
    *,
    settings: Settings,
    layout: Layout,
    partitions: Partitions,
    carried: CarryOver | None = None,
    order: Order = Order.MANIFEST,
    archive: Ledger | None = None,
    stop: asyncio.Event | None = None,
    now: datetime | None = None,
    on_new: Callable[[], None] = lambda: None,
) -> Totals:
    """Enter every recording of the spool with what is to be done about it, then what was pending.

    Args:
        ledger: gets the plan; a run has begun in it.
        thread: of both ledgers.
        sink: tells which recorded files are still there.
        spool: the conversations.
        settings: what is exported where the manifest does not say, and what is looked at.
        layout: tells where recordings may lie.
        partitions: tell what the ledger does not know.
        carried: what is asked for again; None: nothing.
        order: of fetching.
        archive: the ledger that knows what is archived, if that is another one.
        stop: once set, nothing more is hashed, and what is left of the spool is not entered.
        now: what is missing is noted with this time; None: it is now.
        on_new: called whenever some are found that are to be fetched.
    """
    planning = _Planning(ledger, thread, sink, settings, layout, partitions, archive, stop, on_new)
    duplicates = 0
    choice = choice_of(settings)
    for window, conversations in spool.batches(_BATCH):
        wanted = [one for each in conversations for one in recordings(each, choice)]
        repeated = await planning.enter(wanted, window=window)
        if repeated is None:
            break
        duplicates += repeated
    if carried is not None:
        async for wanted in carried.pages(thread):
            if await planning.enter(wanted, carried_over=True) is None:
                break
    await thread.run(ledger.planning_ended, duplicates, now or datetime.now(UTC), order=order)
    return await thread.run(ledger.totals)


@dataclass(frozen=True, slots=True)
class _Planning:
    """Enters recordings with decisions; the attributes are those of `plan_into`."""

    ledger: Ledger
    thread: LedgerThread
    sink: Sink
    settings: Settings
    layout: Layout
    partitions: Partitions
    archive: Ledger | None
    stop: asyncio.Event | None
    on_new: Callable[[], None]

    async def enter(
        self, wanted: Sequence[Recording], *, window: int = 0, carried_over: bool = False
    ) -> int | None:
        """Decide about these; how many were named before, or None once it is to stop."""
        if self._is_to_stop():
            return None
        export = self.settings.export
        await _learn(self.partitions, wanted, self.layout)
        looked = await self.thread.run(self.ledger.look_up, wanted)
        if self.archive is not None:
            looked = await self.thread.run(self.archive.look_up_for, looked)
        else:
            await _let_go_of_lost_copies(
                self.ledger,
                self.thread,
                self.sink,
                looked,
                recheck=export.recheck,
                stop=self.stop,
            )
        found = await on_disk(self.sink, looked, recheck=export.recheck, stop=self.stop)
        if self._is_to_stop():
            return None  # perhaps not all of it was hashed
        decisions = [
            _decided(one, decide(one.archived, size, is_sound=is_sound, refresh=export.refresh))
            for one, (size, is_sound) in zip(looked, found, strict=True)
        ]
        if any(outcome is None for _, _, outcome in decisions):
            self.on_new()
        repeated = await self.thread.run(self.ledger.plan, decisions, carried_over=carried_over)
        if window:
            numbers = {one.conversation for one in looked}
            await self.thread.run(self.ledger.note_found, window, numbers)
        return repeated

    def _is_to_stop(self) -> bool:
        return self.stop is not None and self.stop.is_set()


async def _learn(partitions: Partitions, wanted: Sequence[Recording], layout: Layout) -> None:
    """Let the manifests of the partitions that these recordings may lie in be known."""
    # One recording stands for all of its partition or project: few of a million differ in that.
    dated: dict[tuple[str, str, str], Recording] = {}
    undated: dict[tuple[str, str], Recording] = {}
    for one in wanted:
        if one.started_at is None:
            undated[one.account_id, one.project_id] = one
        else:
            dated[one.account_id, one.project_id, layout.date(one.started_at)] = one
    await partitions.learn(folder for one in dated.values() for folder in layout.partitions(one))
    for one in undated.values():
        for project in layout.projects(one):
            await partitions.learn_project(project)


async def _let_go_of_lost_copies(
    ledger: Ledger,
    thread: LedgerThread,
    sink: Sink,
    looked: Sequence[Looked],
    *,
    recheck: bool,
    stop: asyncio.Event | None,
) -> None:
    """What lies in a second partition too, and is not there as recorded, goes off the record.

    The recording itself is looked after as any other; to fetch it once more for a second place
    would be a request for nothing.
    """
    copies = await thread.run(ledger.also_held, [one.conversation for one in looked])
    found = await states(sink, copies, recheck=recheck, stop=stop)
    if not copies or (stop is not None and stop.is_set()):
        return
    lost, kept_aside = [], []
    for copy, (size, is_sound) in zip(copies, found, strict=True):
        if size == copy.size and is_sound:
            continue
        lost.append(copy.path)
        aside = None
        if size is not None:
            with contextlib.suppress(FileNotFoundError):
                aside = await sink.set_aside(copy.path)
                kept_aside.append(aside)
        _log.warning(
            "copy.set_aside" if aside else "copy.vanished",
            path=shown(sink, aside or copy.path),
            sha256=copy.sha256,
            consequence="it is recorded no more: the recording lies in another partition",
        )
    if kept_aside:
        await sink.make_durable(kept_aside)
    if lost:
        await thread.run(ledger.let_go, lost)


async def preview(spool: Spool, settings: Settings) -> Preview:
    """What a run would do; nothing is downloaded and nothing is written.

    Raises:
        DestinationError: the archive's ledger cannot be read.
    """
    opened = await find_archives(settings, "preview")
    sink, layout = opened.sink, opened.layout
    async with LedgerThread() as thread:
        output = settings.output
        archive = await thread.run(read_ledger, output.url, output.state_dir, settings.object_store)
        ledger = await thread.run(Ledger, None)
        await thread.run(ledger.begin_run, "preview", datetime.now(UTC))
        totals = await plan_into(
            ledger,
            thread,
            sink,
            spool,
            settings=settings,
            layout=layout,
            partitions=Partitions(sink, ledger, thread, archive=archive),
            carried=carry_over(archive, settings, now=datetime.now(UTC)) if archive else None,
            archive=archive,
        )
        counts = await _by_partition(ledger, thread, layout)
        for each in filter(None, (archive, ledger)):
            await thread.run(each.close)
    return Preview(
        conversations=totals.conversations,
        requested=sum(totals.by_status.values()),
        new=totals.planned,
        archived=totals.by_status[Status.SKIPPED],
        refused=totals.by_status[Status.FAILED],
        carried_over=totals.carried_over,
        duplicates=totals.duplicates,
        partitions=[
            PartitionPreview(*key, new=each[Status.CANCELLED], archived=each[Status.SKIPPED])
            for key, each in sorted(counts.items())
        ],
    )


async def _by_partition(
    ledger: Ledger, thread: LedgerThread, layout: Layout
) -> dict[tuple[str, str, str], Counter[Status]]:
    """How many recordings have which status, by account, project and date."""
    counts: dict[tuple[str, str, str], Counter[Status]] = {}
    pages = await thread.run(ledger.statuses)
    while page := await thread.run(next, pages, None):
        for (account_id, project_id, started_at, status), count in Counter(page).items():
            key = account_id, project_id, layout.date(started_at)
            counts.setdefault(key, Counter())[status] += count
    return counts


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
    if decision in {Decision.VANISHED, Decision.CHANGED} and looked.archived:
        _log.warning(
            f"recording.{decision}",
            recording=str(looked.recording),
            path=looked.archived.own_path,
        )
    return looked, decision, None
