"""The archive's promises in an object store, kept by the real command on a real server."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sandbox import Match, Rule, Stall
from tests.store_proxy import Fault

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished
    from tests.object_stores import Bucket
    from tests.store_proxy import Proxy, Request

pytestmark = pytest.mark.in_process

HEAD = """\
version: 1
defaults: {account_id: acme, project_id: shop, directions: [combined, user], redaction: [redacted]}
conversations:
"""
JOB = f"""{HEAD}\
  - {{id: CA1, started_at: 2026-05-20T10:00:00Z}}
  - {{id: "CA:2", started_at: 2026-05-20T11:00:00Z}}
  - {{id: CA3, started_at: 2026-05-21T10:00:00Z}}
"""
FIRST = "acme/shop/2026-05-20/CA1/combined.redacted.wav"
MANIFEST = "acme/shop/2026-05-20/manifest.json"


@pytest.fixture
def store(exporter: Command, bucket: Bucket) -> Bucket:
    """The bucket that the command's environment names."""
    exporter.environment |= bucket.server.environment()
    exporter.environment |= {
        "EXPORTER_OUTPUT__URL": bucket.url,
        "EXPORTER_OBJECT_STORE__RETRY_TIMEOUT": "1s",
    }
    return bucket


@pytest.fixture
def run(exporter: Command, store: Bucket, sandbox: Sandbox) -> Callable[..., Finished]:  # noqa: ARG001 (sets the environment)
    """Exports the job, with further flags."""
    job = exporter.write("job.yaml", JOB)

    def run_it(*flags: object, base_url: str = sandbox.base_url) -> Finished:
        return exporter("run", job, "--base-url", base_url, *flags)

    return run_it


@pytest.fixture
def archive(store: Bucket, run: Callable[..., Finished]) -> Bucket:
    """A bucket that holds the job."""
    done = run()
    assert done.exit_code == 0, done.text
    return store


def verified(exporter: Command, store: Bucket, *flags: object) -> tuple[int, dict[str, Any]]:
    done = exporter("verify", store.url, "--json", *flags)
    assert done.stdout, done.stderr
    return done.exit_code, json.loads(done.stdout)


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["status"] for one in found["differences"]}


def another_machine(exporter: Command, name: str = "another") -> None:
    """Where no ledger is."""
    exporter.environment["XDG_STATE_HOME"] = str(exporter.folder / name)


