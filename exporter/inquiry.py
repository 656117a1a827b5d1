"""`exporter status`: what an archive lacks, since when, and how its latest runs ended."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from exporter import log
from exporter.archive import existing_sink
from exporter.ledger import KEPT, LedgerThread
from exporter.leftovers import ledger_of, write_failed
from exporter.settings import load_settings
from exporter.standing import lacking_of, standing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.ledger import Ledger, Missing
    from exporter.settings import Flag
    from exporter.standing import Standing

SHOWN: Final = 20


def run(
    archive: str,
    *,
    config_file: Path | None,
    flags: Sequence[Flag],
    everything: bool,
    failed_manifest: str | None,
    as_json: bool,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Tell the state of an archive on standard output; writes nothing into it.

    Args:
        archive: the archive.
        config_file: says how to reach an object store.
        flags: as given.
        everything: tell every missing recording, not only those missing longest.
        failed_manifest: write what failed there, as a manifest, and tell nothing else if that is
            standard output.
        as_json: for programs.
        environ: the environment.

    Raises:
        UsageError: there is no such archive, or it has no ledger there.
        DestinationError: the ledger cannot be read, or the file not be written.
    """
    log.configure(json=False, level="error", redactor=log.Redactor())
    settings = load_settings(flags=flags, config_file=config_file, environ=environ)
    sink = existing_sink(archive, settings.object_store)
    holder = asyncio.run(sink.holder())
    with ledger_of(archive, settings.output.state_dir, settings.object_store) as ledger:
        if failed_manifest is not None:
            written = asyncio.run(_write_failed(ledger, failed_manifest))
            sys.stderr.write(_about(written, failed_manifest))
            if failed_manifest == "-":
                return
        standing = standing_of(archive, holder, ledger)
        rows = ledger.missing(KEPT, -1 if everything else SHOWN)
        if as_json:
            _print_json(standing, rows)
        else:
            _print(standing, rows)


async def _write_failed(ledger: Ledger, file: str) -> int:
    async with LedgerThread() as thread:
        return await write_failed(ledger, thread, file)


def _about(written: int, file: str) -> str:
    if not written:
        what = "the manifest is empty" if file == "-" else "no manifest was written"
        return f"nothing failed: {what}\n"
    name = "standard output" if file == "-" else file
    return f"{written} failed recordings written to {name}\n"


def _print_json(standing: Standing, rows: Iterator[list[Missing]]) -> None:
    encode = msgspec.json.Encoder().encode
    out = sys.stdout.buffer
    out.write(encode(standing).removesuffix(b"}") + b',\n"missing": [')
    separator = b"\n"
    for page in rows:
        for one in page:
            out.write(separator + encode(lacking_of(one)))
            separator = b",\n"
    out.write(b"\n]}\n")
    out.flush()


def _print(standing: Standing, rows: Iterator[list[Missing]]) -> None:
    from exporter.overview import print_standing  # noqa: PLC0415 (rich is slow to import)

    print_standing(standing, (lacking_of(one) for page in rows for one in page))
