"""Byte stream -> archive: gathered, inspected, hashed, committed; or rolled back.

A body of less than 2 MiB is gathered, and hashed and written in one thread hop. A longer one is
handed on a megabyte at a time, each hashed and written in one hop: small pieces cost five to six
times as much. What is gathered is handed over in the parts it came in: whoever needs them in one
piece, which is a copy, makes it, and nobody else holds the parts any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter.audio import WavInspector
from exporter.errors import ErrorKind, FetchError
from exporter.model import AudioFormat, Piece
from exporter.sinks.base import AlreadyExistsError
from exporter.sinks.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from exporter.sinks.base import Sink, Staged

GATHER_BYTES = 1024 * 1024
WHOLE_BYTES = 2 * GATHER_BYTES
_STAGED_MEANWHILE = 16  # small recordings that are all there, and on their way to the disk


class Written(Struct, frozen=True):
    """A committed file.

    Attributes:
        size: bytes.
        sha256: hexadecimal digest.
        audio: what the WAV header says.
        is_new: False when the content was one of those that need no file of their own.
    """

    size: int
    sha256: str
    audio: AudioFormat
    is_new: bool = True


class Writer:
    """Writes bodies into an archive.

    Args:
        sink: the archive.
        max_bytes: a longer body is refused.
    """

    def __init__(self, sink: Sink, *, max_bytes: int) -> None:
        self._sink = sink
        self._max_bytes = max_bytes
        self._staging = 0

    async def write(
        self,
        chunks: AsyncIterator[Piece],
        path: str,
        *,
        known: Collection[str] = (),
        received: Callable[[], None] = lambda: None,
    ) -> Written:
        """Write one recording; its path exists afterwards only if it is whole and verified.

        Args:
            chunks: the body.
            path: where to write it.
            known: digests of content that need not be written again.
            received: called when the last byte has come, perhaps long before all is written.

        Raises:
            FetchError: the body is no whole WAV file, or another file has that path.
            DestinationError: the archive cannot be written.
        """
        inspector = WavInspector(max_bytes=self._max_bytes)
        head = await _gather(chunks, inspector, WHOLE_BYTES)
        size = _size(head)
        if size >= WHOLE_BYTES:
            return await self._write_large(head, chunks, inspector, path, known)
        audio = inspector.finish()
        if known and (digest := await asyncio.to_thread(digest_of, head)) in known:
            return Written(size, digest, audio, is_new=False)
        staged = await self._stage(path, head, received)
        await _commit(staged)
        return Written(size, staged.sha256, audio)

    async def _stage(self, path: str, body: list[Piece], received: Callable[[], None]) -> Staged:
        """While some are written, others may be asked for; not more than memory is meant for."""
        is_early = self._staging < _STAGED_MEANWHILE
        if is_early:
            received()
        self._staging += 1
        try:
            staged = await self._sink.stage(path, *_handed_over(body))
        finally:
            self._staging -= 1
        if not is_early:
            received()
        return staged

    async def _write_large(
        self,
        head: list[Piece],
        chunks: AsyncIterator[Piece],
        inspector: WavInspector,
        path: str,
        known: Collection[str],
    ) -> Written:
        upload = await self._sink.begin(path)
        is_wanted = False
        try:
            size = 0
            parts = head
            while parts:
                size += _size(parts)
                await upload.write(*_handed_over(parts))
                parts = await _gather(chunks, inspector, GATHER_BYTES)
            audio = inspector.finish()
            is_wanted = upload.sha256 not in known
        finally:
            # Also when cancelled: nothing partial stays behind.
            if not is_wanted:
                await asyncio.shield(upload.abort())
        if is_wanted:
            await _commit(upload)
        return Written(size, upload.sha256, audio, is_new=is_wanted)


async def _commit(staged: Staged) -> None:
    is_committed = False
    try:
        await staged.commit()
        is_committed = True
    except AlreadyExistsError as error:
        _accept_same_content(error, staged.sha256)
    finally:
        # Nothing is waited for, so that nothing can be cancelled, between a file's final name and
        # the record of it.
        if not is_committed:
            await asyncio.shield(staged.abort())


async def _gather(
    chunks: AsyncIterator[Piece], inspector: WavInspector, enough: int
) -> list[Piece]:
    """The next so many bytes at least, or what is left; inspected on the way."""
    parts: list[Piece] = []
    size = 0
    async for chunk in chunks:
        inspector.feed(chunk)
        parts.append(chunk)
        size += len(chunk)
        if size >= enough:
            break
    return parts


def _size(parts: Sequence[Piece]) -> int:
    return sum(map(len, parts))


def _handed_over(parts: list[Piece]) -> tuple[Piece, ...]:
    """All of them, and none is left: many recordings wait at once, and none may do so twice."""
    taken = tuple(parts)
    parts.clear()
    return taken


def _accept_same_content(error: AlreadyExistsError, sha256: str) -> None:
    """A file that a killed run committed and did not record is taken over if it is the same."""
    if error.sha256 != sha256:
        raise FetchError(
            ErrorKind.DESTINATION_CONFLICT,
            f"{error}, is not in the ledger, and has other content;"
            " it was left as it is: move it away and run again",
        ) from None
