"""More than one machine and one store: holds, manifests, credentials, addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.address import store_address
from exporter.archive import existing_sink, ledger_path
from exporter.errors import ConfigError, DestinationError
from exporter.ledger import Ledger, LedgerThread
from exporter.model import Archived, AudioFormat, Direction, Outcome, Recording, Redaction, Status
from exporter.partitions import Partitions
from exporter.plan import Decision
from exporter.settings import ObjectStoreSettings
from exporter.sinks import object_hold, store_client, store_documents
from exporter.sinks.base import HOLDER_PATH, HeldError, Holder, LostHoldError
from exporter.sinks.object_store import ObjectStoreSink
from exporter.sinks.store_options import StoreOptions
from tests.object_stores import ACCESS_KEY, SECRET_KEY
from tests.store_proxy import Fault
from tests.stored import (
    FOLDER,
    ME,
    NOW,
    PATH,
    RUN,
    first,
    pieces,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.sinks.base import Known
    from tests.object_stores import Bucket
    from tests.store_proxy import Proxy, Request

    Open = Callable[..., ObjectStoreSink]

pytestmark = pytest.mark.usefixtures("smaller")


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
