"""The options that several commands share: one name, one meaning, one line of help."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from exporter.errors import ExporterError, UsageError
from exporter.streams import forget_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.settings import Flag

Command = Callable[..., None]

Manifest = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="What to export; - reads standard input.")
]
OptionalManifest = Annotated[
    str | None,
    typer.Argument(metavar="[MANIFEST]", help="What is to be exported; - reads standard input."),
]
ManifestFormat = Annotated[
    str | None,
    typer.Option(metavar="yaml|jsonl|csv", help="Format of MANIFEST, else by its file ending."),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="How to export (YAML).")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="ARCHIVE",
        help="The archive: a folder, or s3://…, gs://…, az://….",
    ),
]
Archive = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="The archive: a folder, or s3://…, gs://…, az://….")
]
Directions = Annotated[
    list[str] | None,
    typer.Option(metavar="LIST", help="combined, user, agent: where the manifest does not say."),
]
RedactionList = Annotated[
    list[str] | None,
    typer.Option(metavar="LIST", help="redacted, raw: where the manifest does not say."),
]
NeverRaw = Annotated[
    bool, typer.Option("--never-raw", help="Refuse a manifest that asks for raw recordings.")
]
Timezone = Annotated[
    str | None, typer.Option(metavar="TZ", help="Time zone of the dates in paths (IANA name).")
]
StateDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep the ledger here instead of in the archive."),
]
Account = Annotated[
    str | None, typer.Option(metavar="A", help="The account, as the API writes it.")
]
Project = Annotated[
    str | None, typer.Option(metavar="P", help="The project, as the API writes it.")
]
Conversation = Annotated[
    str | None, typer.Option(metavar="ID", help="Compare raw and redacted audio of this one.")
]
LogFormat = Annotated[
    str | None, typer.Option(metavar="console|json", help="Logs on standard error.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="debug|info|warning|error", help="The least to be logged.")
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The API's address, instead of a region's.")
]
Surface = Annotated[
    str | None,
    typer.Option(metavar="platform-v3|agents-v1", help="Which of the vendor's two API families."),
]
Region = Annotated[
    str | None,
    typer.Option(metavar="R", help="us-1, uk-1, euw-1; for agents-v1 us, uk, eu, studio."),
]
Concurrency = Annotated[
    str | None,
    typer.Option("--concurrency", "-j", metavar="N", help="Recordings fetched at a time."),
]
Processes = Annotated[
    str | None, typer.Option(metavar="N", help="Processes that fetch, for fast lines; usually 1.")
]
Rate = Annotated[str | None, typer.Option(metavar="N", help="Requests a second, at most.")]
ResultsFile = Annotated[
    Path | None,
    typer.Option("--results", metavar="FILE", help="Write the results here too."),
]
Wait = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Wait so long for another run to end, such as 30m."),
]
Recheck = Annotated[
    bool, typer.Option("--recheck", help="Hash what is archived before skipping it.")
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Fetch again what is archived; keep both if they differ."),
]
MaxFailures = Annotated[
    str | None, typer.Option(metavar="N", help="Stop when so many recordings failed.")
]
Deadline = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Stop after so long, such as 90m or 6h.")
]
RequireRaw = Annotated[
    bool, typer.Option("--require-raw", help="Fail if what was asked for as raw seems redacted.")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Not found and gone do not make the run fail.")
]
Progress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Default: on a terminal.")
]
JsonSummary = Annotated[bool, typer.Option("--json", help="One JSON summary on standard output.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]


def whole_number(text: str | int) -> int:
    """A parser of options; numbers that are settings are left to these."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"found {text!r}, expected a whole number") from None


