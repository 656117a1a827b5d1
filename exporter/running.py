"""`exporter run`, `retry` and `plan`: from the words on the command line to a finished job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from exporter import log
from exporter.credentials import Credentials
from exporter.errors import ConfigError
from exporter.export import export
from exporter.interruptible import interruptible
from exporter.job import Job, NullWatcher, Report, Watcher
from exporter.leftovers import RETRY, ledger_of, left_over
from exporter.loader import open_manifest
from exporter.planning import choice_of, preview
from exporter.policy import without_raw
from exporter.queries import list_windows, projects_of, windows_of
from exporter.settings import load_settings
from exporter.spool import Spool
from exporter.stopping import Stop, StopReason, exit_code_of
from exporter.streams import forget_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.discovery import Discovered
    from exporter.model import Conversation
    from exporter.settings import Flag, Settings
    from exporter.window import Query, Window

_log = log.get_logger()
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FIRST_SIGNAL = "what is under way has 20 seconds to finish; a second signal rolls it back at once"
_CUT_SHORT = "interrupted before the results were written; what is archived stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wanted of a run beside its settings.

    Attributes:
        results_file: where the results are written besides.
        allow_missing: what was not found or is gone does not make the run fail.
        progress: show it; None: on a terminal.
        json_summary: on standard output.
    """

    results_file: Path | None = None
    allow_missing: bool = False
    progress: bool | None = None
    json_summary: bool = False


