"""The same work done by us and by the peers that this machine has: fetch, hash, keep, on loopback.

    python benchmarks/downloads.py [--quick] [--times N] [--folder FOLDER] [--rounds N]
                                   [--only NAME,NAME] [--sizes SIZE,SIZE] [--places disk,memory]
                                   [--json FILE] [--svg FILE]

nginx serves WAV files of 64 KiB, 1 MiB and 8 MiB. In each round every contestant fetches all of
them once into a fresh folder, 16 at a time, in turn: onto a disk, and then the same in memory. All
keep them under the same names, those of our archive, where each conversation has a folder; but for
`curl-flat`, which puts all files into one folder, to show what that costs a file system. A
peer is followed by `openssl dgst -sha256` over what it fetched, in two processes. Ours does
everything that a run does: manifest, plan, WAV check, hash, sync, ledger, partition manifest,
results. Before each, what the one before has left to be written is written, and memory is touched.

Ours takes part twice: with one process, and with `--processes`, one a core up to 4.

Printed are medians over the rounds: files and megabytes a second, CPU seconds of all processes
together, the largest process's peak memory. *Steady* leaves out what a run of one recording takes,
so that a short benchmark tells of long runs; for all contestants alike. *Synced* is the same with
the time that it takes until what was fetched would survive a loss of power: ours is synced when it
ends, what the others fetched is so when the system has written it, which is asked for and waited
for. Without that, a peer may have kept nothing yet but memory.

How fast ours is depends on how the interpreter was built: one without profile-guided optimization,
as pyenv makes them unless told otherwise, may take twice as long as a distribution's of the same
version. What hashing and interpreting take here is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.picture import bars
from benchmarks.serving import find, nginx

AT_ONCE = 16
OURS = "exporter"
FLAT = "curl-flat"
PROCESSES = min(os.cpu_count() or 1, 4)  # of the second entry of ours
WORK = {  # name: (bytes, files, files with --quick)
    "64KiB": (64 * 1024, 8000, 2000),
    "1MiB": (1024 * 1024, 1000, 200),
    "8MiB": (8 * 1024 * 1024, 200, 40),
}
ACCOUNT, DATE = "a", "2026-05-21"  # of all recordings
_HASHINGS = 32
_STEPS = 1_000_000
_HASHED_BYTES = bytes(1024 * 1024)
MANY = 1000  # files; a disk that has just removed more is slow to make new ones
_HASHED = "find {folder} -type f -print0 | xargs -0 -P 2 -n {half} openssl dgst -sha256 > {hashes}"
_PARFIVE = """\
import sys, parfive
names, server, folder = sys.argv[1:]
downloader = parfive.Downloader(max_conn=16, max_splits=1, progress=False)
for name in open(names).read().split():
    place, _, file = name.rpartition("/")
    downloader.enqueue_file(f"{server}/{name}", path=f"{folder}/{place}", filename=file)
failed = downloader.download().errors
sys.exit(bool(failed))
"""


@dataclass(frozen=True)
class Errand:
    """What is to be fetched, and where to."""

    server: str
    name: str
    count: int
    folder: Path  # fresh; notes may lie beside it

    @property
    def names(self) -> list[str]:
        """Of every file, relative to the folder: as our archive has them."""
        return [
            f"{ACCOUNT}/{self.name}/{DATE}/CA{number:06}/combined.redacted.wav"
            for number in range(self.count)
        ]

    def address(self, name: str) -> str:
        """Where the file of that name is to be had."""
        return f"{self.server}/files/{name}"

    def note(self, ending: str, text: str) -> str:
        """A file beside the folder; its name for a shell."""
        path = self.folder.with_name(f"{self.folder.name}.{ending}")
        path.write_text(text)
        return shlex.quote(str(path))


Command = Callable[[Errand], str]
"""A contestant: the shell's words for an errand."""


