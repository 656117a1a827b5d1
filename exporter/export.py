"""The main job. Recordings flow one way: load, plan, fetch, write, record, report.

Everything named in the manifest is planned into the ledger before anything is fetched. So a
manifest that is wrong in its last line does nothing, the progress bar knows the end, and the
numbers of a run add up whenever and however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from exporter.api import Api
from exporter.archive import check_free, open_ledger
from exporter.dating import Dating
from exporter.describing import Describing
from exporter.ending import Ending
from exporter.errors import DestinationError, ExporterError
from exporter.fetch import Fetcher
from exporter.job import NullWatcher, new_run_id
from exporter.ledger import Ledger, LedgerThread
from exporter.model import Order, Status
from exporter.opening import the_courier, the_hold
from exporter.pairing import Pairing
from exporter.partitions import Partitions
from exporter.planning import carry_over, plan_into
from exporter.pool import first_error, run_paged_pool
from exporter.raw_archive import find_archives
from exporter.recorder import Recorder
from exporter.recovery import if_killed, recover
from exporter.reporting import prepare_beside
from exporter.results import encode_run
from exporter.spool import Spool
from exporter.stopping import Stop, StopReason, too_many_failures
from exporter.survey import Survey
from exporter.target import target_of, with_drift

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from exporter.couriers.courier import Brings
    from exporter.job import Job, Report, Watcher
    from exporter.ledger import Planned
    from exporter.raw_archive import Archives
    from exporter.results import RunInfo

_FEED_PAGE = 500  # recordings read ahead of the workers
_MANIFESTS_EVERY = 300  # seconds between two updates of the partitions' manifests in a long run
_GRACE_SECONDS = 20  # for what is under way when a signal comes; service managers wait 30 to 90

_log = structlog.get_logger()


async def export(job: Job, stop: Stop, watcher: Watcher | None = None) -> Report:
    """Do the job; whatever happens on the way is in the report.

    Raises:
        DestinationError: the archive cannot even be opened.
        ArchiveBusyError: another run holds it.
        ConfigError: the config cannot be carried out.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(
            stop.in_time(deadline=job.settings.limits.deadline, grace=_GRACE_SECONDS)
        )
        run = await _Run.open(job, stop, watcher or NullWatcher(), stack)
        _log.info("run.started", run=run.id, manifest=job.manifest_path)
        try:
            await run.look(stack)
            await run.plan()
            await run.fetch()
            await run.compare()
            await run.describe()
        except ExporterError as error:
            run.stop_for(error)
        return await run.report()


