"""`exporter verify`: from the words on the command line to findings that people can read."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from exporter import log
from exporter.address import is_store
from exporter.archive import existing_sink, read_ledger
from exporter.errors import UsageError
from exporter.findings import Findings
from exporter.ledger import LedgerThread
from exporter.raw_archive import Note, read_note
from exporter.settings import ObjectStoreSettings, load_settings
from exporter.verify import NullWatcher, Scope, Verified, Watcher, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.differences import Tally
    from exporter.settings import Flag

DIFFERENT: Final = 6
_REQUESTS: Final = 16  # to an object store at a time
_SHOWN: Final = 50  # differences that people read; --json has them all
_AGO: Final = re.compile(r"-?(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(
    archive: str,
    *,
    sample: str | None,
    since: str | None,
    concurrency: int | None,
    progress: bool | None,
    as_json: bool,
    quick: bool = False,
    config_file: Path | None = None,
    flags: Sequence[Flag] = (),
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Read an archive back; returns the exit code.

    Raises:
        UsageError: there is no such archive, or a flag or setting is wrong.
        DestinationError: the archive cannot be read.
    """
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"--concurrency: found {concurrency}, expected a number of at least 1")
    scope = replace(parse_scope(sample, since), quick=quick)
    settings = load_settings(flags=flags, config_file=config_file, environ=environ)
    log.configure(json=False, level="error", redactor=log.Redactor())
    show = sys.stderr.isatty() if progress is None else progress
    findings = Findings()
    try:
        with _watcher(show=show) as watcher:
            verified = asyncio.run(
                check(
                    archive,
                    findings,
                    scope,
                    state_dir=settings.output.state_dir,
                    store=settings.object_store,
                    concurrency=concurrency,
                    watcher=watcher,
                )
            )
            reader = existing_sink(archive, settings.object_store)
            note = asyncio.run(read_note(reader)) or Note()
        tally = findings.tally()
        if as_json:
            _print_json(archive, findings, tally, verified, note)
        else:
            _print(archive, findings, tally, verified, note)
    finally:
        findings.close()
    return DIFFERENT if tally.differences else 0


async def check(
    archive: str,
    findings: Findings,
    scope: Scope,
    *,
    state_dir: Path | None = None,
    store: ObjectStoreSettings | None = None,
    concurrency: int | None = None,
    watcher: Watcher | None = None,
) -> Verified:
    """Verify an archive into `findings`.

    Raises:
        UsageError: there is no such archive.
        DestinationError: it cannot be read.
    """
    store = store or ObjectStoreSettings()
    sink = existing_sink(archive, store)
    if concurrency is None:
        # Hashing keeps a core busy each, and one more reads ahead; a store is waited for.
        concurrency = _REQUESTS if is_store(archive) else (os.cpu_count() or 1) + 1
    async with LedgerThread() as thread:
        return await verify(
            sink,
            lambda: read_ledger(archive, state_dir, store),
            thread,
            findings,
            scope=scope,
            concurrency=concurrency,
            watcher=watcher or NullWatcher(),
        )


def parse_scope(sample: str | None, since: str | None) -> Scope:
    """From `100` or `5%`, and `2026-05-20`, `2026-05-20T08:00Z`, `24h` or `7d`.

    Raises:
        UsageError: it is something else.
    """
    count = percent = None
    if sample is not None:
        try:
            if sample.endswith("%"):
                percent = float(sample[:-1])
            else:
                count = int(sample)
        except ValueError:
            count = -1
        if (count or 0) < 0 or not 0 <= (percent or 0) <= 100:  # noqa: PLR2004 (percent)
            raise UsageError(f"--sample: found {sample!r}, expected a number, or a share as 5%")
    return Scope(count, percent, _since(since) if since is not None else None)


def _since(text: str) -> datetime:
    if match := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since: found {text!r}, expected a date, a time, or how long ago, such as 24h or 7d"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@contextmanager
def _watcher(*, show: bool) -> Iterator[Watcher]:
    if not show:
        yield NullWatcher()
        return
    from exporter.bars import ReadingBar  # noqa: PLC0415 (rich is slow to import)

    with ReadingBar() as bar:
        yield bar


def _source(verified: Verified) -> str:
    return "ledger" if verified.with_ledger else "partition manifests"


def _print_json(
    archive: str, findings: Findings, tally: Tally, verified: Verified, note: Note
) -> None:
    encode = msgspec.json.Encoder().encode
    out = sys.stdout.buffer
    head = {
        "schema_version": 1,
        "archive": archive,
        "source": _source(verified),
        "held_by": asdict(verified.holder) if verified.holder else None,
        "raw_archives": [one.url for one in note.raw_archives],
        "holds_raw_of": note.holds_raw_of or None,
    }
    out.write(encode(head | {"summary": tally}).removesuffix(b"}"))
    for name, word, rows in (
        ("differences", "status", findings.differences()),
        ("warnings", "kind", findings.warnings()),
    ):
        out.write(b',\n"%s": [' % name.encode())
        separator = b"\n"
        for path, kind, text in rows:
            key = "reason" if word == "status" else "message"
            out.write(separator + encode({word: kind, "path": path, key: text}))
            separator = b",\n"
        out.write(b"]")
    out.write(b"}\n")
    out.flush()


def _print(archive: str, findings: Findings, tally: Tally, verified: Verified, note: Note) -> None:
    from exporter.progress import print_findings  # noqa: PLC0415 (rich is slow to import)

    print_findings(
        archive,
        _source(verified),
        tally,
        findings.differences(),
        findings.warnings(),
        shown=_SHOWN,
        holder=verified.holder,
    )
    for one in note.raw_archives:
        sys.stdout.write(
            f"raw recordings of this archive lie in {one.url}, which is verified by itself\n"
        )
    if note.holds_raw_of:
        sys.stdout.write(f"this archive holds raw recordings of {note.holds_raw_of}\n")