def run(
    manifest: str,
    *,
    manifest_format: str | None,
    config_file: Path | None,
    flags: Sequence[Flag],
    wishes: Wishes,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Do the whole job; returns the exit code.

    Raises:
        ExporterError: nothing could be begun.
    """
    with (
        interruptible(),
        open_manifest(manifest, format=manifest_format, stdin=sys.stdin.buffer) as opened,
    ):
        settings = load_settings(
            flags=flags,
            config_file=config_file,
            manifest_config=opened.config,
            environ=environ,
        )
        return _carry_out(
            _allowed(opened.conversations(), settings),
            settings,
            source=opened.source,
            sha256=lambda: opened.sha256,
            windows=lambda: windows_of(opened.queries, settings),
            wishes=wishes,
            environ=environ,
        )


def retry(
    *,
    config_file: Path | None,
    flags: Sequence[Flag],
    wishes: Wishes,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run just what is pending or failed in an archive; returns the exit code.

    Raises:
        ExporterError: nothing could be begun.
    """
    with interruptible(), contextlib.ExitStack() as stack:
        settings = load_settings(flags=flags, config_file=config_file, environ=environ)
        output = settings.output
        ledger = stack.enter_context(ledger_of(output.url, output.state_dir, settings.object_store))
        return _carry_out(
            left_over(
                ledger,
                never_raw=lambda *project: settings.policy_of(*project).never_raw,
                fresh=datetime.now(UTC) - settings.export.pending_grace,
            ),
            settings,
            source=RETRY,
            sha256=lambda: None,
            windows=list,
            wishes=wishes,
            environ=environ,
        )


def _carry_out(
    conversations: Iterable[Conversation],
    settings: Settings,
    *,
    source: str,
    sha256: Callable[[], str | None],
    windows: Callable[[], Sequence[Window]],
    wishes: Wishes,
    environ: Mapping[str, str],
) -> int:
    """Export these conversations and tell how it went.

    Args:
        conversations: read to the end before anything is done.
        settings: of the run.
        source: where they come from, as the results tell it.
        sha256: of the manifest, once they were read.
        windows: what is to be looked for in the list besides, likewise.
        wishes: as in `run`.
        environ: with the keys.
    """
    if wishes.results_file is not None and wishes.results_file.is_dir():
        raise ConfigError(
            f"--results: found the folder {wishes.results_file}, expected a file name"
        )
    redactor = log.Redactor()
    as_json = settings.log.format == "json"
    log.configure(json=as_json, level=settings.log.level, redactor=redactor)
    credentials = Credentials(settings.credentials, environ)
    with Spool() as spool:
        spool.fill(conversations)
        listed = windows()
        credentials.require([*spool.projects, *projects_of(listed)])
        for credential in credentials.readable():
            redactor.add(credential.key)
        job = Job(
            spool=spool,
            manifest_path=source,
            manifest_sha256=sha256(),
            settings=settings,
            credentials=credentials,
            windows=listed,
            allow_missing=wishes.allow_missing,
            results_file=wishes.results_file,
            clean=redactor.text,
        )
        show = sys.stderr.isatty() if wishes.progress is None else wishes.progress
        with contextlib.ExitStack() as shown:
            watcher = shown.enter_context(_watcher(show=show and not as_json))
            report = asyncio.run(_export(job, watcher, shown.close))
    _tell(report, json_summary=wishes.json_summary, as_json_logs=as_json)
    return report.run.exit_code


def _allowed(conversations: Iterator[Conversation], settings: Settings) -> Iterator[Conversation]:
    """The manifest's conversations; raises at their end if there are some that may not be."""
    if not (settings.export.never_raw or any(each.never_raw for each in settings.policies)):
        return conversations
    return without_raw(
        conversations,
        choice_of(settings),
        lambda *project: settings.policy_of(*project).never_raw,
    )


async def _export(job: Job, watcher: Watcher, hide: Callable[[], None]) -> Report:
    """The first signal lets finish what is under way, the second rolls it back.

    A third one ends the process as it stands: nothing is written any more once it has said so, and
    the next run recovers as it does after a kill.
    """
    stop = Stop()
    loop = asyncio.get_running_loop()
    is_hurried = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal is_hurried
        if not stop.requested:
            stop.request(StopReason.of_signal(number))
            # Without a word people take the wait for a hang, and kill the process.
            _log.warning("run.stopping", signal=number.name, note=_FIRST_SIGNAL)
        elif not is_hurried:  # which the run may be already, because its grace is over
            is_hurried = True
            stop.hurry.set()
        else:
            hide()
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{_CUT_SHORT}\n")
                sys.stderr.flush()
            os._exit(exit_code_of(number))

    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
    return await export(job, stop, watcher)


@contextlib.contextmanager
def _watcher(*, show: bool) -> Iterator[Watcher]:
    if not show:
        yield NullWatcher()
        return
    from exporter.bars import ProgressBar  # noqa: PLC0415 (rich is slow to import)

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
        try:
            sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the exit code is to tell of the recordings all the same
            forget_output()
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
    log_level: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Say what `run` would do.

    Args:
        manifest: what `run` would be given, like the next four.
        manifest_format: likewise.
        config_file: likewise.
        flags: likewise.
        as_json: for programs, on standard output.
        log_level: as a flag asks for; None: errors only, for the plan says the rest.
        environ: with the keys, which only `discover` in the manifest needs.

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
        redactor = log.Redactor()
        level = "error" if log_level is None else settings.log.level
        log.configure(json=settings.log.format == "json", level=level, redactor=redactor)
        with Spool() as spool:
            spool.fill(_allowed(opened.conversations(), settings))
            listed = asyncio.run(_listed(opened.queries, spool, settings, environ, redactor))
            found = asyncio.run(preview(spool, settings))
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        from exporter.progress import print_preview  # noqa: PLC0415 (rich is slow to import)

        print_preview(found, settings.output.url, listed)


async def _listed(
    queries: Sequence[Query],
    spool: Spool,
    settings: Settings,
    environ: Mapping[str, str],
    redactor: log.Redactor,
) -> list[Discovered]:
    """What the list has of the manifest's queries, for which alone a plan needs keys."""
    windows = windows_of(queries, settings)
    if not windows:
        return []
    credentials = Credentials(settings.credentials, environ)
    for credential in credentials.require(projects_of(windows)):
        redactor.add(credential.key)
    return await list_windows(windows, spool, settings, credentials, clean=redactor.text)
