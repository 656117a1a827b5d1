"""Memory of parts: never given to two at once, and used again when nobody has it any more."""

from __future__ import annotations

import gc
import mmap
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.connections.blocks import BLOCK_BYTES, Blocks

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 48


def block_of(part: memoryview) -> mmap.mmap:
    block = part.obj
    assert isinstance(block, mmap.mmap)
    return block


def test_memory_that_nobody_has_is_used_again() -> None:
    """A part that was forgotten makes room for the next one, which is as long as was asked for."""
    blocks = Blocks()
    first = blocks.take(BLOCK_BYTES)
    memory = id(block_of(first))
    del first
    second = blocks.take(1000)
    assert id(block_of(second)) == memory
    assert len(second) == 1000


@pytest.mark.parametrize(
    "kept",
    [
        lambda part: part,
        lambda part: part[10:20],
        memoryview,
        lambda part: part.cast("B"),
        lambda part: [part[1:]],
        lambda part: lambda: part,
    ],
)
def test_memory_that_somebody_has_is_not(kept: Callable[[memoryview], object]) -> None:
    """However it is referred to: as a whole, a slice, in a list, by a function."""
    blocks = Blocks()
    part = blocks.take(BLOCK_BYTES)
    memory = id(block_of(part))
    holder = kept(part)
    del part
    other = blocks.take(BLOCK_BYTES)
    assert id(block_of(other)) != memory
    del holder, other
    gc.collect()
    assert {id(block_of(each)) for each in (blocks.take(1), blocks.take(1))} >= {memory}


@given(steps=st.lists(st.one_of(st.integers(1, 4096), st.none()), max_size=300))
def test_no_two_have_the_same(steps: list[int | None]) -> None:
    """In any order of taking and forgetting, what was written to each part is still in it."""
    blocks = Blocks()
    held: list[tuple[memoryview, bytes]] = []
    for number, step in enumerate(steps):
        if step is None:
            del held[: len(held) // 2]
            continue
        part = blocks.take(step)
        content = number.to_bytes(4) * (step // 4 + 1)
        part[:] = content[:step]
        held.append((part, content[:step]))
    assert all(part == content for part, content in held)


def test_what_is_kept_does_not_grow() -> None:
    """However many had parts at once, memory is kept for so many as may have them soon again."""
    blocks = Blocks()
    parts = [blocks.take(1) for _ in range(2 * KEPT)]
    memory = [id(block_of(part)) for part in parts]
    assert len(set(memory)) == 2 * KEPT
    assert len(blocks._kept) == KEPT
