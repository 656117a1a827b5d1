"""One recording as a stream of audio: the header read, what follows the audio left out."""

from __future__ import annotations

from functools import partial
from typing import IO, TYPE_CHECKING, Final

from exporter.audio import AudioPlace, WavInspector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.model import AudioFormat

_PIECE: Final = 256 * 1024  # bytes read from a file at a time


class AudioReader:
    """Reads the audio of one WAV file, and checks the file's structure on the way.

    Args:
        source: every byte of the file, as an open binary file or in pieces of any size.

    Raises:
        FetchError: the file is no whole WAV file; as `WavInspector.feed` and `.finish` do.
    """

    def __init__(self, source: Iterable[bytes] | IO[bytes]) -> None:
        self._pieces = _pieces(source)
        self._inspector = WavInspector()
        self._piece = b""
        self._at = 0  # in the piece: what stands before it was taken
        self.place = self._find()
        self._left = None if self.place.end is None else self.place.end - self.place.start

    def take(self, frames: int) -> bytes:
        """The next so many frames; fewer only at the end of the audio, which is in whole frames."""
        size = self.place.frame_bytes
        stored = self._read(frames * size)
        return stored[: len(stored) // size * size] if len(stored) % size else stored

    def finish(self) -> AudioFormat:
        """Read to the end of the file; returns what it holds, now that this is known."""
        while self._next():
            pass
        return self._inspector.finish()

    def _find(self) -> AudioPlace:
        before = 0
        while self._inspector.place is None:
            before += len(self._piece)
            if not self._next():
                self._inspector.finish()
                raise AssertionError("a whole file has audio")  # finish() has raised
        self._at = self._inspector.place.start - before
        return self._inspector.place

    def _next(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._inspector.feed(piece)
        self._piece, self._at = piece, 0
        return True

    def _read(self, size: int) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
        taken = self._piece[self._at : self._at + size]
        self._at += len(taken)
        if len(taken) < size:
            parts, missing = [taken], size - len(taken)
            while missing and self._next():
                part = self._piece[:missing]
                self._at = len(part)
                parts.append(part)
                missing -= len(part)
            taken = b"".join(parts)
        if self._left is not None:
            self._left -= len(taken)
        return taken


def _pieces(source: Iterable[bytes] | IO[bytes]) -> Iterator[bytes]:
    # An open file is an iterable too, but of lines.
    if hasattr(source, "read"):
        return iter(partial(source.read, _PIECE), b"")
    return iter(source)