def stalled(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """One conversation is answered by nothing."""
    rule = Rule(match=Match(conversation="CA3"), action=Stall(after_bytes=None))
    return start_sandbox(scenario=[rule])


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_an_export_lies_in_the_bucket_as_the_results_say(
    archive: Bucket, run: Callable[..., Finished], sandbox: Sandbox, exporter: Command
) -> None:
    """Amazon's client finds what the results name; nothing is fetched twice; verify agrees."""
    rows = archive.results()["results"]
    assert [one["status"] for one in rows] == ["exported"] * 6
    assert archive.recordings() == sorted(one["path"] for one in rows)
    for one in rows:
        assert hashlib.sha256(archive.content(one["path"])).hexdigest() == one["sha256"]
        assert archive.head(one["path"])["ContentType"] == "audio/wav"
    before = len(sandbox.requests)
    done = run("--json")
    assert json.loads(done.stdout)["skipped"] == 6
    assert len(sandbox.requests) == before
    assert archive.results()["run"]["archive"] == archive.url
    code, found = verified(exporter, archive)
    assert (code, found["source"], found["summary"]["ok"]) == (0, "ledger", 6)
    code, found = verified(exporter, archive, "--quick")
    summary = found["summary"]
    assert (code, summary["ok"], summary["by_checksum"], summary["bytes_read"]) == (0, 6, 6, 0)


@pytest.mark.usefixtures("store")
def test_a_fresh_machine_skips_what_the_bucket_holds(
    exporter: Command, sandbox: Sandbox, proxy: Proxy
) -> None:
    """One read for each partition, a handful besides, no request for audio."""
    rows = [f"  - {{id: CA{n}, started_at: 2026-05-{10 + n % 12}T10:00:00Z}}\n" for n in range(24)]
    exporter.write("job.yaml", HEAD + "".join(rows))
    assert exporter("run", "job.yaml", "--base-url", sandbox.base_url).exit_code == 0
    before = len(sandbox.requests)
    another_machine(exporter)
    exporter.environment["AWS_ENDPOINT_URL"] = proxy.url
    plan = exporter("plan", "job.yaml", "--json")
    assert json.loads(plan.stdout)["archived"] == 48
    assert {each.method for each in proxy.requests} == {"GET"}
    proxy.requests.clear()
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--json")
    assert json.loads(done.stdout)["skipped"] == 48
    assert len(sandbox.requests) == before
    assert proxy.count("GET", "/manifest.json") == 12
    assert proxy.count("HEAD", "/manifest.json") == 0
    listings = [each.query for each in proxy.requests if "list-type" in each.query]
    assert len([each for each in listings if "delimiter" not in each]) == 1
    assert not [each for each in proxy.requests if each.path.endswith(".wav")]
    assert len([each for each in proxy.requests if each.method in {"GET", "HEAD"}]) <= 12 + 6


def test_a_killed_run_is_taken_over_and_gone_on_with(
    exporter: Command, store: Bucket, start_sandbox: Callable[..., Sandbox],
    run: Callable[..., Finished],
) -> None:  # fmt: skip
    """After kill -9 the next run goes on at once, keeps what is there, and tells the dead one."""
    slow = stalled(start_sandbox)
    process = exporter.start("run", exporter.folder / "job.yaml", "--base-url", slow.base_url)
    wait_for(lambda: len(store.recordings()) == 4, process)
    process.kill()
    process.communicate()
    held = {path: store.content(path) for path in store.recordings()}
    done = run("--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["exported"] + summary["skipped"]) == (0, 6)
    assert "archive.taken_over" in done.stderr
    assert {path: store.content(path) for path in held} == held
    told = [store.document(key) for key in store.names() if key.endswith("/results.json")]
    assert sorted(each["run"]["exit_code"] for each in told) == [0, 137]
    assert verified(exporter, store)[0] == 0
    another_machine(exporter)
    assert verified(exporter, store)[1]["source"] == "partition manifests"


def test_a_second_run_is_told_who_holds_the_bucket(
    exporter: Command, store: Bucket, start_sandbox: Callable[..., Sandbox],
    run: Callable[..., Finished],
) -> None:  # fmt: skip
    """Exit code 5, with the other's run, process and host."""
    slow = stalled(start_sandbox)
    process = exporter.start("run", exporter.folder / "job.yaml", "--base-url", slow.base_url)
    wait_for(lambda: len(store.recordings()) == 4, process)
    another_machine(exporter)
    done = run()
    assert done.exit_code == 5
    assert f"process {process.pid} on {os.uname().nodename}" in done.stderr
    assert f"holds the archive {store.url}" in done.stderr
    process.kill()
    process.communicate()


def test_what_somebody_changed_is_found_and_mended(
    archive: Bucket, exporter: Command, run: Callable[..., Finished]
) -> None:
    """Removed, replaced and strange objects are named, with --quick too; a run mends them."""
    sound = archive.content(FIRST)
    gone = FIRST.replace("combined", "user")
    archive.put(FIRST, sound[:-1] + bytes([sound[-1] ^ 1]))
    archive.remove(gone)
    archive.put("acme/notes.txt", b"notes")
    archive.put("acme/shop/2026-05-20/CA9/user.raw.wav", b"RIFF")
    for flags in ((), ("--quick",)):
        code, found = verified(exporter, archive, *flags)
        assert code == 6
        assert statuses(found) == {
            FIRST: "corrupt",
            gone: "missing",
            "acme/notes.txt": "unexpected",
            "acme/shop/2026-05-20/CA9/user.raw.wav": "unrecorded",
        }
    assert run("--recheck").exit_code == 0
    assert archive.content(FIRST) == sound
    assert [key for key in archive.names() if ".damaged-" in key]
    assert statuses(verified(exporter, archive)[1]).keys() == {
        "acme/notes.txt",
        "acme/shop/2026-05-20/CA9/user.raw.wav",
    }


def test_what_is_in_the_way_is_left_alone(store: Bucket, run: Callable[..., Finished]) -> None:
    """Another object under a recording's name is reported and never overwritten."""
    store.put(FIRST, b"somebody else's")
    done = run()
    assert done.exit_code == 1
    failed = [one for one in store.results()["results"] if one["status"] == "failed"]
    assert [(one["path"], one["error"]["kind"]) for one in failed] == [
        (None, "destination_conflict")
    ]
    assert store.content(FIRST) == b"somebody else's"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the credentials"),
        ({"EXPORTER_OUTPUT__URL": "s3://test-there-is-none/calls"}, "bucket does not exist"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer"),
        ({"AWS_ENDPOINT_URL": "http://store.example.com"}, "plain http"),
    ],
    ids=["credentials", "bucket", "silence", "http"],
)
def test_a_store_that_cannot_be_used_is_told_before_the_first_request(
    exporter: Command, run: Callable[..., Finished], sandbox: Sandbox,
    environment: dict[str, str], words: str,
) -> None:  # fmt: skip
    """Exit code 4, plain words and what to do; nobody asks for audio, and no secret is shown."""
    exporter.environment |= environment
    done = run()
    assert done.exit_code == 4
    assert words in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.text
    assert "wrong" not in done.text
    assert not sandbox.requests


@pytest.mark.timeout(400)  # the server is started anew, which takes long on a busy machine
def test_a_store_that_is_killed_in_mid_upload_ends_the_run_and_loses_nothing(
    exporter: Command, store: Bucket, run: Callable[..., Finished], proxy: Proxy
) -> None:
    """Exit code 4 with the results elsewhere; when the store is back, the next run goes on."""
    exporter.in_process = False  # the next run sees that the one that holds the store is dead
    killed: list[Request] = []

    def kill(request: Request) -> Fault | None:
        if request.method == "PUT" and request.path.endswith(".wav") and not killed:
            killed.append(request)
            store.server.kill()
            return Fault(cut_after=100)
        return None

    proxy.fault = kill
    exporter.environment["AWS_ENDPOINT_URL"] = proxy.url
    try:
        done = run("-j", "2")
    finally:
        store.server.restart()
    assert killed
    assert done.exit_code == 4
    assert "Traceback" not in done.text
    assert list(exporter.folder.glob(".local/state/exporter/results/*.results.json"))
    assert store.recordings() == []
    exporter.environment |= {"EXPORTER_LIMITS__WAIT": "30s"}
    done = run()
    assert done.exit_code == 0, done.text
    assert len(store.recordings()) == 6
    assert verified(exporter, store)[0] == 0


def test_an_overloaded_store_slows_a_run_down_and_no_more(
    exporter: Command, store: Bucket, run: Callable[..., Finished], proxy: Proxy
) -> None:
    """A few answers of 503 are waited for; if they go on, the run ends with code 4 and says why."""
    slow = Fault(status=503, code="SlowDown")
    seen = 0

    def every_third(request: Request) -> Fault | None:
        nonlocal seen
        seen += request.method == "PUT"
        return slow if request.method == "PUT" and seen % 3 == 0 else None

    proxy.fault = every_third
    exporter.environment["AWS_ENDPOINT_URL"] = proxy.url
    done = run()
    assert done.exit_code == 0, done.text
    store.remove(FIRST)
    proxy.fault = lambda request: slow if request.path.endswith(".wav") else None
    done = run()
    assert done.exit_code == 4
    assert "asks to slow down" in done.stderr
    assert store.results()["run"]["status"] == "stopped"


def test_a_store_that_fails_while_it_is_verified_damages_nothing(
    archive: Bucket, exporter: Command, proxy: Proxy
) -> None:
    """Exit code 4 and why: no recording is called corrupt because nobody could read it."""
    slow = Fault(status=503, code="SlowDown")
    proxy.fault = lambda request: slow if request.path.endswith(".wav") else None
    exporter.environment["AWS_ENDPOINT_URL"] = proxy.url
    done = exporter("verify", archive.url)
    assert done.exit_code == 4
    assert "asks to slow down" in done.stderr
    assert "corrupt" not in done.text
    assert "Traceback" not in done.text


def test_raw_recordings_may_lie_in_a_bucket_of_their_own(
    exporter: Command, store: Bucket, sandbox: Sandbox
) -> None:
    """Redacted ones in a folder, raw ones in the bucket: both are archives, both are skipped."""
    exporter.environment |= {
        "EXPORTER_OUTPUT__URL": str(exporter.archive),
        "EXPORTER_OUTPUT__RAW_URL": store.url,
    }
    exporter.write("job.yaml", JOB.replace("[redacted]", "[redacted, raw]"))
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    assert done.exit_code == 0, done.text
    assert {path.rpartition(".wav")[0].rpartition(".")[2] for path in store.recordings()} == {"raw"}
    assert len(store.recordings()) == len(list(exporter.archive.rglob("*.redacted.wav"))) == 6
    assert not list(exporter.archive.rglob("*.raw.wav"))
    before = len(sandbox.requests)
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--json")
    assert json.loads(done.stdout)["skipped"] == 12
    assert len(sandbox.requests) == before
    assert verified(exporter, store, "--quick")[0] == 0
    assert exporter("verify", exporter.archive).exit_code == 0
