"""The reader of pages alone: any pieces, broken ends, little memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ErrorKind, FetchError
from exporter.listing import started_at_of
from exporter.page import PageReader
from tests.memory import peak_of

if TYPE_CHECKING:
    from collections.abc import Sequence


# The page reader alone.


def page_bytes(rows: Sequence[dict[str, Any]], cursor: object = None) -> bytes:
    return json.dumps({"conversations": rows, "cursor": cursor, "next_offset": 3}).encode()


def read(body: bytes, piece: int = 4096) -> Any:
    reader = PageReader("id-1")
    for start in range(0, len(body), piece):
        reader.feed(body[start : start + piece])
    return reader.close()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
rows = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=30)},
        optional={
            "channel": st.text(max_size=10) | json_values,
            "in_progress": st.booleans(),
            "turns": json_values,
            "state": st.fixed_dictionaries({"id": json_values, "channel": json_values}),
            "metrics": json_values,
        },
    ),
    max_size=5,
)


@given(rows, st.none() | st.text(min_size=1, max_size=30), st.integers(1, 50))
def test_pages_are_read_in_any_pieces(
    found: list[dict[str, Any]], cursor: str | None, piece: int
) -> None:
    """Whatever else a conversation holds, and however the bytes arrive, the same is read."""
    page = read(page_bytes(found, cursor), piece)
    assert [one.id for one in page.conversations] == [row["id"] for row in found]
    assert page.cursor == cursor
    for one, row in zip(page.conversations, found, strict=True):
        channel = row.get("channel")
        assert one.channel == (channel if isinstance(channel, str) and channel else None)
        assert one.in_progress == (row.get("in_progress") is True)


@given(rows, st.data())
def test_a_part_of_a_page_is_never_a_page(found: list[dict[str, Any]], data: st.DataObject) -> None:
    """Cut anywhere, it is refused."""
    body = page_bytes(found, "next")
    length = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(FetchError) as caught:
        read(body[:length])
    assert caught.value.kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"text"',
        b"{}",
        b'{"conversations": null}',
        b'{"conversations": {}}',
        b'{"conversations": [1]}',
        b'{"conversations": [[]]}',
        b'{"conversations": [], "cursor": 5}',
        b'{"conversations": [], "cursor": {}}',
        b'{"conversations": [], "conversations": []}',
        b'{"conversations": []} {}',
        b'{"conversations": [}',
        b"<html>",
        b"\xff\xfe",
        b'{"conversations": [], "cursor": "' + b"x" * 20_000 + b'"}',
        b"[" * 100_000,
    ],
)
def test_other_documents_are_unreadable(body: bytes) -> None:
    """What is no page is refused in words that repeat nothing of it."""
    with pytest.raises(FetchError) as caught:
        read(body)
    assert caught.value.kind is ErrorKind.UNREADABLE
    assert caught.value.correlation_id == "id-1"
    assert "x" * 100 not in caught.value.message


def test_nothing_private_is_repeated() -> None:
    """A page that breaks off in a telephone number does not put it into a message."""
    body = b'{"conversations": [{"id": "CA1", "from_number": "+15550001234" oops'
    with pytest.raises(FetchError) as caught:
        read(body)
    assert "5550001234" not in str(caught.value)


def test_a_large_page_takes_little_memory() -> None:
    """Ten times the page does not take more: transcripts are thrown away as they arrive."""

    def peak(turns: int) -> int:
        row = {"id": "CA1", "turns": [{"text": "word " * 20} for _ in range(turns)]}
        one = json.dumps(row).encode()

        def read_it() -> None:
            reader = PageReader(None)
            reader.feed(b'{"conversations": [')
            for number in range(8):
                reader.feed(b"," if number else b" ")
                for start in range(0, len(one), 65536):
                    reader.feed(one[start : start + 65536])
            reader.feed(b'], "cursor": null}')
            assert len(reader.close().conversations) == 8

        return peak_of(read_it)

    small, large = peak(2000), peak(20_000)
    assert large < small + 100_000


@pytest.mark.parametrize(
    ("body", "moment"),
    [
        (b'{"startedAt": "2026-05-21T22:14:03Z"}', datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)),
        (
            b'{"startedAt": "2026-05-21T22:14:03+02:00"}',
            datetime(2026, 5, 21, 20, 14, 3, tzinfo=UTC),
        ),
        (b'{"startedAt": null}', None),
        (b'{"startedAt": 7}', None),
        (b'{"startedAt": "0001-01-01T00:00:00Z"}', None),
        (b"{}", None),
    ],
)
def test_the_start_in_a_description(body: bytes, moment: datetime | None) -> None:
    """A description tells the start, or nothing."""
    assert started_at_of(body) == moment