class _Run:
    """The parts of one run, wired."""

    def __init__(self, job: Job, stop: Stop, watcher: Watcher, archives: Archives) -> None:
        settings = archives.settings
        self.job = replace(job, settings=settings)
        self.stop = stop
        self.watcher = watcher
        self.sink = archives.sink
        self.layout = archives.layout
        self.started_at = job.now()
        self.clock_start = time.monotonic()
        self.spool = job.spool
        self.api = Api(
            settings,
            job.credentials,
            projects=job.projects,
            stop=stop,
            give_up=self.stop_for,
            clean=job.clean,
        )
        self.projects = list(job.projects)
        self.failures = 0
        self.is_planned = False  # the whole manifest, to its last line
        self.id = ""
        self.thread: LedgerThread
        self.ledger: Ledger
        self.survey: Survey
        self.courier: Brings
        self.fetcher: Fetcher
        self.partitions: Partitions
        self.pairing: Pairing
        self.describing: Describing | None = None

    def stop_for(self, error: ExporterError) -> None:
        """End the run because of an error that no recording can be blamed for."""
        self.stop.request(StopReason.of(error))

    @classmethod
    async def open(
        cls, job: Job, stop: Stop, watcher: Watcher, stack: contextlib.AsyncExitStack
    ) -> _Run:
        """Open the archive, the ledger and the client."""
        run_id = new_run_id()
        archives = await find_archives(job.settings, run_id, prepare=True)
        settings, sink = archives.settings, archives.sink
        run = cls(job, stop, watcher, archives)
        run.id = run_id
        if job.results_file is not None:
            await prepare_beside(job.results_file, run_id, settings.output)
        hold = await stack.enter_async_context(the_hold(run.job, sink, run_id, stop, run.stop_for))
        run.thread = await stack.enter_async_context(LedgerThread())
        run.ledger = await run.thread.run(open_ledger, settings)
        stack.push_async_callback(run.thread.run, run.ledger.close)
        await check_free(sink, settings)
        await archives.remember()
        await recover(
            sink,
            run.ledger,
            run.thread,
            mounts=archives.layout.mounts,
            taken_over_from=hold.taken_over_from,
        )
        info, origin = encode_run(run._info()), settings.api.origin
        await run.thread.run(run.ledger.begin_run, run_id, run.started_at, info, origin=origin)
        pending = await run.thread.run(run.ledger.pending_projects, origin)
        for project in filter(job.credentials.covers, pending):
            run.api.asker.expect(project, job.credentials.of(*project).name)
            run.projects.append(project)
        run.partitions = Partitions(sink, run.ledger, run.thread)
        run.pairing = Pairing(
            sink,
            run.ledger,
            run.thread,
            credential_of=run._credential_name,
            stop=stop.event,
        )
        await stack.enter_async_context(run.api)
        run.survey = Survey(run.api, run.ledger, run.thread)
        run.courier = await stack.enter_async_context(
            the_courier(settings, sink, run_id, hold, run.api.client)
        )
        run.fetcher = Fetcher(
            asker=run.api.asker,
            courier=run.courier,
            pending_grace=settings.export.pending_grace,
            now=job.now,
        )
        return run

    async def look(self, stack: contextlib.AsyncExitStack) -> None:
        """Find out what the manifest does not name: conversations, and when they began.

        Raises:
            DestinationError: the ledger cannot be read or written, or there is no room.
        """
        await self.stop.unless_hurried(self.survey.discover(self.job.windows, self.spool))
        if self.job.settings.export.lookup_started_at and self.spool.undated:
            dated = stack.enter_context(Spool())
            dating = Dating(
                make_asker=partial(self.api.new_asker, self.projects),
                listing=self.api.listing,
                ledger=self.ledger,
                thread=self.thread,
                concurrency=self.job.settings.limits.concurrency,
                stop=self.stop.event,
            )
            await self.stop.unless_hurried(dating.date(self.spool, dated))
            self.spool = dated

    async def plan(self) -> None:
        """Decide about every recording of the manifest, and enter the decisions."""
        totals = await plan_into(
            self.ledger,
            self.thread,
            self.sink,
            self.spool,
            settings=self.job.settings,
            layout=self.layout,
            partitions=self.partitions,
            carried=carry_over(self.ledger, self.job.settings, self.projects, now=self.job.now()),
            order=self._order(),
            stop=self.stop.hurry,
            now=self.job.now(),
            on_new=self.courier.begin,
        )
        _log.info(
            "run.planned",
            run=self.id,
            conversations=totals.conversations,
            new=totals.planned,
            archived=totals.by_status[Status.SKIPPED],
            duplicates=totals.duplicates,
            carried_over=totals.carried_over,
        )
        self.is_planned = not self.stop.hurry.is_set()
        self.watcher.planned(totals)
        if not self.stop.hurry.is_set():  # else not all that was found is entered
            export = self.job.settings.export
            await self.survey.compare(expired_before=export.deleted_before(self.job.now()))

    def _order(self) -> Order:
        """Of fetching: what the list finds may be about to be deleted."""
        usual = Order.OLDEST_FIRST if self.job.windows else Order.MANIFEST
        return self.job.settings.export.order or usual

    async def fetch(self) -> None:
        """Fetch what is planned, until it is done or the run is to stop.

        Raises:
            ExporterError: what ended it early, but for requests to stop.
        """
        places = self.sink, self.ledger, self.thread
        recorder = Recorder(*places, self.watcher.ended, self._committed, now=self.job.now)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run())
                pool = group.create_task(self._work(recorder))
                guard = group.create_task(self._roll_back(pool))
                keeper = group.create_task(self._keep_manifests())
                group.create_task(self._compare_beside())
                await asyncio.wait([pool])
                guard.cancel()
                keeper.cancel()
                self.pairing.close()
                recorder.close()
        except BaseExceptionGroup as failures:
            raise first_error(failures) from None

    async def compare(self) -> None:
        """Compare with their counterparts what there was no time for beside the downloads.

        Raises:
            DestinationError: the ledger cannot be read or written.
        """
        await self.pairing.run()

    async def _compare_beside(self) -> None:
        try:
            await self.pairing.beside()
        except ExporterError as error:
            # What was fetched until now is still to be recorded.
            self.stop_for(error)

    async def describe(self) -> None:
        """Put the conversations' descriptions beside their recordings, where they are wanted.

        Raises:
            DestinationError: the archive or the ledger cannot be written.
        """
        settings = self.job.settings
        if not settings.export.metadata:
            return
        origin = settings.api.origin
        left = await self.thread.run(self.ledger.undescribed_projects, origin)
        covered = filter(self.job.credentials.covers, left)
        projects = list(dict.fromkeys([*self.projects, *covered]))
        self.describing = Describing(
            make_asker=partial(self.api.new_asker, projects),
            listing=self.api.listing,
            sink=self.sink,
            ledger=self.ledger,
            thread=self.thread,
            pii=settings.export.metadata_pii,
            refresh=settings.export.refresh,
            projects=projects,
            origin=origin,
            concurrency=settings.limits.concurrency,
            stop=self.stop.event,
            now=self.job.now,
        )
        await self.stop.unless_hurried(self.describing.run())

    def _credential_name(self, account_id: str, project_id: str) -> str:
        return self.job.credentials.of(account_id, project_id).name

    async def _work(self, recorder: Recorder) -> None:
        async def handle(planned: Planned) -> None:
            recording = planned.recording
            target = await target_of(planned, self.layout, self.sink, self.ledger, self.thread)
            outcome = await self.fetcher.fetch(recording, target)
            self.fetcher.tell(recording, outcome)
            outcome = with_drift(planned, outcome)
            await recorder.put(planned.seq, outcome)
            if outcome.status is Status.FAILED:
                self._count_failure()

        limits = self.job.settings.limits
        try:
            await run_paged_pool(
                self._planned(),
                handle,
                # The throttle keeps to the concurrency of requests; others are committed meanwhile,
                # by each process in groups of its own.
                concurrency=limits.concurrency + limits.processes * self.sink.commits_at_once,
                stop=self.stop.event,
            )
            self.api.asker.check(at_the_end=True)
        except ExporterError as error:
            # What was fetched until now is still to be recorded, so the recorder is left alone.
            self.stop_for(error)

    async def _committed(self, archived: Sequence[int]) -> None:
        """Stop before the disk is full: what is under way still finds room."""
        self.pairing.offer(archived)
        try:
            await check_free(self.sink, self.job.settings)
        except DestinationError as error:
            self.stop_for(error)

    async def _keep_manifests(self) -> None:
        while True:
            await asyncio.sleep(_MANIFESTS_EVERY)
            try:
                await self.partitions.write()
            except ExporterError as error:
                # What is under way is still to be finished and recorded; then it is tried again.
                self.stop_for(error)
                return

    def _count_failure(self) -> None:
        self.failures += 1
        most = self.job.settings.limits.max_failures
        if most is not None and self.failures >= most:
            self.stop.request(too_many_failures(self.failures))

    async def _roll_back(self, pool: asyncio.Task[None]) -> None:
        """What is under way is not finished any more once the run is to hurry."""
        await self.stop.hurry.wait()
        pool.cancel()

    async def _planned(self) -> AsyncIterator[list[Planned]]:
        last = 0
        while page := await self.thread.run(self.ledger.planned, last, _FEED_PAGE):
            await self.courier.get_ready()
            yield page
            last = page[-1].turn

    def _info(self) -> RunInfo:
        return if_killed(self.job, self.id, self.started_at, self.sink.url)

    async def report(self) -> Report:
        """Close the run and tell how it ended."""
        ending = Ending(
            self.job,
            self.stop,
            self.sink,
            self.ledger,
            self.thread,
            self.partitions,
            self._credential_name,
            self.is_planned,
            self.describing,
        )
        return await ending.report(
            self._info(),
            elapsed_seconds=time.monotonic() - self.clock_start,
            traffic=self.api.throttle,
        )
