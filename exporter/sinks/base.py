"""What every sink promises.

A path is relative to the archive, with `/` between its parts. A file appears under its path whole
and all at once, or not at all; a recording's path is never overwritten. One contract test suite
holds every sink to this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from exporter.model import Piece

HOLDER_PATH: Final = "_exporter/holder.json"  # who holds the archive
STALE_AFTER: Final = 120.0  # seconds without a sign of life after which a holder counts as dead
BEAT_EVERY: Final = 15.0  # seconds between two signs of life


class AlreadyExistsError(Exception):
    """There is a file of that name already; it was left as it is.

    Attributes:
        sha256: hexadecimal digest of the file that is there.
    """

    def __init__(self, path: str, sha256: str) -> None:
        super().__init__(f"{path} exists already")
        self.sha256 = sha256


class ChangedMeanwhileError(Exception):
    """A document is not any more the one that the caller knew; it was left as it is."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a caller knows to be under a path.

    Attributes:
        tag: of the document; None: there is none.
    """

    tag: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that holds an archive.

    Attributes:
        run_id: of the run.
        host: name of its machine.
        pid: its process there.
        since: when it took hold.
    """

    run_id: str
    host: str
    pid: int
    since: datetime


class HeldError(Exception):
    """Another run holds the archive.

    Attributes:
        holder: who, as far as can be told.
        idle_seconds: since its last sign of life, None when not known.
        url: of the archive, where that is not the one that was asked.
        may_be_dead: nobody knows yet; whoever asks again for `STALE_AFTER` seconds will.
    """

    def __init__(
        self, holder: Holder | None, idle_seconds: float | None, *, may_be_dead: bool = False
    ) -> None:
        super().__init__("held by another run")
        self.holder = holder
        self.idle_seconds = idle_seconds
        self.url: str | None = None
        self.may_be_dead = may_be_dead


class LostHoldError(Exception):
    """Another run took the archive over, because this one seemed dead.

    Attributes:
        run_id: of that run; None where it has ended since.
    """

    def __init__(self, run_id: str | None) -> None:
        super().__init__(f"run {run_id} has it" if run_id else "another run had it")
        self.run_id = run_id


class Hold(Protocol):
    """This run's hold on an archive.

    Attributes:
        taken_over_from: the dead run that still seemed to hold the archive, None if there was none.
        locks: descriptors of the operating system's locks; the archive is held for as long as any
            process that inherited them lives.
    """

    @property
    def taken_over_from(self) -> Holder | None:
        """The dead run whose hold this one took over; None if the archive was free."""

    @property
    def locks(self) -> Sequence[int]:
        """To be inherited by the processes that write for this run."""

    async def beat(self) -> None:
        """Show a sign of life; due every `BEAT_EVERY` seconds.

        Raises:
            LostHoldError: the hold went to another run, beyond doubt.
            DestinationError: the archive cannot be read or written; this may pass.
        """

    async def release(self) -> None:
        """Let go. Never raises; harmless when the hold was lost."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive, whatever it is.

    Attributes:
        path: relative to the archive.
        size: bytes.
        modified: when it was last written.
    """

    path: str
    size: int
    modified: datetime


class Staged(Protocol):
    """One file on its way into the archive, invisible under its final path until `commit`."""

    async def commit(self) -> None:
        """Give the file its final path; its content is on disk before the name is.

        Once the file has its path, this returns even to a caller that was cancelled meanwhile, who
        learns of that where it waits next: nothing is in the archive that nobody could record.

        Raises:
            AlreadyExistsError: another file has that path; nothing was changed.
            DestinationError: the archive cannot be written.
        """

    async def abort(self) -> None:
        """Remove what was written. Never raises; harmless after `commit`."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes written so far."""


class Upload(Staged, Protocol):
    """One that arrives in pieces."""

    async def write(self, *parts: Piece) -> None:
        """Append bytes, in as many parts as they came in; best a megabyte or so at a time.

        Raises:
            DestinationError: the archive cannot be written.
        """