def curl(*, at_once: int = AT_ONCE, flat: bool = False) -> Command:
    """One process, connections kept; `flat`: all files in one folder, which is less work."""

    def command(errand: Errand) -> str:
        lines = "".join(
            f'url = "{errand.address(name)}"\n'
            f'output = "{errand.folder}/{name.replace("/", "-") if flat else name}"\n'
            for name in errand.names
        )
        config = errand.note("curl", lines)
        folders = "" if flat else " --create-dirs"
        return f"curl -sS --fail --parallel --parallel-max {at_once}{folders} -K {config}"

    return command


def aria2(errand: Errand) -> str:
    """One connection a file; it syncs what it writes."""
    lines = (f"{errand.address(name)}\n  out={name}\n" for name in errand.names)
    urls = errand.note("urls", "".join(lines))
    return (
        f"aria2c -q -i {urls} -d {errand.folder} -j {AT_ONCE} -x 1 -s 1 --file-allocation=none"
        " --auto-file-renaming=false"
    )


def wget2(errand: Errand) -> str:
    """Threads."""
    urls = errand.note("urls", "\n".join(map(errand.address, errand.names)))
    return (
        f"wget2 -q -i {urls} -P {errand.folder} --max-threads={AT_ONCE} --no-robots"
        " --force-directories --no-host-directories --cut-dirs=1"
    )


def rclone(errand: Errand) -> str:
    """Go; it asks for the head of each file first."""
    names = errand.note("names", "\n".join(errand.names))
    return (
        f"rclone copy -q --config /dev/null --transfers {AT_ONCE} --checkers {AT_ONCE}"
        f" --multi-thread-streams 0 --files-from-raw {names} --no-traverse"
        f" --http-url {errand.server}/files :http: {errand.folder}"
    )


def parfive(errand: Errand) -> str:
    """Python, aiohttp and aiofiles as well."""
    program = errand.note("py", _PARFIVE)
    names = errand.note("names", "\n".join(errand.names))
    server = f"{errand.server}/files"
    return f"{_parfive_python()} {program} {names} {server} {errand.folder} > /dev/null 2>&1"


def exporter(*, processes: int = 1, at_once: int = AT_ONCE) -> Command:
    """The whole of a run."""

    def command(errand: Errand) -> str:
        entries = "".join(
            f'{{"account_id":"{ACCOUNT}","project_id":"{errand.name}","id":"CA{number:06}",'
            f'"started_at":"{DATE}T22:14:03Z"}}\n'
            for number in range(errand.count)
        )
        manifest = errand.note("jsonl", entries)
        return (
            f"{shlex.quote(sys.executable)} -m exporter run {manifest} -o {errand.folder}"
            f" --base-url {errand.server} -j {at_once} --processes {processes}"
            " --no-progress --log-level error"
        )

    return command


def _parfive_python() -> str:
    return os.environ.get("PARFIVE_PYTHON", sys.executable)


