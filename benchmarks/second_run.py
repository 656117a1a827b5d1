"""How long a second run over an archive takes, and how much memory: everything is archived already.

    python benchmarks/second_run.py --recordings 1000000 --folder /dev/shm/second-run

Makes an archive through the product's own ledger (a file of 7 bytes stands for each recording, for
only sizes are looked at), then runs the real commands and prints seconds, CPU seconds and peak
memory of each. No request is sent: there is no server.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.ledger import Ledger, Partition
from exporter.model import Archived, AudioFormat, Direction, Recording, Redaction

DAYS = 100
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
AUDIO = AudioFormat("pcm_s16le", 8000, 1, 16, 1.5)
CONTENT = b"7 bytes"


def fill(folder: Path, count: int) -> None:
    """An archive and the manifest that names everything in it."""
    archive = folder / "archive"
    (archive / "_exporter").mkdir(parents=True)
    ledger = Ledger(archive / "_exporter" / "ledger.sqlite")
    with (folder / "manifest.jsonl").open("w") as manifest:
        for day in range(DAYS):
            date = BEGIN + timedelta(days=day)
            partition = Partition("acme", "shop", f"{date:%Y-%m-%d}", f"acme/shop/{date:%Y-%m-%d}")
            held = []
            for number in range(count // DAYS):
                name = f"CA{day:03}{number:08}abcdef1250065d4fc738"
                start = date + timedelta(seconds=number % 86400)
                path = f"{partition.folder}/{name}/combined.redacted.wav"
                held.append(
                    (
                        Recording(
                            "acme", "shop", name, Direction.COMBINED, Redaction.REDACTED, start
                        ),
                        Archived(path, len(CONTENT), secrets.token_hex(32), AUDIO, start, None),
                    )
                )
                entry = {
                    "account_id": "acme",
                    "project_id": "shop",
                    "id": name,
                    "started_at": start.isoformat(),
                }
                manifest.write(f"{json.dumps(entry)}\n")
                file = archive / path
                file.parent.mkdir(parents=True)
                file.write_bytes(CONTENT)
            ledger.learn(partition, None, held)
    ledger.close()


def measure(name: str, folder: Path, *arguments: str, key: str = "made-up") -> None:
    """Run the command and print what it took."""
    begun = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 (our own command)
        [sys.executable, "-m", "exporter", *arguments],
        cwd=folder,
        env={**os.environ, "POLYAI_API_KEY": key, "EXPORTER_LIMITS__MIN_FREE_BYTES": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    print(
        f"{name}: {time.monotonic() - begun:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU,"
        f" peak {used.ru_maxrss / 1024:.0f} MiB, exit code {os.waitstatus_to_exitcode(status)}",
        flush=True,
    )


def main() -> None:
    """Fill, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/work/second-run"))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    if not folder.exists():
        fill(folder, arguments.recordings)
    job = ("manifest.jsonl", "-o", "archive")
    nowhere = ("--base-url", "http://127.0.0.1:9", "--no-progress")
    measure("plan", folder, "plan", *job, "--json")
    measure("run", folder, "run", *job, *nowhere)
    measure("verify, names and sizes", folder, "verify", "archive", "--sample", "0", "--json")


if __name__ == "__main__":
    main()
