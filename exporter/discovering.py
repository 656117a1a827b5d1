"""`exporter discover`: from the words on the command line to a manifest."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__, log
from exporter.certificate import REASONS
from exporter.credentials import Credentials
from exporter.errors import ConfigError, UsageError
from exporter.interruptible import interruptible
from exporter.job import new_run_id
from exporter.loader.entry import NO_DEFAULTS, BadValueError
from exporter.loader.query import build_query
from exporter.manifest_text import manifest
from exporter.queries import list_windows, windows_of
from exporter.settings import load_settings
from exporter.sinks.local import LocalSink
from exporter.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from exporter.discovery import Discovered
    from exporter.settings import Flag, Settings
    from exporter.window import Query

_BATCH = 1000

_log = log.get_logger()


def discover(
    *,
    texts: Mapping[str, str],
    words: Mapping[str, tuple[str, ...]],
    flag_names: Mapping[str, str],
    output: str,
    config_file: Path | None,
    flags: Sequence[Flag],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Write a manifest of what the list of conversations has.

    Args:
        texts: the query's single values, by the manifest's keys.
        words: its lists, likewise.
        flag_names: what the user calls each key.
        output: a file, or `-` for standard output.
        config_file: the config.
        flags: settings given as flags.
        environ: the environment.

    Raises:
        ExporterError: something is wrong, or the list could not be read to its end; then nothing is
            written.
    """
    if output != "-" and Path(output).is_dir():
        raise ConfigError(f"--output: found the folder {output}, expected a file name")
    query = _query(texts, words, flag_names)
    settings = load_settings(flags=flags, config_file=config_file, environ=environ)
    redactor = log.Redactor()
    log.configure(json=settings.log.format == "json", level=settings.log.level, redactor=redactor)
    with interruptible(), Spool() as spool:
        windows = windows_of([query], settings)
        credentials = Credentials(settings.credentials, environ)
        for credential in credentials.require([(query.account_id, query.project_id)]):
            redactor.add(credential.key)
        (found,) = asyncio.run(
            list_windows(windows, spool, settings, credentials, clean=redactor.text)
        )
        chunks = _chunks(spool, found)
        if output == "-":
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        else:
            asyncio.run(_write(Path(output), chunks, settings))
    _tell(found, output)


def _query(
    texts: Mapping[str, str], words: Mapping[str, tuple[str, ...]], flag_names: Mapping[str, str]
) -> Query:
    try:
        return build_query(texts, words, defaults=NO_DEFAULTS, location=None)
    except BadValueError as error:
        flag = flag_names.get(error.key, error.key)
        message = error.message.removeprefix(f"{error.key}: ")
        raise UsageError(f"{flag}: {message}", hint="See exporter discover --help.") from None


def _chunks(spool: Spool, found: Discovered) -> Iterator[bytes]:
    window = found.window
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return manifest(
        (batch.conversations for batch in spool.batches(_BATCH)),
        comments=[
            f"Written by exporter {__version__} at {now}, by the list of conversations:",
            f"{window} ({window.timezone}, {window.filters.client_env}).",
            f"{_in_words(found)}.",
        ],
        defaults=(window.account_id, window.project_id),
    )


async def _write(file: Path, chunks: Iterator[bytes], settings: Settings) -> None:
    """The whole file, or none."""

    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    sink = LocalSink(
        file.parent,
        run_id=new_run_id(),
        dir_mode=settings.output.dir_mode,
        file_mode=settings.output.file_mode,
    )
    await sink.prepare()
    await sink.replace(file.name, pieces())


def _in_words(found: Discovered) -> str:
    left_out = "".join(
        f"; {count} left out: {REASONS[reason]}" for reason, count in sorted(found.left_out.items())
    )
    return f"{found.found} found: {found.taken} listed{left_out}"


def _tell(found: Discovered, output: str) -> None:
    _log.info(
        "discover.written",
        manifest="standard output" if output == "-" else output,
        summary=_in_words(found),
    )
