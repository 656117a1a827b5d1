"""What an archive's ledger still misses, as conversations to ask for and as a manifest to keep."""

from __future__ import annotations

import contextlib
import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from exporter.archive import read_ledger
from exporter.errors import UsageError
from exporter.model import Conversation, Redaction, Status
from exporter.plan import entries
from exporter.results import timestamp
from exporter.sinks.local import LocalSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime

    from exporter.ledger import Ledger, LedgerThread, Missing
    from exporter.settings import ObjectStoreSettings

RETRY: Final = "<pending and failed>"
"""Stands in results for the manifest that such a run has not got."""

STANDARD_OUTPUT: Final = "-"
_PAGE: Final = 1000
_HEAD: Final = b"# What failed in an archive of exporter; `exporter run` takes it.\nversion: 1\n"


@contextlib.contextmanager
def ledger_of(url: str, state_dir: Path | None, store: ObjectStoreSettings) -> Iterator[Ledger]:
    """An archive's ledger for looking up only.

    Raises:
        UsageError: there is none.
        DestinationError: it cannot be read.
    """
    ledger = read_ledger(url, state_dir, store)
    if ledger is None:
        raise UsageError(
            f"there is no ledger of the archive {url}",
            hint="Name the folder of an archive that a run wrote, and the folder of its ledger"
            " (--state-dir) if the runs did.",
        )
    with contextlib.closing(ledger):
        yield ledger


def left_over(
    ledger: Ledger, *, never_raw: Callable[[str, str], bool], fresh: datetime
) -> Iterator[Conversation]:
    """What is pending or failed, one recording an entry.

    Args:
        ledger: knows it.
        never_raw: of which (account, project) no raw recordings.
        fresh: a call found in progress after this moment is believed to be so still.
    """
    for page in ledger.missing((Status.PENDING, Status.FAILED)):
        for one in page:
            wanted = one.recording
            project = wanted.account_id, wanted.project_id
            if wanted.redaction is not Redaction.RAW or not never_raw(*project):
                yield _conversation(one, fresh)


def _conversation(one: Missing, fresh: datetime) -> Conversation:
    recording = one.recording
    return Conversation(
        recording.account_id,
        recording.project_id,
        recording.conversation_id,
        recording.started_at,
        (recording.direction,),
        (recording.redaction,),
        recording.in_progress and one.since > fresh,
    )


async def write_failed(ledger: Ledger, thread: LedgerThread, file: str) -> int:
    """Write what failed as a manifest that `run` takes: whole, or not at all.

    Args:
        ledger: knows it.
        thread: of the ledger.
        file: `.yaml` or `.jsonl`; `-` is standard output, as YAML.

    Returns:
        How many recordings it names; if there are none, no file is written, and to standard output
        a manifest without entries: who reads it from a pipe has nothing to do, and no error.

    Raises:
        UsageError: another ending.
        DestinationError: the file or the ledger cannot be written.
    """
    ending = Path(file).suffix.lower()
    if file != STANDARD_OUTPUT and ending not in {".yaml", ".yml", ".jsonl", ".ndjson"}:
        raise UsageError(
            f"--failed-manifest: found {file!r}, expected a file that ends in .yaml or .jsonl, or -"
        )
    as_lines = ending in {".jsonl", ".ndjson"}
    pages = _failed(ledger)
    first = await thread.run(next, pages, None)
    if first is None and file != STANDARD_OUTPUT:
        return 0
    count = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal count
        if not as_lines:
            yield _HEAD + (b"conversations:\n" if first else b"conversations: []\n")
        page: list[Conversation] | None = first
        while page:
            count += sum(len(one.directions or ()) * len(one.redaction or ()) for one in page)
            yield b"".join(_line(one, as_lines=as_lines) for one in page)
            page = await thread.run(next, pages, None)

    if file == STANDARD_OUTPUT:
        async for piece in pieces():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    else:
        path = Path(file)
        sink = LocalSink(path.parent, run_id="status", dir_mode=0o700, file_mode=0o600)
        await sink.replace(path.name, pieces())
    return count


def _failed(ledger: Ledger) -> Iterator[list[Conversation]]:
    """Pages of entries that name what failed."""
    named = chain.from_iterable(map(entries, ledger.missing_by_conversation(Status.FAILED)))
    while page := list(islice(named, _PAGE)):
        yield page


def _line(one: Conversation, *, as_lines: bool) -> bytes:
    entry: dict[str, object] = {
        "id": one.conversation_id,
        "account_id": one.account_id,
        "project_id": one.project_id,
        "directions": one.directions,
        "redaction": one.redaction,
    }
    if one.started_at is not None:
        entry["started_at"] = timestamp(one.started_at)
    # JSON is YAML, and the loader reads entries one at a time.
    return (b"" if as_lines else b"- ") + msgspec.json.encode(entry) + b"\n"
