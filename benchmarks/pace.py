"""How fast manifests are read, the ledger is written and the sandbox serves, on this machine.

    python benchmarks/pace.py [--conversations N] [--json FILE]

Everything is measured `ROUNDS` times in turn; medians are printed. The loader stands against
libyaml's bare events over the same file: the least that anybody has to pay who reads YAML.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
import yaml

from exporter.ledger import Ledger
from exporter.loader import open_manifest
from exporter.model import Archived, AudioFormat, Direction, Outcome, Recording, Redaction, Status
from exporter.sandbox import AudioSettings, Sandbox, World

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
BATCH = 256  # outcomes committed together, as in a run
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FORMATS = ("yaml", "jsonl", "csv")


def write_manifests(folder: Path, count: int) -> None:
    """The same conversations in each format."""
    with (
        (folder / "m.yaml").open("w") as as_yaml,
        (folder / "m.jsonl").open("w") as as_lines,
        (folder / "m.csv").open("w") as as_csv,
    ):
        as_yaml.write(
            "version: 1\ndefaults: {account_id: acme, project_id: shop}\nconversations:\n"
        )
        as_csv.write("account_id,project_id,id,started_at\n")
        for number in range(count):
            name = f"CA{number:08}abcdef1250065d4fc7389abc"
            start = f"{BEGIN + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}"
            as_yaml.write(f"  - {{id: {name}, started_at: {start}}}\n")
            as_csv.write(f"acme,shop,{name},{start}\n")
            entry = {"account_id": "acme", "project_id": "shop", "id": name, "started_at": start}
            as_lines.write(f"{json.dumps(entry)}\n")


def bare_events(path: Path) -> int:
    """Libyaml's events, thrown away."""
    with path.open("rb") as file:
        return sum(1 for _ in yaml.parse(file, Loader=yaml.CSafeLoader))


def load(path: Path) -> int:
    """Every conversation, as a run reads them."""
    with open_manifest(str(path), format=None, stdin=sys.stdin.buffer) as opened:
        return sum(1 for _ in opened.conversations())


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def loading(folder: Path, count: int) -> dict[str, Any]:
    """Conversations a second of each format, and ours against the bare events."""
    paces: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        paces.setdefault("bare_events", []).append(seconds(lambda: bare_events(folder / "m.yaml")))
        for each in FORMATS:
            path = folder / f"m.{each}"
            paces.setdefault(each, []).append(seconds(lambda path=path: load(path)))  # type: ignore[misc]
    middle = {name: statistics.median(found) for name, found in paces.items()}
    return {
        "conversations": count,
        **{f"{name}_a_second": round(count / middle[name]) for name in middle},
        "yaml_of_bare_events": round(middle["yaml"] / middle["bare_events"], 2),
    }


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory (MiB) of `exporter plan` over each manifest, in a process of its own."""
    found = {}
    for each in FORMATS:
        code = (
            "import resource, subprocess, sys;"
            "subprocess.run([sys.executable, '-m', 'exporter', 'plan', *sys.argv[1:]], check=True,"
            " stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        archive = str(folder / "none")
        command = [sys.executable, "-c", code, str(folder / f"m.{each}"), "-o", archive]
        told = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found[f"{each}_mib"] = round(int(told.stdout) / 1024)
    return found


def ledger(folder: Path, count: int) -> dict[str, Any]:
    """Outcomes recorded a second, in batches as a run commits them."""
    audio = AudioFormat("pcm_s16le", 8000, 1, 16, 1.5)
    paces = []
    for number in range(ROUNDS):
        book = Ledger(folder / f"ledger-{number}.sqlite")
        book.begin_run("bench", BEGIN)
        wanted = [
            Recording("acme", "shop", f"CA{i}", Direction.COMBINED, Redaction.REDACTED, BEGIN)
            for i in range(count)
        ]
        for start in range(0, count, 1000):
            looked = book.look_up(wanted[start : start + 1000])
            book.plan([(one, "new", None) for one in looked])
        planned = []
        last = 0
        while page := book.planned(last, 1000):
            planned += page
            last = page[-1].seq
        outcomes = [
            (
                one.seq,
                Outcome(
                    Status.EXPORTED,
                    Archived(f"p/{one.seq}.wav", 100, f"{one.seq:064x}", audio, BEGIN, "c"),
                    attempts=1,
                ),
            )
            for one in planned
        ]

        def record(book: Ledger = book, outcomes: list[tuple[int, Outcome]] = outcomes) -> None:
            for start in range(0, count, BATCH):
                book.record(outcomes[start : start + BATCH], BEGIN)

        paces.append(count / seconds(record))
        book.close()
    return {"outcomes": count, "recorded_a_second": round(statistics.median(paces))}


async def sandbox(requests: int) -> dict[str, Any]:
    """What the sandbox serves: small answers a second, and megabytes a second of long calls."""
    found: dict[str, Any] = {}
    for name, length, count in (("requests_a_second", 0.1, requests), ("megabytes", 300.0, 40)):
        world = World(audio=AudioSettings(seconds=(length, length)))
        async with Sandbox(world=world) as server, aiohttp.ClientSession() as session:
            begun = time.perf_counter()
            size = 0

            async def fetch(
                numbers: range,
                session: aiohttp.ClientSession = session,
                origin: str = server.base_url,
            ) -> None:
                nonlocal size
                for number in numbers:
                    url = (
                        f"{origin}/v3/a/p/conversations/CA{number}/audio"
                        "?direction=combined&redacted=true"
                    )
                    async with session.get(url, headers={"x-api-key": "sandbox-key"}) as answer:
                        size += len(await answer.read())

            async with asyncio.TaskGroup() as group:
                for first in range(8):
                    group.create_task(fetch(range(first, count, 8)))
            passed = time.perf_counter() - begun
        if name == "megabytes":
            found["megabytes_a_second"] = round(size / passed / 1e6)
        else:
            found[name] = round(count / passed)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifests(folder, arguments.conversations)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "loading": lambda: loading(folder, arguments.conversations),
            "plan memory": lambda: memory(folder),
            "ledger": lambda: ledger(folder, 50_000),
            "sandbox": lambda: asyncio.run(sandbox(2000)),
        }
        for title, measure in measures.items():
            figures[title] = measure()
            fields = "  ".join(f"{key} {value}" for key, value in figures[title].items())
            print(f"{title:14} {fields}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
