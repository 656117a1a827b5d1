"""A partition's manifest: written, read back, and refused when it is not whole."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    KeptMetadata,
    MetadataPii,
    Recording,
    Redaction,
)
from exporter.partition import (
    NewerPartitionError,
    PartitionReader,
    UnreadablePartitionError,
    render,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    Held = list[tuple[Recording, Archived]]
    Described = Sequence[tuple[str, KeptMetadata]]

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


def written(rows: Held, page: int = 2, described: Described = ()) -> bytes:
    async def documents() -> AsyncIterator[list[tuple[str, KeptMetadata]]]:
        for start in range(0, len(described), page):
            yield list(described[start : start + page])

    async def pages() -> AsyncIterator[Held]:
        for start in range(0, len(rows), page):
            yield rows[start : start + page]

    async def whole() -> bytes:
        pieces = render("acme", "shop", "2026-05-21", pages(), documents())
        return b"".join([piece async for piece in pieces])

    return asyncio.run(whole())


def read(document: bytes) -> Held:
    return list(PartitionReader(io.BytesIO(document), FOLDER))


def descriptions(count: int) -> list[tuple[str, KeptMetadata]]:
    return [
        (
            f"CA{n}",
            KeptMetadata(
                f"{FOLDER}/CA{n}/conversation.json",
                n,
                f"{n:064x}",
                MetadataPii.DROP if n % 2 else MetadataPii.KEEP,
                is_final=n % 3 > 0,
            ),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("recordings", "count"), [(0, 1), (3, 1), (3, 5)])
@pytest.mark.parametrize("indent", [None, 4])
def test_descriptions_are_read_back_beside_the_recordings(
    recordings: int, count: int, indent: int | None
) -> None:
    """Both lists come back whole, also from a document that somebody formatted anew."""
    rows, told = held(recordings), descriptions(count)
    document = written(rows, described=told)
    if indent is not None:
        document = json.dumps(json.loads(document), indent=indent).encode()
    assert read(document) == lasting(rows)
    assert list(PartitionReader(io.BytesIO(document), FOLDER).metadata()) == told
    assert list(PartitionReader(io.BytesIO(written(rows)), FOLDER).metadata()) == []


def test_a_document_that_ends_among_its_descriptions_is_damaged() -> None:
    """Cut anywhere behind the recordings, neither list is believed."""
    document = written(held(2), described=descriptions(2))
    for end in (len(document) - 3, document.index(b'"metadata"') + 4):
        for look in (iter, PartitionReader.metadata):
            with pytest.raises(UnreadablePartitionError):
                list(look(PartitionReader(io.BytesIO(document[:end]), FOLDER)))


def test_descriptions_elsewhere_are_refused() -> None:
    """A manifest speaks of files in its own folder only."""
    ((name, kept),) = descriptions(1)
    document = written([], described=[(name, replace(kept, path="acme/other/x/conversation.json"))])
    with pytest.raises(UnreadablePartitionError, match="elsewhere"):
        list(PartitionReader(io.BytesIO(document), FOLDER).metadata())


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
