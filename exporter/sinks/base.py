"""What every sink promises.

A path is relative to the archive, with `/` between its parts. A file appears under its path whole
and all at once, or not at all; a recording's path is never overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence


class AlreadyExistsError(Exception):
    """There is a file of that name already; it was left as it is.

    Attributes:
        sha256: hexadecimal digest of the file that is there.
    """

    def __init__(self, path: str, sha256: str) -> None:
        super().__init__(f"{path} exists already")
        self.sha256 = sha256


class Upload(Protocol):
    """One file on its way into the archive, invisible under its final path until `commit`."""

    async def write(self, data: bytes | bytearray) -> None:
        """Append bytes.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def commit(self) -> None:
        """Give the file its final path; its content is on disk before the name is.

        Raises:
            AlreadyExistsError: another file has that path; nothing was changed.
            DestinationError: the archive cannot be written.
        """

    async def abort(self) -> None:
        """Remove what was written. Never raises; harmless after `commit`."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""


class Sink(Protocol):
    """An archive's storage."""

    @property
    def url(self) -> str:
        """The archive, as people name it."""

    async def prepare(self) -> None:
        """Create the archive where needed and prove that it can be written.

        Raises:
            DestinationError: it cannot.
        """

    async def put(self, path: str, data: bytes) -> None:
        """A small file in one step: same promises and errors as `begin` … `commit`."""

    async def begin(self, path: str) -> Upload:
        """Start a file that arrives in pieces.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def set_aside(self, path: str) -> str:
        """Rename a damaged file so that a sound one can take its path; returns the new path.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def make_durable(self, paths: Iterable[str]) -> None:
        """Return when the names of these committed files would survive a loss of power.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None where there is none."""

    async def replace(self, path: str, pieces: AsyncIterator[bytes]) -> None:
        """Write a document whole, in place of the one that may be there; for manifests.

        Raises:
            DestinationError: the archive cannot be written.
        """

    def read(self, path: str) -> AsyncIterator[bytes]:
        """The file's bytes in pieces.

        Raises:
            FileNotFoundError: there is none.
            DestinationError: it cannot be read.
        """
