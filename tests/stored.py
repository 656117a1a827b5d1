"""Sinks on a store, through a proxy that makes trouble."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.address import store_address
from exporter.sinks import object_store, object_upload
from exporter.sinks.base import Holder
from exporter.sinks.object_store import ObjectStoreSink
from exporter.sinks.store_options import StoreOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.object_stores import Bucket
    from tests.store_proxy import Fault, Proxy, Request

    Open = Callable[..., ObjectStoreSink]

RUN = "20260101T000000Z-0001"
FOLDER = "acme/shop/2026-01-01"
PATH = f"{FOLDER}/CA1/combined.redacted.wav"
SOON = timedelta(seconds=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME = Holder(RUN, "here", 1, NOW)
LARGE = 6 * 1024 * 1024
PART = 5 * 1024 * 1024  # the least that S3 takes


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as large is small here, for speed; the numbers alone are other ones."""
    monkeypatch.setattr(object_upload, "LARGE", LARGE)
    monkeypatch.setattr(object_store, "LARGE", LARGE)
    monkeypatch.setattr(object_upload, "PART", PART)


@pytest.fixture
def open_sink(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the archive of one bucket, with further options."""
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)

    def open_it(url: str = bucket.url, **options: Any) -> ObjectStoreSink:
        address = store_address(url)
        assert address is not None
        return ObjectStoreSink(address, StoreOptions(**options), run_id=RUN)

    return open_it


@pytest.fixture
def sink(open_sink: Open) -> ObjectStoreSink:
    return open_sink()


@pytest.fixture
def through(open_sink: Open, proxy: Proxy) -> ObjectStoreSink:
    """The same archive, through the proxy."""
    return open_sink(endpoint=proxy.url, retry_timeout=SOON)


def first(count: int, fault: Fault, method: str = "PUT") -> Callable[[Request], Fault | None]:
    """So many requests of a kind meet the fault."""
    left = [None] * count

    def decide(request: Request) -> Fault | None:
        if request.method == method and left:
            left.pop()
            return fault
        return None

    return decide


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def large() -> bytes:
    return hashlib.shake_128(b"large").digest(LARGE + 1000)


async def upload(sink: ObjectStoreSink, body: bytes, path: str = PATH) -> None:
    begun = await sink.begin(path)
    try:
        for start in range(0, len(body), 1024 * 1024):
            await begun.write(body[start : start + 1024 * 1024])
        await begun.commit()
    finally:
        await begun.abort()
