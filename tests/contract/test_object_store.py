"""An archive in an object store, against real servers that fail on request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from obstore import exceptions

from exporter.address import store_address
from exporter.archive import existing_sink, ledger_path
from exporter.errors import ConfigError, DestinationAwayError, DestinationError
from exporter.ledger import Ledger, LedgerThread
from exporter.model import Archived, AudioFormat, Direction, Outcome, Recording, Redaction, Status
from exporter.partitions import Partitions
from exporter.plan import Decision
from exporter.settings import ObjectStoreSettings
from exporter.sinks import (
    object_hold,
    object_store,
    object_upload,
    store_client,
    store_documents,
    store_errors,
    store_listing,
)
from exporter.sinks.base import HOLDER_PATH, AlreadyExistsError, HeldError, Holder, LostHoldError
from exporter.sinks.object_store import ObjectStoreSink
from exporter.sinks.store_options import StoreOptions
from tests.object_stores import ACCESS_KEY, SECRET_KEY, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.sinks.base import Known
    from tests.object_stores import Bucket, Proxy, Request

    Open = Callable[..., ObjectStoreSink]

RUN = "20260101T000000Z-0001"
FOLDER = "acme/shop/2026-01-01"
PATH = f"{FOLDER}/CA1/combined.redacted.wav"
SOON = timedelta(seconds=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME = Holder(RUN, "here", 1, NOW)
_LARGE = 6 * 1024 * 1024
_PART = 5 * 1024 * 1024  # the least that S3 takes


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as large is small here, for speed; the numbers alone are other ones."""
    monkeypatch.setattr(object_upload, "LARGE", _LARGE)
    monkeypatch.setattr(object_store, "LARGE", _LARGE)
    monkeypatch.setattr(object_upload, "PART", _PART)


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
    return hashlib.shake_128(b"large").digest(_LARGE + 1000)


async def upload(sink: ObjectStoreSink, body: bytes, path: str = PATH) -> None:
    begun = await sink.begin(path)
    try:
        for start in range(0, len(body), 1024 * 1024):
            await begun.write(body[start : start + 1024 * 1024])
        await begun.commit()
    finally:
        await begun.abort()


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


# Faults.


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, code="SlowDown"),
        Fault(status=500, code="InternalError"),
        Fault(cut_after=100),
        Fault(status=409, code="ConditionalRequestConflict"),
    ],
    ids=["slow-down", "error", "cut", "conflict"],
)
async def test_what_passes_is_waited_for(
    open_sink: Open, proxy: Proxy, bucket: Bucket, fault: Fault
) -> None:
    """A store that fails, or a line that breaks, for a moment costs that moment only."""
    proxy.fault = first(2, fault)
    sink = open_sink(endpoint=proxy.url)
    await sink.put(PATH, b"sound" * 1000)
    assert bucket.content(PATH) == b"sound" * 1000


