"""Real object stores for tests, on loopback: SeaweedFS, Azurite, and a proxy that misbehaves."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
# Far more than it takes, also where the machine has other things to do. Each process of tests has
# servers of its own: SeaweedFS waits 5 seconds for its own parts and computes for half of one, and
# a shared one could not be killed by the test that does so.
_START_SECONDS = 300
_INSTALL_SECONDS = 400
_AZURITE_VERSION = "3.35"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_served(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until something answers there with HTTP, whatever it says."""
    parts = urlsplit(url)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(0.1)
            pytest.fail(f"it ended with code {code}: {log.read_text()[-2000:]}")


class SeaweedFS:
    """A SeaweedFS of its own, with its S3 gateway; can be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        (folder / "data").mkdir(parents=True)
        self._log = folder / "log"
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.url = f"http://127.0.0.1:{s3}"
        self._arguments = [
            program,
            "-logtostderr",
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.volumeSizeLimitMB=128",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=500",
            "-volume.minFreeSpace=1",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            f"-s3.config={folder / 's3.json'}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until_served(self.url, self._process, self._log)

    def kill(self) -> None:
        """As a loss of power would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def restart(self) -> None:
        """With what it had stored."""
        self.kill()
        self.start()

    @cached_property
    def client(self) -> Any:
        """Amazon's own client: what it finds in a bucket is there."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 10}),
        )

    def environment(self) -> dict[str, str]:
        """As users set it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }


@dataclass
class Bucket:
    """A bucket of one test.

    Attributes:
        name: of the bucket.
        server: where it is.
        client: Amazon's own.
    """

    name: str
    server: SeaweedFS
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}/calls"

    def names(self, prefix: str = "calls/") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [
            each["Key"].removeprefix(prefix) for page in pages for each in page.get("Contents", ())
        ]

    def recordings(self) -> list[str]:
        return [key for key in self.names() if key.endswith(".wav")]

    def content(self, path: str) -> bytes:
        found = self.client.get_object(Bucket=self.name, Key=f"calls/{path}")
        with contextlib.closing(found["Body"]) as body:
            content: bytes = body.read()
        return content

    def document(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.content(path))
        return document

    def results(self) -> dict[str, Any]:
        """The newest results document."""
        return self.document(max(key for key in self.names() if key.endswith("/results.json")))

    def put(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"calls/{path}", Body=content)

    def remove(self, path: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"calls/{path}")

    def head(self, path: str) -> dict[str, Any]:
        head: dict[str, Any] = self.client.head_object(
            Bucket=self.name, Key=f"calls/{path}", ChecksumMode="ENABLED"
        )
        return head

    def parts(self) -> list[str]:
        """Uploads in parts that were neither finished nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=self.name)
        return [each["Key"] for each in found.get("Uploads", ())]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One server for all tests."""
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        pytest.skip("SeaweedFS is not installed: its package has no program for this platform")
    server = SeaweedFS(program, tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def new_bucket(seaweedfs: SeaweedFS) -> Callable[..., Bucket]:
    def new(**arguments: Any) -> Bucket:
        bucket = Bucket(f"test-{uuid.uuid4().hex[:12]}", seaweedfs, seaweedfs.client)
        bucket.client.create_bucket(Bucket=bucket.name, **arguments)
        return bucket

    return new


@pytest.fixture
def bucket(new_bucket: Callable[..., Bucket]) -> Bucket:
    return new_bucket()


AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""What Azurite's documentation tells everybody who uses it."""


class Azurite:
    """An Azurite of its own: Microsoft's emulator of Azure's blobs."""

    def __init__(self, program: str, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        self._arguments = [
            program,
            "--blobHost=127.0.0.1",
            f"--blobPort={port}",
            f"--location={folder}",
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until_served(self.url, self._process, self._log)

    def stop(self) -> None:
        """At once: it takes its time to end by itself, and nothing is to be kept."""
        self._process.kill()
        self._process.wait(10)

    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.url,
            "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
        }

    def new_container(self) -> str:
        """With a request of our own: `obstore` makes none."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        headers = {
            "x-ms-date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}",
            "x-ms-version": "2021-08-06",
        }
        lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in headers.items())]
        lines += [f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{name}", "restype:container"]
        digest = hmac.digest(
            base64.b64decode(AZURITE_KEY), "\n".join(lines).encode(), hashlib.sha256
        )
        signature = base64.b64encode(digest).decode()
        headers["Authorization"] = f"SharedKey {AZURITE_ACCOUNT}:{signature}"
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        with contextlib.closing(connection):
            path = f"/{AZURITE_ACCOUNT}/{name}?restype=container"
            connection.request("PUT", path, headers=headers | {"Content-Length": "0"})
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
        return name


def _azurite_program() -> str:
    """Where Azurite is; npm gets it once, into the repository's `.azurite`."""
    if found := shutil.which("azurite-blob"):
        return found
    home = Path(__file__).parents[1] / ".azurite"
    home.mkdir(exist_ok=True)
    whole = home / _AZURITE_VERSION
    with (home / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may run in several processes
        if not whole.exists():
            _get_azurite(home, whole)
    return str(whole / "node_modules" / ".bin" / "azurite-blob")


def _get_azurite(home: Path, whole: Path) -> None:
    """Install it beside, so that what was broken off is never taken for whole; skip if in vain."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("Azurite, the emulator of Azure's store, needs node and npm")
    these_tests = os.environ.get("PYTEST_XDIST_TESTRUNUID")  # the same in all their processes
    failed = home / "failed"
    if these_tests and failed.exists() and failed.read_text() == these_tests:
        pytest.skip("npm could not get Azurite for another process of these tests")
    beside, log = home / "installing", home / "log"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    (beside / "package.json").write_text("{}\n")
    install = [npm, "install", "--no-fund", "--no-audit", f"azurite@{_AZURITE_VERSION}"]
    try:
        with log.open("wb") as told:
            subprocess.run(
                install, cwd=beside, stdout=told, stderr=told, check=True, timeout=_INSTALL_SECONDS
            )
    except (OSError, subprocess.SubprocessError) as error:
        failed.write_text(these_tests or "")
        words = log.read_text(errors="replace")[-300:]
        pytest.skip(f"npm cannot get Azurite here: {error}: {words}")
    beside.rename(whole)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One emulator for all tests."""
    server = Azurite(_azurite_program(), tmp_path_factory.mktemp("azurite"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
