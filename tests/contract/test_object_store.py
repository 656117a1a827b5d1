"""An archive in an object store, against real servers that fail on request."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.sinks import object_store, store_listing
from exporter.sinks.base import AlreadyExistsError
from tests.stored import (
    FOLDER,
    ME,
    PATH,
    large,
    pieces,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sinks.object_store import ObjectStoreSink
    from tests.object_stores import Bucket
    from tests.store_proxy import Proxy

    Open = Callable[..., ObjectStoreSink]

pytestmark = pytest.mark.usefixtures("smaller")


# What is stored, and how.


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_recording_is_stored_with_its_checksum(
    sink: ObjectStoreSink, bucket: Bucket, *, in_pieces: bool
) -> None:
    """Amazon's client sees audio, the SHA-256 that the store verified, and the same as metadata."""
    body = b"sound" * 1000
    await (upload(sink, body) if in_pieces else sink.put(PATH, body))
    head = bucket.head(PATH)
    digest = hashlib.sha256(body)
    assert head["ContentType"] == "audio/wav"
    assert head["ChecksumSHA256"] == base64.b64encode(digest.digest()).decode()
    assert head["Metadata"] == {"sha256": digest.hexdigest()}
    assert await sink.checksum(PATH) == digest.hexdigest()


async def test_a_large_recording_goes_in_parts_and_is_invisible_until_whole(
    open_sink: Open, bucket: Bucket
) -> None:
    """While it is sent only parts are there; then the whole, of the right type and with tags."""
    sink = open_sink(tags={"team": "voice"})
    body = large()
    begun = await sink.begin(PATH)
    await begun.write(body)
    assert await sink.sizes([PATH]) == [None]
    assert bucket.parts() == [f"calls/{PATH}"]
    await begun.commit()
    await begun.abort()
    assert begun.sha256 == hashlib.sha256(body).hexdigest()
    assert hashlib.sha256(bucket.content(PATH)).hexdigest() == begun.sha256
    assert bucket.head(PATH)["ContentType"] == "audio/wav"
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=f"calls/{PATH}")["TagSet"]
    assert tags == [{"Key": "team", "Value": "voice"}]
    assert bucket.parts() == []
    assert await sink.checksum(PATH) is None


async def test_a_large_recording_that_breaks_off_leaves_no_parts(
    sink: ObjectStoreSink, bucket: Bucket
) -> None:
    """The store forgets the parts of what is rolled back."""
    begun = await sink.begin(PATH)
    await begun.write(large())
    await begun.abort()
    await begun.abort()
    assert (bucket.parts(), bucket.names()) == ([], [])


async def test_a_large_recording_overwrites_nothing(sink: ObjectStoreSink, bucket: Bucket) -> None:
    """A taken name is refused before the parts are put together, and they are forgotten."""
    await sink.put(PATH, b"first")
    with pytest.raises(AlreadyExistsError) as caught:
        await upload(sink, large())
    assert caught.value.sha256 == hashlib.sha256(b"first").hexdigest()
    assert (bucket.content(PATH), bucket.parts()) == (b"first", [])


async def test_a_large_document_is_replaced_in_parts(sink: ObjectStoreSink, bucket: Bucket) -> None:
    """Results of any size are written, and are JSON to whoever looks."""
    body = large()
    tag = await sink.replace("results.json", pieces(body[:100], body[100:-100], body[-100:]))
    assert tag == await sink.tag("results.json")
    assert bucket.content("results.json") == body
    assert bucket.head("results.json")["ContentType"] == "application/json"


