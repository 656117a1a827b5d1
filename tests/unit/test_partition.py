"""A partition's manifest: written, read back, and refused when it is not whole."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Archived, AudioFormat, Direction, Recording, Redaction
from exporter.partition import (
    NewerPartitionError,
    PartitionReader,
    UnreadablePartitionError,
    render,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Held = list[tuple[Recording, Archived]]

FOLDER = "acme/shop/2026-05-21"
NOW = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
AUDIO = AudioFormat("pcm_mulaw", 8000, 1, 8, 20.125)


def held(count: int) -> Held:
    return [
        (
            Recording("acme", "shop", f"CA{n}", Direction.AGENT, Redaction.RAW, NOW),
            Archived(f"{FOLDER}/CA{n}/agent.raw.wav", n, f"{n:064x}", AUDIO, NOW, "corr", 1),
        )
        for n in range(count)
    ]


def written(rows: Held, page: int = 2) -> bytes:
    async def pages() -> AsyncIterator[Held]:
        for start in range(0, len(rows), page):
            yield rows[start : start + page]

    async def whole() -> bytes:
        return b"".join([piece async for piece in render("acme", "shop", "2026-05-21", pages())])

    return asyncio.run(whole())


def read(document: bytes) -> Held:
    return list(PartitionReader(io.BytesIO(document), FOLDER))


def lasting(rows: Held) -> Held:
    """What a manifest tells: not when and how a recording came here."""
    return [(one, replace(file, fetched_at=None, correlation_id=None)) for one, file in rows]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_written_is_read_back(count: int) -> None:
    """Reading gives every row again, in order, and the head's fields."""
    rows = held(count)
    document = written(rows)
    assert read(document) == lasting(rows)
    assert written(rows, page=100) == document
    reader = PartitionReader(io.BytesIO(document), FOLDER)
    assert (reader.account_id, reader.project_id, reader.date) == ("acme", "shop", "2026-05-21")


@pytest.mark.parametrize("indent", [None, 4])
def test_a_manifest_that_somebody_formatted_anew_is_read(indent: int | None) -> None:
    """The same JSON in another layout says the same."""
    rows = held(3)
    assert read(json.dumps(json.loads(written(rows)), indent=indent).encode()) == lasting(rows)


@given(st.data())
def test_a_manifest_that_was_cut_is_never_read(data: st.DataObject) -> None:
    """However much is missing at the end: it is refused, never taken for a smaller partition."""
    document = written(held(3)).rstrip()
    with pytest.raises(UnreadablePartitionError):
        read(document[: data.draw(st.integers(0, len(document) - 1))])


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "acme/shop/2026-05-22/CA0/agent.raw.wav",
        f"{FOLDER}/../../../etc/passwd",
        f"{FOLDER}/./agent.raw.wav",
        f"{FOLDER}//agent.raw.wav",
        f"{FOLDER}/",
    ],
)
def test_no_manifest_speaks_of_files_elsewhere(path: str) -> None:
    """A path outside the partition makes the manifest unreadable."""
    (recording, archived), *_ = held(1)
    with pytest.raises(UnreadablePartitionError, match="elsewhere"):
        read(written([(recording, replace(archived, path=path))]))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"schema_version": 1}']
)
def test_something_else_is_no_manifest(text: bytes) -> None:
    """Empty, other JSON, no JSON: unreadable, and no traceback."""
    with pytest.raises(UnreadablePartitionError):
        read(text)


def test_a_newer_version_is_told_from_damage() -> None:
    """A manifest of the future is not "unreadable": nobody may replace it."""
    document = written(held(1)).replace(b'"schema_version": 1', b'"schema_version": 2')
    with pytest.raises(NewerPartitionError):
        read(document)
    with pytest.raises(NewerPartitionError):
        read(json.dumps(json.loads(document)).encode())
