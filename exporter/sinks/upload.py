"""A file of a folder that arrives in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofiles.threadpool import wrap

from exporter.sinks.filesystem import translated
from exporter.sinks.threads import in_thread, publishing, to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sinks.filesystem import HashingFile


class LocalUpload:
    """A file that arrives in pieces.

    Args:
        file: under its temporary name.
        final: the name that it is to get.
        publish: gives it that name, in any thread.
        discard: closes and removes it, in any thread.
        blocking: pieces are written by the event loop itself; see `Staging`.
    """

    def __init__(
        self,
        file: HashingFile,
        final: Path,
        *,
        publish: Callable[[HashingFile, Path], None],
        discard: Callable[[HashingFile], None],
        blocking: bool,
    ) -> None:
        self._file = file
        self._blocking = blocking
        self._stream = wrap(file)
        self._final = final
        self._publish = publish
        self._discard = discard

    async def write(self, *parts: bytes | bytearray) -> None:
        """Hash and write in one step."""
        with translated(self._final):
            if self._blocking:
                self._file.write(*parts)
            else:
                # For each part the thread would have to wait for the interpreter.
                await to_its_end(self._stream.write(b"".join(parts)))

    async def commit(self) -> None:
        """Sync, then link to the final name."""
        await publishing(self._publish, self._file, self._final)

    async def abort(self) -> None:
        """Close and remove the temporary file."""
        await in_thread(self._discard, self._file)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""
        return self._file.digest.hexdigest()