async def test_what_the_settings_ask_for_is_asked_of_the_store(
    open_sink: Open, new_bucket: Callable[..., Bucket]
) -> None:
    """Tags, storage class and object lock are on recordings of any size, not on documents."""
    bucket = new_bucket(ObjectLockEnabledForBucket=True)
    sink = open_sink(
        bucket.url,
        tags={"team": "voice", "cost centre": "a b"},
        storage_class="STANDARD_IA",
        lock_mode="GOVERNANCE",
        lock_for=timedelta(days=30),
    )
    await sink.prepare()
    await sink.put(PATH, b"sound")
    other = PATH.replace("CA1", "CA2")
    await upload(sink, large(), other)
    await sink.replace(f"{FOLDER}/manifest.json", pieces(b"{}"))
    for path in (PATH, other):
        head = bucket.head(path)
        assert head["StorageClass"] == "STANDARD_IA"
        assert head["ObjectLockMode"] == "GOVERNANCE"
        assert head["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=29)
        assert head["TagCount"] == 2
    document = bucket.head(f"{FOLDER}/manifest.json")
    assert not {"StorageClass", "ObjectLockMode", "TagCount"} & set(document)


async def test_a_bucket_that_locks_by_itself_can_be_written(
    open_sink: Open, new_bucket: Callable[..., Bucket]
) -> None:
    """With a default retention every version stays; manifests and the hold are still replaced."""
    bucket = new_bucket(ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    bucket.client.put_object_lock_configuration(
        Bucket=bucket.name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    sink = open_sink(bucket.url)
    await sink.prepare()
    hold = await sink.hold(ME)
    await hold.beat()
    await sink.put(PATH, b"sound")
    await sink.replace(f"{FOLDER}/manifest.json", pieces(b"1"))
    await sink.replace(f"{FOLDER}/manifest.json", pieces(b"2"))
    await hold.release()
    assert bucket.content(f"{FOLDER}/manifest.json") == b"2"
    assert "ObjectLockRetainUntilDate" in bucket.head(PATH)


async def test_many_sizes_take_one_listing(
    through: ObjectStoreSink, sink: ObjectStoreSink, proxy: Proxy
) -> None:
    """A folder of which many recordings are asked for is listed once, and again after a write."""
    paths = [f"{FOLDER}/CA{number}/user.raw.wav" for number in range(25)]
    for path in paths:
        await sink.put(path, b"sound")
    assert await through.sizes(paths) == [5] * 25
    assert await through.sizes([*paths, f"{FOLDER}/CA99/user.raw.wav"]) == [*[5] * 25, None]
    # What a listing does not tell is asked for: not every store lists in the order of names.
    assert [each.method for each in proxy.requests] == ["GET", "GET", "HEAD"]
    await through.put(f"{FOLDER}/CA99/user.raw.wav", b"more")
    assert await through.sizes([f"{FOLDER}/CA99/user.raw.wav"]) == [4]


async def test_sizes_in_many_partitions_take_one_listing(
    through: ObjectStoreSink, sink: ObjectStoreSink, proxy: Proxy
) -> None:
    """A little of each of many partitions is listed together, wherever else the archive goes on."""
    paths = [f"acme/shop/2026-01-{day:02}/CA1/user.raw.wav" for day in range(1, 31)]
    for path in ["acme/other/x", *paths, "acme/shop/2026-02-01/CA1/user.raw.wav"]:
        await sink.put(path, b"sound")
    assert await through.sizes(paths[::-1]) == [5] * 30
    assert [each.query.get("prefix") for each in proxy.requests] == [["calls/acme/shop/"]]


async def test_a_large_partition_is_listed_once_in_whatever_order_it_is_asked_for(
    through: ObjectStoreSink, sink: ObjectStoreSink, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a listing tells little of what is wanted, the partition is listed and remembered."""
    monkeypatch.setattr(object_store, "_LISTED", 10)
    monkeypatch.setattr(store_listing, "_FEW", 8)
    paths = [f"{FOLDER}/CA{number:03}/user.raw.wav" for number in range(60)]
    for path in paths:
        await sink.put(path, b"sound")
    for begin in range(3):
        assert await through.sizes(paths[begin::3]) == [5] * 20
    assert {each.method for each in proxy.requests} == {"GET"}
    from_the_start = [each for each in proxy.requests if "start-after" not in each.query]
    assert len(from_the_start) == 1


async def test_a_write_while_a_partition_is_listed_is_not_forgotten(
    through: ObjectStoreSink, sink: ObjectStoreSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed before a write is not believed after it."""
    monkeypatch.setattr(store_listing, "_FEW", 0)
    monkeypatch.setattr(through._sizes, "_from_anywhere", False)
    assert await through.sizes([PATH]) == [None]
    await sink.put(PATH, b"somebody else's")
    assert await through.sizes([PATH]) == [None]  # remembered
    await through.put(PATH.replace("CA1", "CA2"), b"sound")
    assert await through.sizes([PATH]) == [15]
