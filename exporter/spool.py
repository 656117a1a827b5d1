"""The manifest's conversations, checked to the last, kept outside the memory until planned.

A manifest may come through a pipe, and its last line may be wrong. So it is read to its end
before the archive is touched; an unnamed temporary file holds what was read.
"""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from exporter.errors import DestinationError
from exporter.model import Conversation, Direction, Redaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_IN_MEMORY = 1024 * 1024
_LENGTH_BYTES = 4
_WRITE_BATCH = 256

_Row = tuple[
    str,
    str,
    str,
    datetime | None,
    tuple[Direction, ...] | None,
    tuple[Redaction, ...] | None,
    bool,
]


class Batch(NamedTuple):
    """Some conversations of a spool.

    Attributes:
        window: the number of the window that they were found in; 0: the manifest names them.
        conversations: in order.
    """

    window: int
    conversations: list[Conversation]


class Spool:
    """Conversations on disk: written once, read in batches.

    Attributes:
        conversations: how many were read, those named twice included.
        undated: how many of them nobody knows the start of.
        projects: (account, project) of all of them, in order of appearance.
    """

    def __init__(self) -> None:
        self.conversations = 0
        self.undated = 0
        self._projects: dict[tuple[str, str], None] = {}
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (lives on)
        self._encode = msgspec.msgpack.Encoder().encode

    def __enter__(self) -> Self:
        """Nothing to do: the file has no name and needs no care."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the disk space back."""
        with contextlib.suppress(OSError):  # a full disk: what is buffered is not wanted any more
            self._file.close()

    def fill(self, conversations: Iterable[Conversation], *, window: int = 0) -> None:
        """Read them all; what the iterable raises comes out as it is.

        Args:
            conversations: each is written as soon as some more are there.
            window: the number of the window that they were found in; 0: in none.

        Raises:
            DestinationError: there is no room for temporary files.
        """
        batch: list[_Row] = []
        for one in conversations:
            self.conversations += 1
            self.undated += one.started_at is None
            self._projects.setdefault((one.account_id, one.project_id))
            batch.append(
                (
                    one.account_id,
                    one.project_id,
                    one.conversation_id,
                    one.started_at,
                    one.directions,
                    one.redaction,
                    one.in_progress,
                )
            )
            if len(batch) == _WRITE_BATCH:
                self._write(window, batch)
                batch = []
        if batch:
            self._write(window, batch)

    @property
    def projects(self) -> list[tuple[str, str]]:
        """(account, project) of all conversations."""
        return list(self._projects)

    def _write(self, window: int, batch: list[_Row]) -> None:
        data = self._encode((window, batch))
        try:
            self._file.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
            self._file.flush()  # a full disk is told here, not when reading begins
        except OSError as error:
            raise DestinationError(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror}",
                hint="Free some space there, or point TMPDIR to another folder.",
            ) from None

    def batches(self, at_least: int) -> Iterator[Batch]:
        """All conversations in order, so many or a few more at a time, fewer at a window's end."""
        decode = msgspec.msgpack.Decoder(tuple[int, list[_Row]]).decode
        self._file.seek(0)
        batch = Batch(0, [])
        while length := self._file.read(_LENGTH_BYTES):
            window, rows = decode(self._file.read(int.from_bytes(length, "big")))
            if batch.conversations and (
                window != batch.window or len(batch.conversations) >= at_least
            ):
                yield batch
                batch = Batch(window, [])
            batch = batch._replace(window=window)
            batch.conversations.extend(Conversation(*row) for row in rows)
        if batch.conversations:
            yield batch
