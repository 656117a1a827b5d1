"""What people see on the terminal when something is over: tables and sentences."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from exporter.certificate import equation, objections
from exporter.model import PiiAccessState, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from exporter.differences import Tally
    from exporter.discovery import Discovered
    from exporter.doctor import Check
    from exporter.job import Report
    from exporter.planning import Preview
    from exporter.results import MetadataCounts, Summary, WindowInfo
    from exporter.sinks.base import Holder

BAD: Final = (Status.FAILED, Status.NOT_FOUND, Status.GONE, Status.CANCELLED)
_MEANING: Final = {
    Status.EXPORTED: "fetched, verified and recorded",
    Status.SKIPPED: "archived before",
    Status.PENDING: "not there yet; the next run asks again",
    Status.NOT_FOUND: "the API has no such recording",
    Status.GONE: "deleted by the vendor",
    Status.FAILED: "the reasons are below and in the results",
    Status.CANCELLED: "not reached before the run ended",
}
_CHECK_STYLE: Final = {
    "ok": None,
    "warning": "yellow",
    "failed": "red",
    "skipped": "dim",
}
_FINDING: Final = {
    "ok": "read back as recorded",
    "corrupt": "not as recorded",
    "missing": "recorded, but not there",
    "unexpected": "not a file that belongs into an archive",
    "unrecorded": "a recording that is not on record",
}
_FETCH_AGAIN = (
    "`exporter run` with their manifest fetches again what is missing or has the wrong size, with"
    " --recheck also what is corrupt."
)
_MOVE_AWAY = (
    "What is on no record stays where it is: look at it, and move away what does not belong there."
)


def size(count: float) -> str:
    """Bytes for people: `12.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:  # noqa: PLR2004
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Time for people: `1.2 s`, `3 min 20 s`, `5 h 07 min`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _period(length: timedelta) -> str:
    """A time that somebody set: `90 days`, `36 hours`."""
    seconds = length.total_seconds()
    for unit, one in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= one and seconds % one == 0:
            return _count(int(seconds // one), unit)
    return duration(seconds)


def print_report(report: Report) -> None:
    """How a run ended, on standard error."""
    run, summary = report.run, report.summary
    console = _console()
    columns = "outcome", "recordings", "meaning"
    table = _table(f"run {run.id}: {run.status}", *columns, numbers=("recordings",))
    for status in Status:
        count = getattr(summary, status)
        if count or status in {Status.EXPORTED, Status.SKIPPED, Status.FAILED}:
            style = "red" if count and status in BAD else None
            table.add_row(status.replace("_", " "), str(count), _MEANING[status], style=style)
    about = f"of {_count(summary.conversations, 'conversation')}"
    if summary.carried_over:
        about += f"; {_count(summary.carried_over, 'recording')} pending since earlier runs"
    if summary.duplicates:
        about += f"; {_count(summary.duplicates, 'recording')} named again"
    table.add_row("requested", str(summary.requested), about, style="bold")
    console.print(table)
    _print_numbers(console, summary)
    if (summary.expiring or summary.expired) and report.retention is not None:
        words = _expiry(summary, report.retention, report.expiry_warning)
        say(console, words, style="red")
    for window in run.discovered:
        _print_window(console, window)
    for project, finding in report.pii_access.items():
        state = finding.state.replace("_", " ")
        bad = finding.state is PiiAccessState.SUSPECTED_MISSING
        words = f"PII access in {'/'.join(project)}: {state} ({finding.reason})"
        say(console, words, style="red" if bad else None)
    if report.policy:
        _print_trouble(console, f"policy broken: {report.policy.message}", report.policy.hint)
    if report.reason:
        _print_trouble(console, f"ended early: {report.reason.message}", report.reason.hint)
    _print_places(console, report)


def _print_places(console: Console, report: Report) -> None:
    places = {
        "archive": report.run.archive,
        "raw recordings": report.run.config["output"]["raw_url"],
        "results": report.results_path,
    }
    for name, place in places.items():
        if place:
            console.print(f"{name}: {place}", markup=False)


def _print_numbers(console: Console, summary: Summary) -> None:
    say(
        console,
        f"{size(summary.bytes)} and {duration(summary.audio_seconds)} of audio"
        f" in {duration(summary.elapsed_seconds)}; {_count(summary.requests, 'request')},"
        f" {_count(summary.retries, 'retry', 'retries')},"
        f" {_count(summary.rate_limited, 'time')} rate limited",
    )
    if summary.errors:
        reasons = (f"{name} ({count})" for name, count in summary.errors.items())
        say(console, f"not exported: {', '.join(reasons)}", style="red")
    if (described := summary.metadata) is not None:
        bad = described.failed or described.cancelled
        console.print(_metadata(described), style="red" if bad else None)


def _print_trouble(console: Console, words: str, hint: str) -> None:
    say(console, words, style="red")
    if hint:
        say(console, f"hint: {hint}")


def say(console: Console, words: str, *, style: str | None = None) -> None:
    """A sentence: on a terminal broken between words, elsewhere in one line."""
    console.print(words, style=style, markup=False, soft_wrap=not console.is_terminal)


def _print_window(console: Console, window: WindowInfo) -> None:
    """What a run can vouch for of a window, or what speaks against it."""
    where = f"{window.account_id}/{window.project_id} from {window.start} to {window.end}"
    say(console, f"conversations in {where}: {equation(window)}")
    for objection in objections(window):
        say(console, f"in {where}: {objection}", style="red")


def print_preview(found: Preview, archive: str, listed: Sequence[Discovered] = ()) -> None:
    """What a run would do, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    for one in listed:
        left_out = f", {one.left_out.total()} left out" if one.left_out else ""
        console.print(f"{one.window}: {one.taken} to export{left_out}", markup=False)
    columns = "account", "project", "date", "new", "archived"
    table = _table(f"plan for the archive {archive}", *columns, numbers=("new", "archived"))
    for each in found.partitions:
        table.add_row(
            each.account_id, each.project_id, each.date, str(each.new), str(each.archived)
        )
    console.print(table)
    words = f"{_count(found.requested, 'recording')}"
    words += f" of {_count(found.conversations, 'conversation')}: "
    words += f"{found.new} to fetch, {found.archived} archived before"
    if found.refused:
        words += f", {found.refused} refused (another identifier differs by case only)"
    if found.carried_over:
        words += f"; {found.carried_over} of them pending since earlier runs"
    if found.duplicates:
        words += f"; {_count(found.duplicates, 'recording')} named again"
    console.print(words)


def print_findings(
    archive: str,
    source: str,
    tally: Tally,
    differences: Iterator[tuple[str, str, str]],
    warnings: Iterator[tuple[str | None, str, str]],
    *,
    shown: int,
    holder: Holder | None,
) -> None:
    """What `verify` found, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    if holder is not None:
        console.print(
            f"run {holder.run_id} (process {holder.pid} on {holder.host}) holds the archive:"
            " what it is working on is a warning at most",
            style="yellow",
            markup=False,
        )
    for style, rows in (("red", differences), ("yellow", warnings)):
        for path, kind, text in islice(rows, shown):
            console.print(f"{kind}: {path}: {text}", style=style, markup=False)
        if more := sum(1 for _ in rows):
            console.print(f"… and {more} more; --json tells all", style=style)
    columns = "finding", "files", "meaning"
    table = _table(f"{archive}, compared with its {source}", *columns, numbers=("files",))
    for name in ("ok", "corrupt", "missing", "unexpected", "unrecorded"):
        count = getattr(tally, name)
        row_style = "red" if count and name != "ok" else None
        table.add_row(name, str(count), _FINDING[name], style=row_style)
    if tally.not_read:
        table.add_row("not read", str(tally.not_read), "not chosen; size as recorded", style="dim")
    console.print(table)
    by_checksum = (
        f" {_count(tally.by_checksum, 'file')} by the store's checksum,"
        if tally.by_checksum
        else ""
    )
    console.print(
        f"{_count(tally.recorded, 'recording')} on record, {size(tally.bytes_read)} read back,"
        f"{by_checksum} {_count(tally.warnings, 'warning')}"
    )
    if tally.missing or tally.corrupt:
        console.print(f"hint: {_FETCH_AGAIN}", markup=False)
    if tally.unexpected or tally.unrecorded:
        console.print(f"hint: {_MOVE_AWAY}", markup=False)


def print_checks(checks: Sequence[Check]) -> None:
    """What the doctor found, on standard output: a line a check, and how to mend it."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(one.name) for one in checks)
    for one in checks:
        about = f"{one.about}: " if one.about else ""
        line = f"{one.state:<7}  {one.name:<{width}}  {about}{one.message}"
        console.print(line, style=_CHECK_STYLE[one.state], markup=False)
        if one.hint:
            console.print(f"{'':<9}{'to mend:':<{width}}  {one.hint}", markup=False)
    counts = Counter(str(one.state) for one in checks)
    words = ", ".join(f"{counts[state]} {state}" for state in _CHECK_STYLE if counts[state])
    console.print(f"{_count(len(checks), 'check')}: {words}", style="bold", markup=False)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _metadata(counts: MetadataCounts) -> str:
    """What became of the conversations' descriptions."""
    words = [f"{counts.exported} fetched", f"{counts.skipped} archived before"]
    words += [
        f"{count} {name.replace('_', ' ')}"
        for name in ("not_found", "failed", "cancelled")
        if (count := getattr(counts, name))
    ]
    return f"{_count(counts.requested, 'description')} of conversations: {', '.join(words)}"


def _expiry(summary: Summary, retention: timedelta, soon: timedelta) -> str:
    """What the vendor deletes, or has deleted, of what is not archived."""
    return (
        f"of what is not archived, the vendor, who keeps recordings for {_period(retention)},"
        f" deletes {_count(summary.expiring or 0, 'recording')} within {_period(soon)}"
        f" and has deleted {summary.expired or 0}"
    )


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table
