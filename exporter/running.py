"""`exporter run` and `exporter plan`: from the words on the command line to a finished job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from exporter import log
from exporter.credentials import Credentials
from exporter.export import Job, NullWatcher, Report, Watcher, export
from exporter.loader import open_manifest
from exporter.planning import preview
from exporter.settings import load_settings
from exporter.spool import Spool
from exporter.stopping import Stop, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.settings import Flag

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run(
    manifest: str,
    *,
    manifest_format: str | None,
    config_file: Path | None,
    flags: Sequence[Flag],
    results_file: Path | None,
    allow_missing: bool,
    progress: bool | None,
    json_summary: bool,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Do the whole job; returns the exit code.

    Raises:
        ExporterError: nothing could be begun.
    """
    with open_manifest(manifest, format=manifest_format, stdin=sys.stdin.buffer) as opened:
        settings = load_settings(
            flags=flags,
            config_file=config_file,
            manifest_config=opened.config,
            environ=environ,
        )
        redactor = log.Redactor()
        as_json = settings.log.format == "json"
        log.configure(json=as_json, level=settings.log.level, redactor=redactor)
        credentials = Credentials(settings.credentials, environ)
        with Spool() as spool:
            spool.fill(opened.conversations())
            for credential in credentials.require(spool.projects):
                redactor.add(credential.key)
            job = Job(
                spool=spool,
                manifest_path=opened.source,
                manifest_sha256=opened.sha256,
                settings=settings,
                credentials=credentials,
                allow_missing=allow_missing,
                results_file=results_file,
                clean=redactor.text,
            )
            show = sys.stderr.isatty() if progress is None else progress
            with _watcher(show=show and not as_json) as watcher:
                report = asyncio.run(_export(job, watcher))
    _tell(report, json_summary=json_summary, as_json_logs=as_json)
    return report.run.exit_code


async def _export(job: Job, watcher: Watcher) -> Report:
    stop = Stop()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal(number: signal.Signals) -> None:
        if stop.reason is not None and task is not None:
            task.cancel()
        stop.request(
            StopReason(
                f"interrupted by {number.name}",
                "Run again to go on: what is archived is skipped.",
                _EXIT_CODES[number],
                by_signal=True,
            )
        )

    for number in _EXIT_CODES:
        loop.add_signal_handler(number, on_signal, number)
    return await export(job, stop, watcher)


@contextlib.contextmanager
def _watcher(*, show: bool) -> Iterator[Watcher]:
    if not show:
        yield NullWatcher()
        return
    from exporter.progress import ProgressBar  # noqa: PLC0415 (rich is slow to import)

    with ProgressBar() as bar:
        yield bar


def _tell(report: Report, *, json_summary: bool, as_json_logs: bool) -> None:
    if json_summary:
        summary = {
            **msgspec.to_builtins(report.summary),
            "run_id": report.run.id,
            "status": report.run.status,
            "exit_code": report.run.exit_code,
            "results": report.results_path,
        }
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    if not as_json_logs:
        from exporter.progress import print_report  # noqa: PLC0415 (rich is slow to import)

        print_report(report)


def plan(
    manifest: str,
    *,
    manifest_format: str | None,
    config_file: Path | None,
    flags: Sequence[Flag],
    as_json: bool,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Say what `run` would do.

    Raises:
        ExporterError: the manifest or the config is wrong.
    """
    with open_manifest(manifest, format=manifest_format, stdin=sys.stdin.buffer) as opened:
        settings = load_settings(
            flags=flags,
            config_file=config_file,
            manifest_config=opened.config,
            environ=environ,
        )
        log.configure(json=False, level="error", redactor=log.Redactor())
        with Spool() as spool:
            spool.fill(opened.conversations())
            found = asyncio.run(preview(spool, settings))
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        from exporter.progress import print_preview  # noqa: PLC0415 (rich is slow to import)

        print_preview(found, settings.output.url)
