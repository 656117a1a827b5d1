"""A file of a folder that arrives in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofiles.threadpool import wrap

from exporter.sinks.digests import few
from exporter.sinks.filesystem import translated
from exporter.sinks.threads import in_thread, publishing, to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.model import Piece
    from exporter.sinks.filesystem import HashingFile
    from exporter.sinks.turns import Turns


class LocalUpload:
    """A file that arrives in pieces.

    Args:
        file: under its temporary name.
        final: the name that it is to get.
        publish: gives it that name, in any thread.
        discard: closes and removes it, in any thread.
        turns: in which the event loop hashes several side by side, where that is faster.
    """

    def __init__(
        self,
        file: HashingFile,
        final: Path,
        *,
        publish: Callable[[HashingFile, Path], None],
        discard: Callable[[HashingFile], None],
        turns: Turns | None,
    ) -> None:
        self._file = file
        self._turns = turns if turns is not None and turns.side_by_side else None
        self._is_under_way = self._turns is not None
        if self._turns is not None:
            file.digest = self._turns.begin()
        self._stream = wrap(file)
        self._final = final
        self._publish = publish
        self._discard = discard

    async def write(self, *parts: Piece) -> None:
        """Hash and write in one step, or side by side with others and then write."""
        with translated(self._final):
            if self._turns is None:
                joined = few(parts)
                del parts  # which may be in memory twice by now
                for part in joined:
                    await to_its_end(self._stream.write(part))
            else:
                digest = await self._turns.hashed(parts, digest=self._file.digest)
                await in_thread(self._file.append, parts, digest)

    async def commit(self) -> None:
        """Sync, then link to the final name."""
        self._end()
        await publishing(self._publish, self._file, self._final)

    async def abort(self) -> None:
        """Close and remove the temporary file."""
        self._end()
        await in_thread(self._discard, self._file)

    def _end(self) -> None:
        if self._turns is not None and self._is_under_way:
            self._is_under_way = False
            self._turns.end(self._file.digest)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        digest: str = self._file.digest.hexdigest()
        return digest
