"""The commands that take a manifest and an archive: `run` and `plan`. No logic.

They have the same flags, so that in any command line one word can stand for the other.
"""

from __future__ import annotations

import typer

from exporter.options import (
    AllowMissing,
    AsJson,
    BaseUrl,
    Concurrency,
    Config,
    Deadline,
    Directions,
    JsonSummary,
    LogFormat,
    LogLevel,
    Manifest,
    ManifestFormat,
    MaxFailures,
    NeverRaw,
    Output,
    Processes,
    Progress,
    Rate,
    Recheck,
    RedactionList,
    Refresh,
    Region,
    RequireRaw,
    ResultsFile,
    StateDir,
    Surface,
    Timezone,
    Wait,
    flags,
    reported,
)


def run(
    manifest: Manifest,
    *,
    manifest_format: ManifestFormat = None,
    config: Config = None,
    output: Output = None,
    base_url: BaseUrl = None,
    surface: Surface = None,
    region: Region = None,
    directions: Directions = None,
    redaction: RedactionList = None,
    concurrency: Concurrency = None,
    processes: Processes = None,
    rate: Rate = None,
    results: ResultsFile = None,
    state_dir: StateDir = None,
    timezone: Timezone = None,
    wait: Wait = None,
    recheck: Recheck = False,
    refresh: Refresh = False,
    max_failures: MaxFailures = None,
    deadline: Deadline = None,
    require_raw: RequireRaw = False,
    never_raw: NeverRaw = False,
    allow_missing: AllowMissing = False,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    progress: Progress = None,
    json: JsonSummary = False,
) -> None:
    """Export what MANIFEST names; what is archived already is skipped."""
    from exporter import running

    given = flags(
        output=output,
        base_url=base_url,
        surface=surface,
        region=region,
        directions=directions,
        redaction=redaction,
        concurrency=concurrency,
        processes=processes,
        rate=rate,
        state_dir=state_dir,
        timezone=timezone,
        wait=wait,
        recheck=recheck,
        refresh=refresh,
        max_failures=max_failures,
        deadline=deadline,
        require_raw=require_raw,
        never_raw=never_raw,
        log_format=log_format,
        log_level=log_level,
    )
    with reported():
        exit_code = running.run(
            manifest,
            manifest_format=manifest_format,
            config_file=config,
            flags=given,
            wishes=running.Wishes(
                results_file=results,
                allow_missing=allow_missing,
                progress=progress,
                json_summary=json,
            ),
        )
    raise typer.Exit(exit_code)


def plan(
    manifest: Manifest,
    *,
    manifest_format: ManifestFormat = None,
    config: Config = None,
    output: Output = None,
    base_url: BaseUrl = None,
    surface: Surface = None,
    region: Region = None,
    directions: Directions = None,
    redaction: RedactionList = None,
    concurrency: Concurrency = None,
    processes: Processes = None,
    rate: Rate = None,
    results: ResultsFile = None,  # noqa: ARG001 (a plan has none; see the module)
    state_dir: StateDir = None,
    timezone: Timezone = None,
    wait: Wait = None,
    recheck: Recheck = False,
    refresh: Refresh = False,
    max_failures: MaxFailures = None,
    deadline: Deadline = None,
    require_raw: RequireRaw = False,
    never_raw: NeverRaw = False,
    allow_missing: AllowMissing = False,  # noqa: ARG001 (likewise)
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    progress: Progress = None,  # noqa: ARG001 (likewise)
    json: AsJson = False,
) -> None:
    """Say what `run` would do with the same flags; downloads nothing, writes nothing, needs no key.

    Flags that matter to a run only are checked, and change nothing here.
    """
    from exporter import running

    given = flags(
        output=output,
        base_url=base_url,
        surface=surface,
        region=region,
        directions=directions,
        redaction=redaction,
        concurrency=concurrency,
        processes=processes,
        rate=rate,
        state_dir=state_dir,
        timezone=timezone,
        wait=wait,
        recheck=recheck,
        refresh=refresh,
        max_failures=max_failures,
        deadline=deadline,
        require_raw=require_raw,
        never_raw=never_raw,
        log_format=log_format,
        log_level=log_level,
    )
    with reported():
        running.plan(
            manifest,
            manifest_format=manifest_format,
            config_file=config,
            flags=given,
            as_json=json,
            log_level=log_level,
        )
