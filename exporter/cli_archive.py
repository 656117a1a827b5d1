"""The commands that speak of an archive: `verify`, `status`. No logic."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter.options import (
    Archive,
    AsJson,
    Config,
    Progress,
    StateDir,
    flags,
    reported,
    whole_number,
)


def verify(
    archive: Archive,
    *,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Believe the checksums that an object store keeps."),
    ] = False,
    sample: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Read back so many recordings only, drawn at random."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Read back what was archived since: a date, 24h, 7d."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-j", metavar="N", parser=whole_number, help="Files read at a time."
        ),
    ] = None,
    config: Config = None,
    state_dir: StateDir = None,
    progress: Progress = None,
    json: AsJson = False,
) -> None:
    """Read ARCHIVE back and compare it with what is recorded; writes nothing into it."""
    from exporter import checking

    given = flags(state_dir=state_dir)
    with reported():
        exit_code = checking.run(
            archive,
            sample=sample,
            since=since,
            quick=quick,
            concurrency=concurrency,
            config_file=config,
            flags=given,
            progress=progress,
            as_json=json,
        )
    raise typer.Exit(exit_code)


def status(
    archive: Archive,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="List every recording that is missing.")
    ] = False,
    failed_manifest: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write what failed as a manifest: .yaml, .jsonl, or -."),
    ] = None,
    config: Config = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Say what ARCHIVE lacks (pending, failed, not found, gone), since when, and how runs ended."""
    from exporter import inquiry

    with reported():
        inquiry.run(
            archive,
            config_file=config,
            flags=flags(state_dir=state_dir),
            everything=everything,
            failed_manifest=failed_manifest,
            as_json=json,
        )
