"""What people see on the terminal while something goes on: progress bars.

Apart from what is told at the end, for a run without a bar need not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from exporter.progress import BAD, size

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from exporter.ledger import Totals
    from exporter.model import Outcome


class _Bar:
    """Done of total, pieces and bytes a second, time left; on standard error."""

    def __init__(self, doing: str, *columns: ProgressColumn) -> None:
        self._progress = Progress(
            TextColumn(doing),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            *columns,
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._progress.add_task("", total=None, bytes=0, failures=0)
        self._bytes = 0
        self._failures = 0

    def __enter__(self) -> Self:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave its last state on the screen."""
        self._progress.stop()

    def _begin(self, total: int) -> None:
        self._progress.reset(self._task, total=total, bytes=0, failures=0)

    def _advance(self, size: int, *, failed: bool = False) -> None:
        self._bytes += size
        self._failures += failed
        self._progress.update(self._task, advance=1, bytes=self._bytes, failures=self._failures)


class ProgressBar(_Bar):
    """Recordings fetched, and how many were not exported."""

    def __init__(self) -> None:
        super().__init__("exporting", _FailuresColumn())

    def planned(self, totals: Totals) -> None:
        """The number of recordings to fetch is known."""
        self._begin(totals.planned)

    def ended(self, outcome: Outcome) -> None:
        """One more is done."""
        self._advance(
            outcome.archived.size if outcome.archived else 0, failed=outcome.status in BAD
        )


class ReadingBar(_Bar):
    """Files read back of those to be read."""

    def __init__(self) -> None:
        super().__init__("verifying")

    def chosen(self, files: int, size: int) -> None:  # noqa: ARG002 (files are counted here)
        """The number of files to read is known."""
        self._begin(files)

    def read(self, size: int) -> None:
        """One more is done."""
        self._advance(size)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        elapsed = task.finished_time or task.elapsed
        if not elapsed:
            return Text("")
        rate = task.completed / elapsed
        return Text(f"{rate:.1f}/s {size(task.fields['bytes'] / elapsed)}/s", style="cyan")


class _FailuresColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        failures = task.fields["failures"]
        return Text(f"{failures} not exported", style="red" if failures else "dim")