async def test_a_slow_line_is_no_silence(
    open_sink: Open, proxy: Proxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that says nothing while a recording is sent is waited for longer than a reader's."""
    monkeypatch.setattr(store_client, "_SILENCE_READING", timedelta(seconds=0.2))
    begun, given_up = threading.Event(), threading.Event()

    def withhold(request: Request) -> None:
        if request.method == "PUT":
            begun.set()
            assert given_up.wait(60)
        elif request.method == "HEAD" and proxy.count("HEAD") == 1:
            given_up.wait(60)  # until it was asked again, for it was silent too long
        elif request.method == "HEAD":
            given_up.set()

    proxy.fault = withhold
    sink = open_sink(endpoint=proxy.url)
    writing = asyncio.create_task(sink.put(PATH, b"sound"))
    await asyncio.to_thread(begun.wait, 60)
    assert await sink.sizes([PATH.replace("CA1", "CA2")]) == [None]
    await writing
    assert (proxy.count("PUT"), bucket.content(PATH)) == (1, b"sound")


async def test_what_vanishes_while_it_is_in_the_way_is_no_obstacle(
    through: ObjectStoreSink, proxy: Proxy, bucket: Bucket
) -> None:
    """Removed by somebody between our write and our look, it is written after all."""
    bucket.put(PATH, b"somebody else's")

    def remove(request: Request) -> None:
        if request.method == "GET":
            bucket.remove(PATH)

    proxy.fault = remove
    await through.put(PATH, b"sound")
    assert bucket.content(PATH) == b"sound"


async def test_parts_are_sent_again_too(open_sink: Open, proxy: Proxy, bucket: Bucket) -> None:
    """A line that breaks within a part of a large recording costs that part only."""
    body = large()
    proxy.fault = first(2, Fault(cut_after=1000))
    await upload(open_sink(endpoint=proxy.url), body)
    assert bucket.content(PATH) == body
    assert bucket.parts() == []


async def test_an_answer_that_got_lost_is_found_out(
    open_sink: Open, proxy: Proxy, bucket: Bucket
) -> None:
    """If the store did it and could not say so, its content is what we wanted, and we are told."""
    proxy.fault = first(1, Fault(lose_answer=True))
    sink = open_sink(endpoint=proxy.url)
    with pytest.raises(AlreadyExistsError) as caught:
        await sink.put(PATH, b"sound")
    assert caught.value.sha256 == hashlib.sha256(b"sound").hexdigest()
    assert bucket.content(PATH) == b"sound"


async def test_parts_that_were_put_together_unheard_are_found_out(
    through: ObjectStoreSink, proxy: Proxy, bucket: Bucket
) -> None:
    """If only the last answer got lost, the recording is there and whole, and that is enough."""
    lost: list[Request] = []

    def lose_once(request: Request) -> Fault | None:
        if request.method == "POST" and "uploadId" in request.query and not lost:
            lost.append(request)
            return Fault(lose_answer=True)
        return None

    proxy.fault = lose_once
    await upload(through, large())
    assert len(lost) == 1
    assert bucket.content(PATH) == large()


@pytest.mark.parametrize("size", [1000, _LARGE + 1000])
async def test_a_store_that_stays_overloaded_ends_the_attempt(
    through: ObjectStoreSink, proxy: Proxy, bucket: Bucket, size: int
) -> None:
    """After retries the error says so; nothing has the recording's name, no parts are left."""
    slow = Fault(status=503, code="SlowDown")
    proxy.fault = lambda request: slow if request.size > 500 else None
    with pytest.raises(DestinationError, match="asks to slow down") as caught:
        await upload(through, b"x" * size)
    assert "limits.concurrency" in caught.value.hint
    assert (bucket.names(), bucket.parts()) == ([], [])


async def test_bytes_that_change_on_the_way_are_refused(
    through: ObjectStoreSink, proxy: Proxy, bucket: Bucket
) -> None:
    """The store compares what it received with the checksum that was sent along."""
    proxy.fault = lambda request: Fault(spoil=request.size > 100)
    with pytest.raises(DestinationError, match="checksum does not match"):
        await through.put(PATH, b"sound" * 1000)
    assert bucket.names() == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "refuses the credentials"),
        (403, "SignatureDoesNotMatch", "refuses the credentials"),
        (403, "AuthenticationFailed", "refuses the credentials"),
        (400, "ExpiredToken", "have expired"),
        (403, "AccessDenied", "does not allow it"),
        (403, "RequestTimeTooSkewed", "clock differs"),
        (404, "NoSuchBucket", "bucket does not exist"),
        (404, "ContainerNotFound", "bucket does not exist"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (429, "TooManyRequests", "slow down"),
        (409, "ConditionalRequestConflict", "somebody else was writing"),
        (409, "BlobImmutableDueToPolicy", "keeps it from being replaced"),
        (403, "InvalidObjectState", "storage class"),
        (503, "", "slow down"),
        (500, "InternalError", "failed again and again"),
        (501, "NotImplemented", "conditional writes"),
        (400, "BadDigest", "checksum does not match"),
        (400, "InvalidStorageClass", "what the settings ask for"),
        (400, "KMS.DisabledException", "encryption key"),
        (507, "XMinioStorageFull", "full"),
        (418, "Teapot", "made up"),
    ],
)
async def test_what_stores_say_is_told_in_plain_words(
    open_sink: Open, proxy: Proxy, status: int, code: str, words: str
) -> None:
    """Each refusal becomes an error that names the object, the reason and the store's own code."""
    proxy.fault = lambda _: Fault(status=status, code=code)
    sink = open_sink(endpoint=proxy.url, retry_timeout=timedelta(seconds=0.1))
    with pytest.raises(DestinationError, match=words) as caught:
        await sink.put(PATH, b"sound")
    assert f"cannot write {sink.url}/{PATH}: " in caught.value.message
    assert f"({' '.join(filter(None, (str(status), code)))})" in caught.value.message
    assert (caught.value.exit_code, SECRET_KEY in caught.value.message) == (4, False)


