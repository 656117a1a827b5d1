"""The commands about a run: `run`, `plan`, `retry`. No logic.

`run` and `plan` have the same flags, so that in any command line one word can stand for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from exporter.options import (
    Archive,
    AsJson,
    JsonSummary,
    Manifest,
    RunOptions,
    flags,
    reported,
    takes_run_options,
)

if TYPE_CHECKING:
    from exporter.running import Wishes


@takes_run_options()
def run(manifest: Manifest, *, options: RunOptions, json: JsonSummary = False) -> None:
    """Export what MANIFEST names; what is archived already is skipped."""
    from exporter import running

    with reported():
        exit_code = running.run(
            manifest,
            manifest_format=options.manifest_format,
            config_file=options.config,
            flags=options.flags(),
            wishes=_wishes(options, json_summary=json),
        )
    raise typer.Exit(exit_code)


@takes_run_options()
def plan(manifest: Manifest, *, options: RunOptions, json: AsJson = False) -> None:
    """Say what `run` would do with the same flags; downloads nothing, writes nothing, needs no key.

    Flags that matter to a run only are checked, and change nothing here.
    """
    from exporter import running

    with reported():
        running.plan(
            manifest,
            manifest_format=options.manifest_format,
            config_file=options.config,
            flags=options.flags(),
            as_json=json,
            log_level=options.log_level,
        )


@takes_run_options(
    without=("manifest_format", "output", "directions", "redaction", "recheck", "refresh")
)
def retry(archive: Archive, *, options: RunOptions, json: JsonSummary = False) -> None:
    """Ask again for what is pending or failed in ARCHIVE, and for nothing else."""
    from exporter import running

    with reported():
        exit_code = running.retry(
            config_file=options.config,
            flags=[*flags(archive=archive), *options.flags()],
            wishes=_wishes(options, json_summary=json),
        )
    raise typer.Exit(exit_code)


def _wishes(options: RunOptions, *, json_summary: bool) -> Wishes:
    from exporter.running import Wishes

    return Wishes(
        results_file=options.results,
        allow_missing=options.allow_missing,
        progress=options.progress,
        json_summary=json_summary,
    )