def _has_parfive() -> bool:
    command = [_parfive_python(), "-c", "import parfive"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def contestants() -> dict[str, Command]:
    """Ourselves, and the peers that are installed; the others are named."""
    found: dict[str, Command] = {OURS: exporter()}
    if PROCESSES > 1:
        found[f"{OURS}-{PROCESSES}"] = exporter(processes=PROCESSES)
    for program, package, commands in (
        ("curl", "curl", {"curl": curl(), FLAT: curl(flat=True)}),
        ("rclone", "rclone", {"rclone": rclone}),
        ("wget2", "wget2", {"wget2": wget2}),
        ("aria2c", "aria2", {"aria2": aria2}),
    ):
        if find(program):
            found |= commands
        else:
            print(f"{program} is not installed and is left out (Debian: apt-get install {package})")
    if _has_parfive():
        found["parfive"] = parfive
    else:
        print(
            "parfive is left out: pip install parfive, in an environment that PARFIVE_PYTHON names"
        )
    return found


@dataclass(frozen=True)
class Measured:
    """One contestant, one errand."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    sync_seconds: float


def fetch(name: str, command: Command, errand: Errand, *, hashing: bool = True) -> Measured:
    """Run it, and its hashing; all that it brought must be there, under the right names.

    Raises:
        SystemExit: it failed, or brought less.
    """
    errand.folder.mkdir(parents=True)
    script = command(errand)
    if hashing and not name.startswith(OURS):
        hashes = errand.folder.with_name(f"{errand.folder.name}.sha256")
        half = (errand.count + 1) // 2
        script += " && " + _HASHED.format(folder=errand.folder, half=half, hashes=hashes)
    environ = {
        **os.environ,
        "POLYAI_API_KEY": "made-up",
        "EXPORTER_LIMITS__MIN_FREE_BYTES": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
    begun = time.perf_counter()
    process = subprocess.Popen(["/bin/sh", "-c", script], env=environ, stderr=subprocess.PIPE)  # noqa: S603
    assert process.stderr is not None  # noqa: S101 (for the type checker)
    said = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    brought = {str(each.relative_to(errand.folder)) for each in errand.folder.rglob("*.wav")}
    right = len(brought) == errand.count if name == FLAT else brought == set(errand.names)
    if os.waitstatus_to_exitcode(status) or not right:
        sys.exit(
            f"{name} brought {len(brought)} of {errand.count} files of {errand.name},"
            f" {min(brought, default=None)} the first of them:\n{said[-2000:]}"
        )
    begun = time.perf_counter()
    os.sync()
    syncing = time.perf_counter() - begun
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, syncing)


def settle(size: int) -> None:
    """The same beginning for all: nothing left to be written, and so much memory touched.

    A machine hands memory out slowly the first time, to whoever is first.
    """
    os.sync()
    touch = (
        "import mmap, sys; memory = mmap.mmap(-1, int(sys.argv[1]));"
        "[memory.__setitem__(at, 1) for at in range(0, len(memory), mmap.PAGESIZE)]"
    )
    # In a process of its own: a child's peak memory is never told as less than its parent's.
    subprocess.run([sys.executable, "-c", touch, str(size)], check=True)  # noqa: S603


def compare(
    server: str,
    place: str,
    folder: Path,
    *,
    work: dict[str, tuple[int, int]],
    rounds: int,
    only: set[str],
) -> list[dict[str, Any]]:
    """All contestants, all sizes, in turn, in one place."""
    rows: list[dict[str, Any]] = []
    entrants = {name: each for name, each in contestants().items() if not only or name in only}
    for size_name, (size, count) in work.items():
        runs: dict[str, list[Measured]] = {name: [] for name in entrants}
        starts: dict[str, float] = {}
        here = folder / size_name
        for name, command in entrants.items():
            starts[name] = min(
                fetch(
                    name,
                    command,
                    Errand(server, size_name, 1, here / f"one-{name}-{again}"),
                ).seconds
                for again in range(3)
            )
        for number in range(rounds):
            for name, command in entrants.items():
                settle(size * count)
                errand = Errand(server, size_name, count, here / f"{number}-{name}")
                runs[name].append(fetch(name, command, errand))
                if count <= MANY or place == "memory":
                    shutil.rmtree(errand.folder)
        shutil.rmtree(here)
        rows += [
            row(
                name,
                place=place,
                size_name=size_name,
                size=size,
                count=count,
                runs=measured,
                start=starts[name],
            )
            for name, measured in runs.items()
        ]
        show(rows[-len(runs) :])
    return rows


def row(
    name: str,
    *,
    place: str,
    size_name: str,
    size: int,
    count: int,
    runs: list[Measured],
    start: float,
) -> dict[str, Any]:
    """The medians of one contestant for one size."""
    seconds = sorted(each.seconds for each in runs)
    middle = statistics.median(seconds)
    steady = middle - start
    synced = statistics.median(each.seconds + each.sync_seconds for each in runs) - start
    return {
        "place": place,
        "size": size_name,
        "files": count,
        "name": name,
        "files_a_second": round(count / middle),
        "megabytes_a_second": round(count * size / middle / 1e6, 1),
        "steady_files_a_second": round((count - 1) / steady),
        "steady_megabytes_a_second": round((count - 1) * size / steady / 1e6, 1),
        "synced_files_a_second": round((count - 1) / synced),
        "start_seconds": round(start, 3),
        "spread": round((seconds[-1] - seconds[0]) / middle, 3),
        "cpu_seconds": round(statistics.median(each.cpu_seconds for each in runs), 2),
        "peak_mib": round(statistics.median(each.peak_mib for each in runs)),
        "rounds": [asdict(each) for each in runs],
    }


def show(rows: list[dict[str, Any]]) -> None:
    """A table for people; ratios are ours to theirs."""
    ours = [each for each in rows if each["name"].startswith(OURS)]
    print(
        f"\n{rows[0]['files']} files of {rows[0]['size']}, {rows[0]['place']}\n"
        f"{'':11}{'files/s':>9}{'MB/s':>9}{'steady':>9}{'synced':>8}{'spread':>8}{'CPU s':>8}"
        f"{'MiB':>6}  ours/theirs, steady | synced"
        + ("" if len(ours) == 1 else f" ({', '.join(each['name'] for each in ours)})")
    )
    for each in sorted(rows, key=lambda row: -row["steady_files_a_second"]):
        pace = each["steady_files_a_second"]
        ratios = " | ".join(
            "  ".join(f"{one[kind] / each[kind]:.2f}" for one in ours)
            for kind in ("steady_files_a_second", "synced_files_a_second")
        )
        print(
            f"{each['name']:11}{each['files_a_second']:9}{each['megabytes_a_second']:9}"
            f"{pace:9}{each['synced_files_a_second']:8}{each['spread']:8.0%}"
            f"{each['cpu_seconds']:8}{each['peak_mib']:6}  {ratios}",
            flush=True,
        )


def main() -> None:
    """Serve, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the files, two rounds")
    parser.add_argument("--times", type=int, default=1, help="so many times as many files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="contestants, separated by commas")
    parser.add_argument("--sizes", default="", help="such as 64KiB,8MiB")
    parser.add_argument("--places", default="disk,memory")
    parser.add_argument("--folder", type=Path, help="on the disk, to work in")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    chosen = [name for name in WORK if not arguments.sizes or name in arguments.sizes.split(",")]
    work = {
        name: (WORK[name][0], WORK[name][2 if arguments.quick else 1] * arguments.times)
        for name in chosen
    }
    served = {name: size for name, (size, _) in work.items()}
    rounds = 2 if arguments.quick else arguments.rounds
    print(machine())
    with tempfile.TemporaryDirectory(prefix="served-", dir=_memory()) as source:
        Path(source).chmod(0o755)  # nginx reads as somebody else when it is started by root
        with nginx(Path(source) / "nginx", served) as server:
            rows = []
            for place in arguments.places.split(","):
                with fresh_folder(place, arguments.folder) as folder:
                    only = set(filter(None, arguments.only.split(",")))
                    rows += compare(server, place, folder, work=work, rounds=rounds, only=only)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(bars(rows))


def machine() -> str:
    """What the figures depend on most."""
    begun = time.perf_counter()
    for _ in range(_HASHINGS):
        hashlib.sha256(_HASHED_BYTES).digest()
    hashing = _HASHINGS * len(_HASHED_BYTES) / (time.perf_counter() - begun) / 1e6
    begun = time.perf_counter()
    for number in range(_STEPS):
        str(number)
    steps = _STEPS / (time.perf_counter() - begun) / 1e6
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()}"
        f" processors; SHA-256 {hashing:.0f} MB/s, interpreter {steps:.1f} million steps a second"
    )


@contextlib.contextmanager
def fresh_folder(place: str, disk: Path | None) -> Iterator[Path]:
    """Where to keep what is fetched, until it has been.

    Raises:
        SystemExit: it cannot be had.
    """
    parent = disk
    if place == "memory" and (parent := _memory()) is None:
        sys.exit("this machine has no /dev/shm: --places disk")
    folder = Path(tempfile.mkdtemp(prefix="fetched-", dir=parent)).absolute()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """What is served comes from memory where that is to be had."""
    folder = Path("/dev/shm")  # noqa: S108 (that folder is meant)
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    main()
