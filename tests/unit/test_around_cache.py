"""Long files are written around the system's cache where they can be, and are the same files."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.sinks import whole_sync
from exporter.sinks.filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.model import Piece

SECTOR = 4096
DIRECT: int = getattr(os, "O_DIRECT", 0)


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT)


def in_pages(content: bytes) -> memoryview:
    """The same, at the beginning of a page."""
    block = mmap.mmap(-1, max(len(content), 1))
    block[: len(content)] = content
    return memoryview(block)[: len(content)]


@pytest.fixture
def begun(tmp_path: Path) -> tuple[FileSystem, int]:
    """A file that is written around the cache; on file systems that can do so."""
    system = FileSystem()
    descriptor = system.create(tmp_path / "new", 0o600)
    if not whole_sync.is_disk(descriptor):
        os.close(descriptor)
        pytest.skip("the folder for temporary files is on no disk that is written to directly")
    system.go_around_cache(descriptor)
    return system, descriptor


def test_parts_of_whole_sectors_go_around(tmp_path: Path, begun: tuple[FileSystem, int]) -> None:
    """Until the last part, which ends anywhere: its rest does not, nor would what followed."""
    system, descriptor = begun
    parts = [os.urandom(256 * SECTOR), os.urandom(256 * SECTOR), os.urandom(3 * SECTOR + 7)]
    for part in parts[:2]:
        system.write(descriptor, in_pages(part))
        assert is_direct(descriptor)
    system.write(descriptor, in_pages(parts[2]), b"more")
    assert not is_direct(descriptor)
    system.write(descriptor, b"and more")
    os.close(descriptor)
    assert (tmp_path / "new").read_bytes() == b"".join(parts) + b"more" + b"and more"


def test_a_descriptor_that_is_used_again_is_another_file(
    tmp_path: Path, begun: tuple[FileSystem, int]
) -> None:
    """What was agreed about a file that was closed does not hold for the next with its number."""
    system, descriptor = begun
    os.close(descriptor)
    assert system.create(tmp_path / "next", 0o600) == descriptor
    system.write(descriptor, in_pages(bytes(SECTOR)))
    assert not is_direct(descriptor)
    os.close(descriptor)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    writes=st.lists(
        st.lists(
            st.tuples(
                st.one_of(st.integers(0, 3 * SECTOR), st.sampled_from([0, SECTOR, 8 * SECTOR])),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
        max_size=5,
    ),
    seed=st.binary(min_size=1, max_size=8),
)
def test_the_file_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[list[tuple[int, bool]]],
    seed: bytes,
) -> None:
    """In whatever lengths, wherever they lie in memory."""
    file = tmp_path_factory.mktemp("written", numbered=True) / "new"
    system = FileSystem()
    descriptor = system.create(file, 0o600)
    system.go_around_cache(descriptor)
    wanted = b""
    for parts in writes:
        given_parts: list[Piece] = []
        for number, (size, at_a_page) in enumerate(parts):
            content = ((seed + bytes([number])) * (size // len(seed) + 1))[:size]
            wanted += content
            given_parts.append(in_pages(content) if at_a_page else bytearray(content))
        system.write(descriptor, *given_parts)
    os.close(descriptor)
    assert file.read_bytes() == wanted


@pytest.mark.parametrize("most", [SECTOR, 5 * SECTOR, 9 * SECTOR])
def test_a_write_that_is_cut_short_goes_on(
    tmp_path: Path, begun: tuple[FileSystem, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system call may write less than it was given; nothing is left out, nothing comes twice."""
    system, descriptor = begun
    parts = [os.urandom(4 * SECTOR), os.urandom(4 * SECTOR + 5)]
    writev = os.writev

    def writes_less(number: int, buffers: Sequence[Piece]) -> int:
        whole = b"".join(buffers)[:most]
        return writev(number, [in_pages(whole)])

    monkeypatch.setattr(os, "writev", writes_less)
    system.write(descriptor, *map(in_pages, parts))
    os.close(descriptor)
    assert (tmp_path / "new").read_bytes() == b"".join(parts)


def test_a_full_disk_is_told(
    begun: tuple[FileSystem, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that this memory or length cannot be written so is a reason to write it otherwise."""
    system, descriptor = begun

    def full(_descriptor: int, _buffers: Sequence[Piece]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError, match="No space"):
        system.write(descriptor, in_pages(bytes(SECTOR)))
    os.close(descriptor)
