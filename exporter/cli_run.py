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
    joined,
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
        {
            ("--output", "output", "url"): output,
            ("--base-url", "api", "base_url"): base_url,
            ("--surface", "api", "surface"): surface,
            ("--region", "api", "region"): region,
            ("--directions", "export", "directions"): joined(directions),
            ("--redaction", "export", "redaction"): joined(redaction),
            ("--concurrency", "limits", "concurrency"): concurrency,
            ("--rate", "limits", "requests_per_second"): rate,
            ("--state-dir", "output", "state_dir"): state_dir,
            ("--timezone", "output", "timezone"): timezone,
            ("--wait", "limits", "wait"): wait,
            ("--recheck", "export", "recheck"): recheck or None,
            ("--refresh", "export", "refresh"): refresh or None,
            ("--max-failures", "limits", "max_failures"): max_failures,
            ("--deadline", "limits", "deadline"): deadline,
            ("--require-raw", "export", "require_raw"): require_raw or None,
            ("--never-raw", "export", "never_raw"): never_raw or None,
            ("--log-format", "log", "format"): log_format,
            ("--log-level", "log", "level"): log_level,
        }
    )
    with reported():
        exit_code = running.run(
            manifest,
            manifest_format=manifest_format,
            config_file=config,
            flags=given,
            results_file=results,
            allow_missing=allow_missing,
            progress=progress,
            json_summary=json,
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
        {
            ("--output", "output", "url"): output,
            ("--base-url", "api", "base_url"): base_url,
            ("--surface", "api", "surface"): surface,
            ("--region", "api", "region"): region,
            ("--directions", "export", "directions"): joined(directions),
            ("--redaction", "export", "redaction"): joined(redaction),
            ("--concurrency", "limits", "concurrency"): concurrency,
            ("--rate", "limits", "requests_per_second"): rate,
            ("--state-dir", "output", "state_dir"): state_dir,
            ("--timezone", "output", "timezone"): timezone,
            ("--wait", "limits", "wait"): wait,
            ("--recheck", "export", "recheck"): recheck or None,
            ("--refresh", "export", "refresh"): refresh or None,
            ("--max-failures", "limits", "max_failures"): max_failures,
            ("--deadline", "limits", "deadline"): deadline,
            ("--require-raw", "export", "require_raw"): require_raw or None,
            ("--never-raw", "export", "never_raw"): never_raw or None,
            ("--log-format", "log", "format"): log_format,
            ("--log-level", "log", "level"): log_level,
        }
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