def number(text: str | float) -> float:
    """Likewise."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"found {text!r}, expected a number") from None


# Which setting an option stands for, and how it is written, for messages.
_SETTINGS = {
    "archive": ("ARCHIVE", "output", "url"),
    "output": ("--output", "output", "url"),
    "state_dir": ("--state-dir", "output", "state_dir"),
    "timezone": ("--timezone", "output", "timezone"),
    "base_url": ("--base-url", "api", "base_url"),
    "surface": ("--surface", "api", "surface"),
    "region": ("--region", "api", "region"),
    "directions": ("--directions", "export", "directions"),
    "redaction": ("--redaction", "export", "redaction"),
    "recheck": ("--recheck", "export", "recheck"),
    "refresh": ("--refresh", "export", "refresh"),
    "require_raw": ("--require-raw", "export", "require_raw"),
    "never_raw": ("--never-raw", "export", "never_raw"),
    "concurrency": ("--concurrency", "limits", "concurrency"),
    "processes": ("--processes", "limits", "processes"),
    "rate": ("--rate", "limits", "requests_per_second"),
    "wait": ("--wait", "limits", "wait"),
    "max_failures": ("--max-failures", "limits", "max_failures"),
    "deadline": ("--deadline", "limits", "deadline"),
    "log_format": ("--log-format", "log", "format"),
    "log_level": ("--log-level", "log", "level"),
}

_INTERRUPTED = 130


def flags(**given: object) -> list[Flag]:
    """The settings that were given on the command line.

    Args:
        given: what typer read, by the name of the parameter; None, False or [] where the option
            was not given.
    """
    from exporter.settings import Flag  # noqa: PLC0415 (slow to import, and --help needs none)

    named = ((_SETTINGS[parameter], value) for parameter, value in given.items())
    return [
        Flag(name, (section, key), _joined(value))
        for (name, section, key), value in named
        if not (value is None or value is False or value == [])
    ]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `run`, `plan` and `retry` share, in the order in which `--help` lists it."""

    manifest_format: ManifestFormat = None
    config: Config = None
    output: Output = None
    base_url: BaseUrl = None
    surface: Surface = None
    region: Region = None
    directions: Directions = None
    redaction: RedactionList = None
    concurrency: Concurrency = None
    processes: Processes = None
    rate: Rate = None
    results: ResultsFile = None
    state_dir: StateDir = None
    timezone: Timezone = None
    wait: Wait = None
    recheck: Recheck = False
    refresh: Refresh = False
    max_failures: MaxFailures = None
    deadline: Deadline = None
    require_raw: RequireRaw = False
    never_raw: NeverRaw = False
    allow_missing: AllowMissing = False
    log_format: LogFormat = None
    log_level: LogLevel = None
    progress: Progress = None

    def flags(self) -> list[Flag]:
        """The settings among them that were given."""
        return flags(**{name: value for name, value in vars(self).items() if name in _SETTINGS})


def takes_run_options(*, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Puts the flags of `RunOptions` in the place of a command's parameter `options`.

    typer makes flags of a function's signature, so that is what they are written into.

    Args:
        without: those that the command has no use for.
    """
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(RunOptions)
        if each.name not in without
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def called(**given: Any) -> None:  # noqa: ANN401 (as typer read them)
            options = RunOptions(**{each.name: given.pop(each.name) for each in shared})
            command(options=options, **given)

        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for each in signature.parameters.values():
            parameters += shared if each.name == "options" else [each]
        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return called

    return decorate


def _joined(value: object) -> object:
    """`--directions user,agent` and `--directions user --directions agent` mean the same."""
    return ",".join(value) if isinstance(value, list) else value


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Errors become a message for people and an exit code."""
    try:
        yield
    except ExporterError as error:
        _tell(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as interrupt:
        typer.echo(str(interrupt) or "interrupted: nothing was under way", err=True)
        raise typer.Exit(getattr(interrupt, "exit_code", _INTERRUPTED)) from None
    except BrokenPipeError:
        forget_output()
        raise typer.Exit(1) from None


def _tell(error: ExporterError) -> None:
    """Every error with its hint; a hint that several share, once."""
    also = error.also if isinstance(error, UsageError) else ()
    told = ""
    for one in (error, *also):
        typer.echo(f"error: {one}", err=True)
        if one.hint and one.hint != told:
            typer.echo(f"hint: {one.hint}", err=True)
        told = one.hint
    if isinstance(error, UsageError) and error.has_more:
        typer.echo(f"error: and more; these are the first {1 + len(also)}", err=True)
