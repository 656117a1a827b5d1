"""Conversations on their way through a temporary file."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.errors import DestinationError, Location, ManifestError
from exporter.model import Conversation, Direction, Redaction
from exporter.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,20}", fullmatch=True)
moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001
    max_value=datetime(2999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))]),
)
conversations = st.builds(
    Conversation,
    account_id=st.sampled_from(["a", "b"]) | identifiers,
    project_id=st.sampled_from(["p", "q"]) | identifiers,
    conversation_id=identifiers,
    started_at=st.none() | moments,
    directions=st.none() | st.lists(st.sampled_from(Direction), min_size=1, unique=True).map(tuple),
    redaction=st.none() | st.lists(st.sampled_from(Redaction), min_size=1, unique=True).map(tuple),
    in_progress=st.booleans(),
    location=st.none() | st.just(Location("manifest.yaml", 3, 5)),
)


def numbered(count: int) -> Iterator[Conversation]:
    for number in range(count):
        yield Conversation("a", f"p{number % 3}", f"CA{number}")


@given(st.lists(conversations, max_size=20), st.integers(1, 8))
def test_what_goes_in_comes_out(read: list[Conversation], at_least: int) -> None:
    """Every conversation comes back as it was and in order; only its place is forgotten."""
    with Spool() as spool:
        spool.fill(iter(read))
        back = [one for batch in spool.batches(at_least) for one in batch.conversations]
        assert back == [replace(one, location=None) for one in read]
        assert spool.conversations == len(read)
        assert spool.projects == list(
            dict.fromkeys((one.account_id, one.project_id) for one in read)
        )


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 1000, 40_000])
def test_batches(count: int) -> None:
    """Batches are as large as asked for or a little larger, and can be read again."""
    with Spool() as spool:
        spool.fill(numbered(count))
        for _ in range(2):
            sizes = [len(batch.conversations) for batch in spool.batches(500)]
            assert sum(sizes) == spool.conversations == count
            assert all(500 <= size < 500 + 256 for size in sizes[:-1])
            assert all(sizes)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 600)), max_size=8))
def test_windows_stay_apart(parts: list[tuple[int, int]]) -> None:
    """A batch is of one window only, and each window gets back what was found in it."""
    with Spool() as spool:
        for window, count in parts:
            spool.fill(numbered(count), window=window)
        back = [(batch.window, len(batch.conversations)) for batch in spool.batches(500)]
    for window in range(4):
        assert sum(count for each, count in back if each == window) == sum(
            count for each, count in parts if each == window
        )
    assert all(count for _, count in back)


def test_a_wrong_entry_comes_out_as_it_was_raised() -> None:
    """What the manifest's reader finds wrong is not dressed up on the way."""

    def broken() -> Iterator[Conversation]:
        yield from numbered(300)
        raise ManifestError("entry 301 is wrong")

    with Spool() as spool, pytest.raises(ManifestError, match="entry 301 is wrong"):
        spool.fill(broken())


def test_a_full_disk_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for temporary files ends the run with advice, when reading and not later."""

    class FullFile:
        def write(self, data: bytes) -> int:
            return len(data)

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            self.flush()

    with Spool() as spool:
        spool._file.close()
        monkeypatch.setattr(spool, "_file", FullFile())
        with pytest.raises(DestinationError, match="No space left on device") as caught:
            spool.fill(numbered(1))
    assert "TMPDIR" in caught.value.hint
