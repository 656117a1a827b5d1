"""Whether what is on record is there, and as it was recorded."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import structlog

from exporter.errors import DestinationAwayError, DestinationError
from exporter.pool import first_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.ledger import Looked
    from exporter.model import Archived
    from exporter.sinks.base import Sink

_HASHED_AT_ONCE = 4  # files, with --recheck

_log = structlog.get_logger()


async def on_disk(
    sink: Sink, looked: Sequence[Looked], *, recheck: bool, stop: asyncio.Event | None
) -> list[tuple[int | None, bool]]:
    """For each recording the size of its file, if any, and whether it is as it was recorded."""
    held = [one.archived for one in looked if one.archived]
    found = iter(await states(sink, held, recheck=recheck, stop=stop))
    return [next(found) if one.archived else (None, True) for one in looked]


async def states(
    sink: Sink, held: Sequence[Archived], *, recheck: bool, stop: asyncio.Event | None
) -> list[tuple[int | None, bool]]:
    """For each file on record its size, None where it is gone, and whether it is as recorded.

    Args:
        sink: the archive.
        held: what is on record.
        recheck: hash what has the recorded size; otherwise it is believed.
        stop: once set, nothing more is hashed.

    Raises:
        DestinationAwayError: the archive's storage does not answer.
    """
    sizes = list(await sink.sizes([one.path for one in held]))
    sound = [True] * len(held)
    if recheck:
        limit = asyncio.Semaphore(_HASHED_AT_ONCE)

        async def check(position: int, one: Archived) -> None:
            async with limit:
                if stop is not None and stop.is_set():
                    return
                try:
                    sound[position] = await _is_sound(sink, one)
                except FileNotFoundError:  # since its size was asked for
                    sizes[position] = None

        try:
            async with asyncio.TaskGroup() as group:
                for position, (one, size) in enumerate(zip(held, sizes, strict=True)):
                    if size == one.size:
                        group.create_task(check(position, one))
        except BaseExceptionGroup as failures:
            raise first_error(failures) from None
    return list(zip(sizes, sound, strict=True))


async def _is_sound(sink: Sink, one: Archived) -> bool:
    """Whether the file has the content that is recorded; raises if there is none."""
    try:
        return await _digest(sink, one.path) == one.sha256
    except DestinationAwayError:
        raise
    except DestinationError as error:
        # What cannot be read is not archived; rot is what this look is for.
        _log.error("recording.unreadable", path=one.own_path, reason=error.message)
        return False


async def _digest(sink: Sink, path: str) -> str:
    digest = hashlib.sha256()
    await sink.feed(path, digest.update)
    return digest.hexdigest()