class Sink(Protocol):
    """An archive's storage."""

    @property
    def url(self) -> str:
        """The archive, as people name it."""

    @property
    def commits_at_once(self) -> int:
        """How many staged files it likes to have at once, because it commits them in groups."""

    async def prepare(self) -> None:
        """Create the archive where needed and prove that it can be written.

        Raises:
            DestinationError: it cannot.
        """

    async def free_bytes(self) -> int | None:
        """How much more fits in, None where there is no such limit.

        Raises:
            DestinationError: the archive is not there any more.
        """

    async def hold(self, holder: Holder) -> Hold:
        """Take hold of the archive, also from a run that died.

        Raises:
            HeldError: another run holds it.
            DestinationError: the archive cannot be written.
        """

    async def holder(self) -> Holder | None:
        """Who seems to hold the archive; only looks."""

    async def stage(self, path: str, *parts: Piece) -> Staged:
        """A small file, all of it, in as many parts as it came in; what is left is to commit it.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def put(self, path: str, data: bytes) -> str:
        """A small file in one step: same promises and errors as `stage` and `commit`.

        Returns:
            The hexadecimal SHA-256 of `data`, which the sink makes anyway or where it costs least.
        """

    async def begin(self, path: str) -> Upload:
        """Start a file that arrives in pieces.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def set_aside(self, path: str) -> str:
        """Rename a damaged file so that a sound one can take its path; returns the new path.

        Raises:
            FileNotFoundError: there is none.
            DestinationError: the archive cannot be written.
        """

    async def make_durable(self, paths: Iterable[str]) -> None:
        """Return when the names of these committed files would survive a loss of power.

        Raises:
            DestinationError: the archive cannot be written.
        """

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None where there is none.

        Raises:
            DestinationError: the archive cannot be read.
        """

    async def replace(
        self, path: str, pieces: AsyncIterator[bytes], *, known: Known | None = None
    ) -> str:
        """Write a document whole, in place of the one that may be there; for manifests.

        Args:
            path: of the document.
            pieces: its content.
            known: what is to be replaced, and nothing else; None: whatever is there.

        Returns:
            The document's new `tag`.

        Raises:
            ChangedMeanwhileError: something else is there.
            DestinationError: the archive cannot be written.
        """

    async def tag(self, path: str) -> str | None:
        """A word that changes whenever the document does; None when there is none.

        Raises:
            DestinationError: the archive cannot be read.
        """

    async def document(self, path: str) -> tuple[str, AsyncIterator[bytes]]:
        """A document's `tag`, and its bytes in pieces, which are at least as new.

        Raises:
            FileNotFoundError: there is none; also while it is read.
            DestinationError: it cannot be read; also while it is read.
        """

    def read(self, path: str) -> AsyncIterator[bytes]:
        """The file's bytes in pieces.

        Raises:
            FileNotFoundError: there is none.
            DestinationError: it cannot be read.
        """

    async def feed(self, path: str, into: Callable[[bytes], None]) -> None:
        """Read a whole file, calling `into` with each piece, in another thread where that helps.

        Raises:
            FileNotFoundError: there is none.
            DestinationError: it cannot be read.
            Exception: whatever `into` raises.
        """

    async def checksum(self, path: str) -> str | None:
        """The SHA-256 that the storage itself keeps of a file's content; None where it keeps none.

        Raises:
            FileNotFoundError: there is no such file.
            DestinationError: the archive cannot be read.
        """

    async def folders(self, path: str) -> list[str]:
        """Paths of the folders directly in this one, in order; none where it does not exist.

        Raises:
            DestinationError: the archive cannot be read.
        """

    def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        """Every file in a folder and below it, in batches; takes constant memory.

        Raises:
            DestinationError: the archive cannot be read.
        """

    async def sweep(self, runs: Collection[str] | None, folders: Iterable[str] | None) -> int:
        """Remove what dead runs left half written; call only while holding the archive.

        Args:
            runs: the dead runs; None for all but this sink's own.
            folders: where to look, not below them; None for the whole archive.

        Returns:
            How many files were removed.

        Raises:
            DestinationError: the archive cannot be written.
        """


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a run has not finished writing."""
    return name.startswith(".") and name.endswith((".part", ".probe"))
