"""The end of a run: manifests brought up to date, findings judged, results written."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from exporter.certificate import stands
from exporter.errors import DestinationError, PolicyError
from exporter.job import Report
from exporter.model import PiiAccessState, Status
from exporter.policy import MEANING, REMEDY, UNKNOWN, raw_unproven
from exporter.reporting import Reporter, ended_at
from exporter.results import RunInfo, RunStatus, Summary, timestamp
from exporter.stopping import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.describing import Describing
    from exporter.job import Job
    from exporter.ledger import Ledger, LedgerThread, Totals
    from exporter.partitions import Partitions
    from exporter.pii_access import Finding
    from exporter.policy import Policy
    from exporter.results import MetadataCounts
    from exporter.sinks.base import Sink
    from exporter.stopping import Stop
    from exporter.throttle import Throttle

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """Ends one run, whatever came before.

    Attributes:
        job: what was to be done.
        stop: why it ended early, if it did.
        sink: the archive.
        ledger: what was done.
        thread: of the ledger.
        partitions: the archive's manifests.
        credential_of: name of the key of an (account, project).
        is_planned: the whole manifest was planned.
        describing: asked for descriptions; None: none were wanted.
    """

    job: Job
    stop: Stop
    sink: Sink
    ledger: Ledger
    thread: LedgerThread
    partitions: Partitions
    credential_of: Callable[[str, str], str]
    is_planned: bool
    describing: Describing | None = None

    async def report(self, info: RunInfo, *, elapsed_seconds: float, traffic: Throttle) -> Report:
        """Close the run, bring the manifests up to date and write the results.

        A destination that fails now, if not before, changes how the run ends; the results are
        told all the same, elsewhere if need be.

        Args:
            info: the run as it began.
            elapsed_seconds: since then.
            traffic: has counted the requests.
        """
        try:
            await self.partitions.write()
        except DestinationError as error:
            self.stop.request(StopReason.of(error))
        totals = await self.thread.run(self.ledger.totals)
        reporter = Reporter(self.sink, self.ledger, self.thread)
        findings = await reporter.findings(
            credential_of=self.credential_of,
            enough_identical=lambda *project: self._policy_of(*project).enough_identical,
        )
        asked = await self.thread.run(self.ledger.raw_projects)
        policy = self._check_policy(findings, asked)
        info = msgspec.structs.replace(info, discovered=await reporter.discovered())
        metadata = self.describing.finished() if self.describing else None
        reason = await self._reason(totals, metadata)
        run = self._ended(info, totals, policy, reason=reason, metadata=metadata)
        summary = await reporter.summary(
            findings=findings,
            elapsed_seconds=elapsed_seconds,
            # Counted where they leave: a recording cut off by the end of the run has no outcome.
            requests=traffic.requests,
            retries=traffic.retries,
            rate_limited=traffic.rate_limited,
            expiry=await self._expiry(),
            metadata=metadata,
        )
        try:
            await self.thread.run(self.ledger.cancel_rest)
            written: str | None = await reporter.write(run, summary)
        except DestinationError as error:
            self.stop.request(StopReason.of(error))
            reason = await self._reason(totals, metadata)
            run = self._ended(info, totals, policy, reason=reason, metadata=metadata)
            written = await self._write_in_trouble(reporter, run, summary)
        beside = await self._write_beside(reporter, run, summary)
        written = written or beside
        _log.info(
            "run.finished",
            run=run.id,
            status=run.status,
            exit_code=run.exit_code,
            results=written,
        )
        pii_access = {project: each for project, each in findings.items() if project in asked}
        export = self.job.settings.export
        return Report(
            run,
            summary,
            written,
            reason,
            pii_access,
            policy,
            export.retention,
            export.expiry_warning,
        )

    async def _reason(self, totals: Totals, metadata: MetadataCounts | None) -> StopReason | None:
        """Why the run ended early, if it did."""
        if self.stop.reason is None or not self.stop.reason.cuts_short:
            return self.stop.reason
        done = await self._is_everything_done(totals, metadata)
        return self.stop.verdict(everything_done=done)

    async def _is_everything_done(self, totals: Totals, metadata: MetadataCounts | None) -> bool:
        """Whether each recording and description has its outcome, and each pair was compared."""
        if not self.is_planned or totals.by_status[Status.CANCELLED]:
            return False
        if self.job.settings.export.metadata and (metadata is None or metadata.cancelled):
            return False
        try:
            left, _ = await self.thread.run(self.ledger.pairs_to_compare, 0, 1)
        except DestinationError:  # which is told as why the run ends as it does
            return False
        return left is None

    async def _write_in_trouble(
        self, reporter: Reporter, run: RunInfo, summary: Summary
    ) -> str | None:
        """Ledger and results tell how the run ended now, as far as either can be written."""
        with contextlib.suppress(DestinationError):  # perhaps only the ledger was the trouble
            return await reporter.write(run, summary)
        try:
            await self.thread.run(self.ledger.end_run, run.status, run.exit_code, ended_at(run))
        except DestinationError as error:
            _log.error(
                "ledger.not_written",
                reason=error.message,
                consequence="the next run tells this one as one that was killed",
            )
        return await reporter.write_elsewhere(run, summary)

    async def _write_beside(self, reporter: Reporter, run: RunInfo, summary: Summary) -> str | None:
        """Where `--results` wants them too; None where it does not, or it was in vain."""
        if self.job.results_file is None:
            return None
        output = self.job.settings.output
        try:
            return await reporter.write_beside(
                self.job.results_file,
                run,
                summary,
                dir_mode=output.dir_mode,
                file_mode=output.file_mode,
            )
        except DestinationError as error:
            _log.error("results.not_written", reason=error.message, hint=error.hint)
            return None

    async def _expiry(self) -> tuple[int, int] | None:
        """How many recordings that are not archived expire soon, and how many have."""
        export = self.job.settings.export
        if export.retention is None:
            return None
        gone = self.job.now() - export.retention
        found = await self.thread.run(self.ledger.expiry, gone, gone + export.expiry_warning)
        expiring, expired = found
        if expiring or expired:
            _log.warning("retention.expiring", expiring=expiring, expired=expired)
        return found

    def _check_policy(
        self, findings: Mapping[tuple[str, str], Finding], asked: Collection[tuple[str, str]]
    ) -> PolicyError | None:
        """Warn where raw recordings are in doubt; what `require_raw` says of it, if it is set."""
        required = {each for each in asked if self._policy_of(*each).require_raw}
        for project in sorted(asked):
            finding = findings[project]
            facts = {"project": "/".join(project), "reason": finding.reason}
            if finding.state is PiiAccessState.SUSPECTED_MISSING:
                _log.warning("pii_access.suspected_missing", **facts, meaning=MEANING, hint=REMEDY)
            elif finding.state is PiiAccessState.UNKNOWN and project in required:
                _log.warning("pii_access.unknown", **facts, meaning=UNKNOWN)
        broken = raw_unproven(findings, required)
        if broken is not None:
            _log.error("policy.broken", reason=broken.message, hint=broken.hint)
        return broken

    def _policy_of(self, account_id: str, project_id: str) -> Policy:
        return self.job.settings.policy_of(account_id, project_id)

    def _ended(
        self,
        info: RunInfo,
        totals: Totals,
        policy: PolicyError | None,
        *,
        reason: StopReason | None,
        metadata: MetadataCounts | None,
    ) -> RunInfo:
        failed, missing = _losses(totals, metadata)
        status, exit_code = _verdict(
            reason, failed=failed, missing=missing, allow_missing=self.job.allow_missing
        )
        if exit_code == 0 and not all(map(stands, info.discovered)):
            status, exit_code = RunStatus.PARTIAL, 1
        if policy is not None and reason is None:
            exit_code = policy.exit_code
        return msgspec.structs.replace(
            info,
            finished_at=timestamp(self.job.now()),
            status=status,
            exit_code=exit_code,
        )


def _losses(totals: Totals, metadata: MetadataCounts | None) -> tuple[bool, bool]:
    """Whether anything failed, and whether anything is not there."""
    counts = totals.by_status
    failed = counts[Status.FAILED] + counts[Status.CANCELLED]
    missing = counts[Status.NOT_FOUND] + counts[Status.GONE]
    if metadata is not None:
        failed += metadata.failed + metadata.cancelled
        missing += metadata.not_found
    return bool(failed), bool(missing)


def _verdict(
    reason: StopReason | None, *, failed: bool, missing: bool, allow_missing: bool
) -> tuple[RunStatus, int]:
    if reason is not None:
        status = RunStatus.INTERRUPTED if reason.by_signal else RunStatus.STOPPED
        return status, reason.exit_code
    if failed or (missing and not allow_missing):
        return RunStatus.PARTIAL, 1
    return (RunStatus.PARTIAL if missing else RunStatus.COMPLETE), 0