async def test_a_bucket_of_another_region_is_told_as_such(
    through: ObjectStoreSink, proxy: Proxy
) -> None:
    """Amazon answers with a redirect that leads nowhere."""
    proxy.fault = lambda _: Fault(status=301, code="PermanentRedirect")
    with pytest.raises(DestinationError, match="another region"):
        await through.put(PATH, b"sound")


FOREIGN = [
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
] + [FileNotFoundError, PermissionError, OSError, ValueError, NotImplementedError]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", FOREIGN)
def test_every_error_of_the_library_is_translated(kind: type[Exception]) -> None:
    """Whatever `obstore` raises becomes an error of ours, with something to read."""
    with pytest.raises(DestinationError) as caught, store_errors.translated("s3://bucket/x"):
        raise kind("Generic store error: something happened")
    assert caught.value.message.startswith("cannot write s3://bucket/x: ")
    assert caught.value.message != "cannot write s3://bucket/x: "


def test_a_signed_address_is_not_shown() -> None:
    """Azure's addresses bear a signature, and a text that nobody foresaw may hold one."""
    with pytest.raises(DestinationError) as caught, store_errors.translated("az://box/x"):
        raise ValueError("cannot parse https://me.blob.core.windows.net/box?sv=1&sig=hush (odd)")
    assert "hush" not in caught.value.message
    assert "me.blob.core.windows.net/box (odd)" in caught.value.message


def test_a_missing_object_is_no_error_where_that_is_fine() -> None:
    """Only a missing object: a missing bucket is an error all the same."""
    with (
        pytest.raises(FileNotFoundError),
        store_errors.translated("s3://bucket/x", missing_is_fine=True),
    ):
        raise FileNotFoundError("status code: 404 Not Found: <Code>NoSuchKey</Code>")
    with (
        pytest.raises(DestinationError, match="bucket does not exist"),
        store_errors.translated("s3://bucket/x", missing_is_fine=True),
    ):
        raise FileNotFoundError("status code: 404 Not Found: <Code>NoSuchBucket</Code>")


async def test_an_answer_that_breaks_off_is_gone_on_with(
    sink: ObjectStoreSink, open_sink: Open, proxy: Proxy
) -> None:
    """Once, and nobody notices; again and again, and no recording is blamed for it."""
    body = large()
    await upload(sink, body)
    proxy.fault = first(2, Fault(cut_answer=1_000_000), "GET")
    through = open_sink(endpoint=proxy.url, retry_timeout=SOON)
    assert b"".join([piece async for piece in through.read(PATH)]) == body
    proxy.fault = lambda _: Fault(cut_answer=0)
    with pytest.raises(DestinationAwayError, match="does not answer"):
        await through.feed(PATH, lambda _: None)


async def test_nothing_answers(open_sink: Open) -> None:
    """An endpoint where nothing listens is told as such, after the time for retries."""
    sink = open_sink(endpoint="http://127.0.0.1:9", retry_timeout=timedelta(seconds=0.2))
    with pytest.raises(DestinationError, match="does not answer") as caught:
        await sink.prepare()
    assert "endpoint" in caught.value.hint


async def test_a_store_that_ignores_conditions_holds_no_archive(
    through: ObjectStoreSink, proxy: Proxy
) -> None:
    """A store that writes in spite of If-None-Match would let runs overwrite each other."""
    proxy.fault = lambda request: Fault(status=200) if request.method == "PUT" else None
    with pytest.raises(DestinationError, match="ignores If-None-Match"):
        await through.prepare()


async def test_a_store_that_ignores_etags_holds_no_archive(
    through: ObjectStoreSink, proxy: Proxy
) -> None:
    """A store that writes in spite of If-Match would lose entries of manifests."""
    proxy.fault = lambda request: Fault(status=200) if "if-match" in request.headers else None
    with pytest.raises(DestinationError, match="ignores If-Match"):
        await through.prepare()


# The hold.


def noted(bucket: Bucket, **fields: object) -> None:
    """Make the holder's object say something else."""
    bucket.put(HOLDER_PATH, json.dumps(bucket.document(HOLDER_PATH) | fields).encode())


