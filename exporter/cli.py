"""The command line: builds the parts, runs one of them, maps errors to exit codes. No logic."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter import __version__, cli_archive, cli_practice, cli_run
from exporter.options import (
    Account,
    AsJson,
    BaseUrl,
    Config,
    Conversation,
    LogFormat,
    LogLevel,
    ManifestFormat,
    OptionalManifest,
    Output,
    Project,
    Rate,
    Region,
    StateDir,
    Surface,
    flags,
    reported,
)

app = typer.Typer(
    name="exporter",
    help="Bulk export of PolyAI call recordings: the right variant, provably intact.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def main_options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Bulk export of PolyAI call recordings: the right variant, provably intact."""
    if version:
        typer.echo(f"exporter {__version__}")
        raise typer.Exit


app.command()(cli_run.run)
app.command(short_help="Say what `run` would do with the same flags; download nothing.")(
    cli_run.plan
)


@app.command(short_help="Write a manifest of the conversations that the API lists.")
def discover(
    *,
    account: Annotated[str, typer.Option(metavar="A", help="The account.")],
    project: Annotated[str, typer.Option(metavar="P", help="The project (the agent).")],
    start: Annotated[
        str,
        typer.Option("--from", metavar="T", help="A date, a time, today, yesterday, or -3d."),
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="T", help="Likewise; does not belong to the window.")
    ],
    timezone: Annotated[
        str | None, typer.Option(metavar="TZ", help="Time zone of dates (IANA name).")
    ] = None,
    client_env: Annotated[
        str | None, typer.Option(metavar="live|pre-release|sandbox", help="Default: live.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL", help="Repeatable, or any. Default: all voice channels."),
    ] = None,
    include_in_progress: Annotated[
        bool, typer.Option("--include-in-progress", help="Calls that have not ended, too.")
    ] = False,
    variant_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this variant of the agent.")
    ] = None,
    query_type: Annotated[
        str | None, typer.Option(metavar="transcript|semantic", help="How to look for --query.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only what is about this.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="random", help="A random sample instead of all.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Default: -, standard output."),
    ] = "-",
    config: Config = None,
    base_url: BaseUrl = None,
    region: Region = None,
    rate: Rate = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Write a manifest of the conversations that the API lists; `run -` takes it from a pipe."""
    from exporter import discovering

    given = {
        ("account_id", "--account"): account,
        ("project_id", "--project"): project,
        ("from", "--from"): start,
        ("to", "--to"): end,
        ("timezone", "--timezone"): timezone,
        ("client_env", "--client-env"): client_env,
        ("include_in_progress", "--include-in-progress"): "true" if include_in_progress else None,
        ("variant_id", "--variant-id"): variant_id,
        ("query_type", "--query-type"): query_type,
        ("query", "--query"): query,
        ("sample", "--sample"): sample,
    }
    from_flags = flags(
        base_url=base_url, region=region, rate=rate, log_format=log_format, log_level=log_level
    )
    with reported():
        discovering.discover(
            texts={key: value for (key, _), value in given.items() if value is not None},
            words={"channel": tuple(channel)} if channel else {},
            flag_names={**dict(given.keys()), "channel": "--channel"},
            output=output,
            config_file=config,
            flags=from_flags,
        )


app.command(short_help="Read ARCHIVE back and compare it with what is recorded.")(
    cli_archive.verify
)
app.command(short_help="Say what ARCHIVE lacks, since when, and how its runs ended.")(
    cli_archive.status
)
app.command(short_help="Ask again for what is pending or failed in ARCHIVE.")(cli_run.retry)


@app.command(short_help="Check key, region, host, disk and more before a run.")
def doctor(
    manifest: OptionalManifest = None,
    *,
    manifest_format: ManifestFormat = None,
    config: Config = None,
    output: Output = None,
    base_url: BaseUrl = None,
    surface: Surface = None,
    region: Region = None,
    state_dir: StateDir = None,
    account: Account = None,
    project: Project = None,
    conversation: Conversation = None,
    json: AsJson = False,
) -> None:
    """Check key, region, host, destination, clock and disk before a run, and say what to mend."""
    from exporter import consulting

    given = flags(
        output=output, base_url=base_url, surface=surface, region=region, state_dir=state_dir
    )
    with reported():
        about = consulting.about(manifest, manifest_format, account, project, conversation)
        exit_code = consulting.doctor(about, config_file=config, flags=given, as_json=json)
    raise typer.Exit(exit_code)


@app.command()
def schema(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="config, manifest, partition or results.")
    ],
) -> None:
    """Print a JSON Schema."""
    from exporter import schemas

    with reported():
        typer.echo(schemas.schema(name))


app.command(short_help="Serve a local imitation of the API, with faults on request.")(
    cli_practice.sandbox
)
app.command(short_help="Export a dozen conversations from the sandbox, and verify them.")(
    cli_practice.demo
)
