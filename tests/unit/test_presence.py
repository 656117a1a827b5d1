"""What planning makes of the files that are there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest

from exporter.errors import DestinationAwayError, DestinationError
from exporter.ledger import Looked
from exporter.model import Archived, AudioFormat, Direction, Recording, Redaction
from exporter.presence import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.sinks.base import Sink

WAV = AudioFormat("pcm_s16le", 8000, 1, 16, 1.0)


class RottenSink:
    """Files that can be sized; one cannot be read, one is gone by the time that it is read."""

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        return [10 for _ in paths]

    async def feed(self, path: str, take: Callable[[bytes], object]) -> None:
        if path == "rotten":
            raise DestinationError("cannot read rotten: Input/output error")
        if path == "gone":
            raise FileNotFoundError(path)
        if path == "away":
            raise DestinationAwayError("cannot read away: the store does not answer")
        take(b"0123456789")


async def rechecked(*paths: str) -> list[tuple[int | None, bool]]:
    sha256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    recording = Recording("a", "p", "CA1", Direction.USER, Redaction.RAW)
    looked = [
        Looked(
            recording,
            number,
            Archived(path, 10, sha256, WAV, datetime.now(UTC), None),
            collides=False,
        )
        for number, path in enumerate(paths)
    ]
    return await on_disk(cast("Sink", RottenSink()), looked, recheck=True, stop=None)


async def test_recheck_survives_files_that_cannot_be_read() -> None:
    """Rot is what `--recheck` is for: an unreadable file counts as changed, a gone one as gone."""
    assert await rechecked("sound", "rotten", "gone") == [(10, True), (10, False), (None, True)]


async def test_recheck_blames_no_file_for_a_store_that_is_away() -> None:
    """Sound recordings are not moved aside because the store did not answer for a while."""
    with pytest.raises(DestinationAwayError):
        await rechecked("sound", "away")