async def test_a_holder_on_another_machine_lives_while_its_sign_is_fresh(
    sink: ObjectStoreSink, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock: held while the sign of life is fresh, taken over when it is not."""
    await sink.hold(ME)
    noted(bucket, machine="another", run_id="other")
    with pytest.raises(HeldError) as caught:
        await sink.hold(ME)
    assert caught.value.holder is not None
    assert caught.value.holder.run_id == "other"
    assert (caught.value.idle_seconds or 0) < 60
    monkeypatch.setattr(object_hold, "STALE_AFTER", -1.0)
    hold = await sink.hold(ME)
    assert hold.taken_over_from == Holder("other", "here", 1, NOW)


async def test_a_take_over_whose_answer_got_lost_still_names_the_dead(
    sink: ObjectStoreSink, open_sink: Open, proxy: Proxy, bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The next look shows our own name; what the dead run left is tidied up all the same."""
    await sink.hold(ME)
    noted(bucket, machine="another", run_id="other")
    monkeypatch.setattr(object_hold, "STALE_AFTER", -1.0)
    taken: list[Request] = []

    def lose_once(request: Request) -> Fault | None:
        if request.method == "PUT" and request.path.endswith("holder.json") and not taken:
            taken.append(request)
            return Fault(lose_answer=True)
        return None

    proxy.fault = lose_once
    hold = await open_sink(endpoint=proxy.url).hold(ME)
    assert len(taken) == 1
    assert hold.taken_over_from == Holder("other", "here", 1, NOW)


async def test_a_sign_of_life_that_does_not_get_through_is_given_up_soon(
    open_sink: Open, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long other requests are tried again: a run has to know in time that it seems dead."""
    monkeypatch.setattr(store_client, "_SIGN", timedelta(seconds=0.1))
    for module in (store_client, store_documents):
        monkeypatch.setattr(module, "SIGN_RETRIES", timedelta(seconds=0.1))
    sink = open_sink(endpoint=proxy.url, retry_timeout=timedelta(hours=1))
    hold = await sink.hold(ME)
    over = threading.Event()

    def hang(_: Request) -> None:
        over.wait(60)

    proxy.fault = hang
    try:
        with pytest.raises(DestinationError, match="does not answer"):
            await hold.beat()
        await hold.release()
    finally:
        over.set()


async def test_of_many_that_want_it_one_holds_the_archive(open_sink: Open) -> None:
    """However many ask at once, the store lets one of them have it."""
    sinks = [open_sink() for _ in range(8)]

    async def take(number: int) -> bool:
        with contextlib.suppress(HeldError):
            await sinks[number].hold(Holder(f"run-{number}", "elsewhere", 1, NOW))
            return True
        return False

    assert sum(await asyncio.gather(*map(take, range(8)))) == 1


async def test_a_sign_of_life_whose_answer_got_lost_is_ours_all_the_same(
    open_sink: Open, proxy: Proxy
) -> None:
    """The store did it; the next look shows our own name, and the hold goes on."""
    sink = open_sink(endpoint=proxy.url)
    hold = await sink.hold(ME)
    proxy.fault = first(1, Fault(lose_answer=True))
    await hold.beat()
    await hold.beat()
    await hold.release()
    assert (await sink.hold(ME)).taken_over_from is None


async def test_a_hold_that_somebody_removed_is_put_back(
    sink: ObjectStoreSink, bucket: Bucket
) -> None:
    """And one that another run has since is lost, and left to it."""
    hold = await sink.hold(ME)
    bucket.remove(HOLDER_PATH)
    await hold.beat()
    assert bucket.document(HOLDER_PATH)["run_id"] == RUN
    noted(bucket, run_id="other")
    with pytest.raises(LostHoldError) as caught:
        await hold.beat()
    assert caught.value.run_id == "other"
    await hold.release()
    assert bucket.document(HOLDER_PATH)["released"] is False


# Two machines.


class DisturbedSink(ObjectStoreSink):
    """Somebody else does something just before it writes a document."""

    disturb: Callable[[], Any] | None = None

    async def replace(
        self, path: str, pieces: AsyncIterator[bytes], *, known: Known | None = None
    ) -> str:
        if self.disturb is not None:
            await self.disturb()
        return await super().replace(path, pieces, known=known)


@pytest.fixture
def disturbed(bucket: Bucket, open_sink: Open) -> DisturbedSink:
    open_sink()  # the environment is set
    address = store_address(bucket.url)
    assert address is not None
    return DisturbedSink(address, StoreOptions(), run_id=RUN)


def record(ledger: Ledger, conversation: str) -> None:
    """One recording of the partition is archived."""
    ledger.begin_run(f"run-{conversation}", NOW)
    wanted = Recording("acme", "shop", conversation, Direction.USER, Redaction.RAW, NOW)
    ledger.plan([(ledger.look_up([wanted])[0], Decision.NEW, None)])
    (planned,) = ledger.planned(0, 1)
    held = Archived(
        f"{FOLDER}/{conversation}/user.raw.wav",
        9,
        "00" * 32,
        AudioFormat("pcm_u8", 8000, 1, 8, 0.5),
        NOW,
        None,
    )
    ledger.record([(planned.seq, Outcome(Status.EXPORTED, held, attempts=1))], NOW)


async def test_two_machines_lose_no_entry_of_a_manifest(
    sink: ObjectStoreSink, disturbed: DisturbedSink, bucket: Bucket
) -> None:
    """Who is late learns what the other one wrote, and writes both."""
    async with LedgerThread() as thread:
        ours, theirs = [await thread.run(Ledger, None) for _ in range(2)]
        early, late = Partitions(sink, ours, thread), Partitions(disturbed, theirs, thread)
        for partitions, ledger, name in ((early, ours, "CA1"), (late, theirs, "CA2")):
            await partitions.learn([FOLDER])
            await thread.run(record, ledger, name)
        disturbed.disturb = early.write
        assert await late.write() == 1
        for ledger in (ours, theirs):
            await thread.run(ledger.close)
    told = bucket.document(f"{FOLDER}/manifest.json")["recordings"]
    assert [one["conversation_id"] for one in told] == ["CA1", "CA2"]


async def test_a_manifest_that_is_never_left_alone_ends_in_an_error(
    sink: ObjectStoreSink, disturbed: DisturbedSink
) -> None:
    """Somebody who writes all the time, without a hold, is told of instead of waited for."""
    document = {"schema_version": 1, "account_id": "acme", "project_id": "shop"}
    spaces = 0

    async def disturb() -> None:
        nonlocal spaces
        spaces += 1
        text = json.dumps(document | {"date": "2026-01-01", "recordings": []}) + " " * spaces
        await sink.replace(f"{FOLDER}/manifest.json", pieces(text.encode()))

    disturbed.disturb = disturb
    async with LedgerThread() as thread:
        ledger = await thread.run(Ledger, None)
        await thread.run(record, ledger, "CA1")
        with pytest.raises(DestinationError, match="again and again"):
            await Partitions(disturbed, ledger, thread).write()
        await thread.run(ledger.close)


# Credentials, addresses, the extra.


async def test_a_profile_is_used_where_boto3_reads_it(
    open_sink: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    """`AWS_PROFILE` and `~/.aws` work as with Amazon's own tools; a missing profile is told."""
    file = tmp_path / "credentials"
    file.write_text(
        f"[archive]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "archive")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    await open_sink().put(PATH, b"sound")
    assert bucket.content(PATH) == b"sound"
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(DestinationError, match="none"):
        open_sink()
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match="boto3"):
        open_sink()


@pytest.mark.parametrize("url", ["gs://bucket/calls", "az://container/calls"])
@pytest.mark.parametrize(
    "option", [{"endpoint": "https://s3.example.com"}, {"encryption": "AES256"}]
)
def test_settings_for_s3_are_refused_elsewhere(
    open_sink: Open, url: str, option: dict[str, str]
) -> None:
    """What another store would silently not do is an error."""
    with pytest.raises(ConfigError, match=f"object_store.{next(iter(option))}"):
        open_sink(url, **option)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is told with the command that installs it."""
    for name in [each for each in sys.modules if each.startswith("exporter.sinks.")]:
        if "store" in name or "object" in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match="obstore") as caught:
        existing_sink("s3://bucket/calls", ObjectStoreSettings())
    assert "exporter[object-store]" in caught.value.hint


def test_buckets_of_one_name_have_ledgers_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The endpoint and the account tell them apart; the folder for them follows XDG or the flag."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    settings = ObjectStoreSettings()
    amazon = ledger_path("s3://bucket/calls", None, settings)
    assert amazon.parent.parent == tmp_path / "exporter" / "archives"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
    other = ledger_path("s3://bucket/calls", None, settings)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "one")
    azure = ledger_path("az://bucket/calls", None, settings)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "two")
    assert len({amazon, other, azure, ledger_path("az://bucket/calls", None, settings)}) == 4
    assert ledger_path("s3://bucket", tmp_path / "s", settings).parent.parent == tmp_path / "s"
