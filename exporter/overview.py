"""The state of an archive, for people: what it lacks, since when, and how its runs ended."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from exporter.ledger import KEPT
from exporter.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.standing import Group, Lacking, Run, Standing

_WIDE = 250


def print_standing(standing: Standing, lacking: Iterable[Lacking]) -> None:
    """On standard output; `lacking` are those that are to be told one by one."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE  # programs and files have no margin
    console.print(_head(standing), style="bold", markup=False)
    if standing.groups:
        console.print(_groups(standing.groups))
        total = sum(group.count for group in standing.groups)
        told = _rows(lacking)
        console.print(told)
        if more := total - told.row_count:
            console.print(f"… and {more} more; --all tells all, --json for programs", style="dim")
    if standing.runs:
        console.print(_runs(standing.runs))


def _head(standing: Standing) -> str:
    numbers = ", ".join(
        f"{getattr(standing, name)} {name.replace('_', ' ')}"
        for name in KEPT
        if getattr(standing, name)
    )
    count = standing.archived
    head = f"{standing.archive}: {count} recording{'' if count == 1 else 's'} archived; "
    if numbers:
        head += f"missing: {numbers}"
    elif standing.not_reached:
        head += "no failure is on record"
    else:
        head += "nothing is missing that the latest run was asked for"
    head += _not_reached(standing)
    left = standing.undescribed
    if left.waiting or left.failed or left.not_found:
        head += (
            f"\ndescriptions of conversations: {left.waiting} to be asked for again by the next run"
            f" with export.metadata, {left.failed} failed, {left.not_found} not found;"
            f" since {_moment(left.since)}"
        )
    if (held := standing.held_by) is not None:
        head += (
            f"\nheld by run {held.run_id} (process {held.pid} on {held.host})"
            f" since {_moment(held.since)}"
        )
    return head


def _not_reached(standing: Standing) -> str:
    """What the latest run was asked for besides, and what to do about it."""
    number = standing.not_reached
    if not number:
        return ""
    recordings = f"{number} recording{'' if number == 1 else 's'}"
    latest = standing.runs[0].run_id
    if standing.held_by is not None and standing.held_by.run_id == latest:
        return f"\n{recordings} still to come in the run that goes on"
    return (
        f"\n{recordings} not reached: run {latest} ended before it came to them;"
        " run its manifest again"
    )


def _groups(groups: list[Group]) -> Table:
    table = _table("what is missing")
    for name in ("account", "project", "status", "error", "recordings", "since", "oldest call"):
        table.add_column(name, justify="right" if name == "recordings" else "left")
    for group in groups:
        status = group.status
        table.add_row(
            group.account_id,
            group.project_id,
            _words(status),
            _words(group.kind),
            str(group.count),
            _moment(group.since),
            _moment(group.oldest_started_at),
            style="red" if status is Status.FAILED else None,
        )
    return table


def _rows(lacking: Iterable[Lacking]) -> Table:
    table = _table("missing longest")
    for name in ("since", "runs", "status", "recording", "call", "error"):
        table.add_column(name)
    for one in lacking:
        message = one.error.message if one.error else ""
        name = f"{one.account_id}/{one.project_id}/{one.conversation_id}"
        table.add_row(
            _moment(one.since),
            str(one.runs),
            _words(one.status),
            f"{name} {one.direction}.{one.redaction}",
            _moment(one.started_at),
            message,
            style="red" if one.status is Status.FAILED else None,
        )
    return table


def _runs(runs: list[Run]) -> Table:
    table = _table("latest runs")
    for name in ("run", "started", "finished", "status", "exit code"):
        table.add_column(name)
    for run in runs:
        code = run.exit_code
        table.add_row(
            run.run_id,
            _moment(run.started_at),
            _moment(run.finished_at),
            run.status or "has not ended",
            "" if code is None else str(code),
            style="red" if code else None,
        )
    return table


def _words(name: str | None) -> str:
    return (name or "").replace("_", " ")


def _moment(text: str | None) -> str:
    """To the minute, in UTC."""
    if text is None:
        return ""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}Z"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None)
