"""Stores that fail: what passes is waited for, all else is told in plain words."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from obstore import exceptions

from exporter.errors import DestinationAwayError, DestinationError
from exporter.sinks import store_client, store_errors
from exporter.sinks.base import AlreadyExistsError
from tests.object_stores import SECRET_KEY
from tests.store_proxy import Fault
from tests.stored import (
    LARGE,
    PATH,
    SOON,
    first,
    large,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sinks.object_store import ObjectStoreSink
    from tests.object_stores import Bucket
    from tests.store_proxy import Proxy, Request

    Open = Callable[..., ObjectStoreSink]

pytestmark = pytest.mark.usefixtures("smaller")


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


@pytest.mark.parametrize("size", [1000, LARGE + 1000])
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
