"""A server that takes 100 ms for each answer: how much of what so many workers could do is done.

    python benchmarks/latency.py [--seconds N] [--rounds N] [--json FILE]

A server of our own answers each request 100 ms after it came, with a WAV file of 8 KiB. Whole runs
of the exporter, with one and two processes, and curl fetch as many as 64 and 256 workers could
fetch in so many seconds, in turn. What a run of one file takes is left out, for all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.downloads import Errand, curl, exporter, fetch
from benchmarks.serving import await_port, find, free_port, write_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATENCY = 0.1  # seconds
SIZE = 8 * 1024
WORKERS = (64, 256)


class _Late(asyncio.Protocol):
    """Answers everything with the same file, late."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._loop.call_later(LATENCY, self._transport.write, self._answer)


async def serve(port: int, body: bytes) -> None:
    """Until the process is ended."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = head.encode() + body
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Late(answer), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@contextlib.contextmanager
def late_server(folder: Path) -> Iterator[str]:
    """Its address."""
    recording = folder / "recording.wav"
    write_recording(recording, SIZE)
    port = free_port()
    command = [sys.executable, __file__, "--serve", str(port), str(recording)]
    process = subprocess.Popen(command)  # noqa: S603
    try:
        await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def measure(folder: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """All contestants with each number of workers."""
    rows: list[dict[str, Any]] = []
    with late_server(folder) as server:
        for workers in WORKERS:
            contestants: dict[str, Callable[[Errand], str]] = {
                "exporter": exporter(at_once=workers),
                "exporter, 2 processes": exporter(at_once=workers, processes=2),
            }
            if find("curl"):
                contestants["curl"] = curl(at_once=workers)
            count = round(workers / LATENCY * seconds)
            for name, command in contestants.items():
                place = folder / f"{workers}-{name.replace(' ', '').replace(',', '-')}"

                def took(
                    files: int,
                    again: str,
                    *,
                    name: str = name,
                    command: Callable[[Errand], str] = command,
                    place: Path = place,
                ) -> float:
                    errand = Errand(server, "late", files, place / again)
                    return fetch(name, command, errand, hashing=False).seconds

                start = min(took(1, f"one-{number}") for number in range(3))
                whole = statistics.median(took(count, str(number)) for number in range(rounds))
                rate = (count - 1) / (whole - start)
                rows.append(
                    {
                        "workers": workers,
                        "name": name,
                        "files_a_second": round(rate),
                        "of_workers_by_latency": round(rate * LATENCY / workers, 3),
                    }
                )
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(int(arguments.serve[0]), Path(arguments.serve[1]).read_bytes()))
        return
    with tempfile.TemporaryDirectory(prefix="late-") as folder:
        rows = measure(Path(folder), arguments.seconds, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
