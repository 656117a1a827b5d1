"""The real command against the sandbox, with everything going wrong: `make chaos`.

Each round has an archive of its own. Runs are killed with `kill -9` at random moments, meet random
faults of the network, a full disk or a lost ledger; then one run goes to the end, and everything
must be there: no recording lost, partial, duplicated or unrecorded, no temporary file left, and
another run must not send a single request. The seed is printed: the same seed makes the same plan
of misfortunes (not the same timing).

    python -m tests.chaos.chaos --rounds 200 [--seed N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.sandbox import (
    AudioSettings,
    Cut,
    Damage,
    Match,
    Reset,
    Respond,
    Rule,
    Times,
    World,
    WrongBody,
)
from tests.sandboxes import SandboxThread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.sandbox import Sandbox

CONCURRENCY = 8
BATCH = 256  # outcomes that the recorder commits at once, at most
STAGED = 128  # small files that are being synced, at most
PATIENCE = 120  # seconds for one run of the command
WORLD = World(audio=AudioSettings(seconds=(0.1, 0.6)))
DIRECTIONS = ("combined", "user", "agent")


@dataclass
class Tally:
    """What happened in all rounds."""

    rounds: int = 0
    runs: int = 0
    kills: int = 0
    full_disks: int = 0
    lost_ledgers: int = 0
    faults: int = 0
    requests: int = 0
    recordings: int = 0
    bytes: int = 0
    most_repeated: int = 0
    swept: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)


def service(seed: int) -> SandboxThread:
    """A sandbox, with all kinds of faults now and then."""
    faults = (
        Respond(503, retry_after=0),
        Reset(),
        Reset(after_bytes=500),
        Cut(after_bytes=700),
        WrongBody(Damage.TRUNCATED),
    )
    first = Times(1, 2)
    return SandboxThread(
        world=WORLD,
        scenario=[
            Rule(match=Match(probability=0.04, attempts=first, seed=seed), action=action)
            for seed, action in enumerate(faults, start=seed)
        ],
    )


class Round:
    """One archive, and what befalls it."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox,
        luck: random.Random,
        tally: Tally,
        *,
        archive: Path | None = None,
        conversations: int | None = None,
    ) -> None:
        self.folder = folder
        self.archive = archive or folder / "archive"
        self.sandbox = sandbox
        self.luck = luck
        self.tally = tally
        count = conversations or luck.randint(10, 60)
        self.conversations = [f"CA{n:03}" for n in range(count)]
        self.manifest = folder / "manifest.jsonl"
        self.manifest.write_text(
            "".join(
                json.dumps(
                    {
                        "account_id": "acme",
                        "project_id": f"shop-{n % 2}",
                        "id": name,
                        "started_at": f"2026-05-2{n % 5}T10:00:00Z",
                        "directions": list(DIRECTIONS),
                    }
                )
                + "\n"
                for n, name in enumerate(self.conversations)
            )
        )

    @property
    def expected(self) -> dict[str, bytes]:
        """What the archive must hold in the end."""
        return {
            f"acme/shop-{n % 2}/2026-05-2{n % 5}/{name}/{direction}.redacted.wav": WORLD.call(
                "acme", f"shop-{n % 2}", name
            ).wav(direction, redacted=True)
            for n, name in enumerate(self.conversations)
            for direction in DIRECTIONS
        }

    def start(self, *, file_size: int | None = None, free: str = "0") -> subprocess.Popen[bytes]:
        """One run of the command."""
        self.tally.runs += 1

        def limit() -> None:
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))

        return subprocess.Popen(
            [sys.executable, "-m", "exporter", "run", str(self.manifest), "--no-progress"],
            env={
                **os.environ,
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
                "POLYAI_API_KEY": "sandbox-key",
                "EXPORTER_API__BASE_URL": self.sandbox.base_url,
                "EXPORTER_OUTPUT__URL": str(self.archive),
                "EXPORTER_LIMITS__CONCURRENCY": str(CONCURRENCY),
                "EXPORTER_LIMITS__PROCESSES": str(self.luck.choice([1, 1, 2])),
                "EXPORTER_LIMITS__MIN_FREE_BYTES": free,
                "EXPORTER_RETRY__MAX_DELAY": "0.05",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("wb"),
            preexec_fn=limit,  # noqa: PLW1509 (no thread of ours holds a lock that the child needs)
        )

    def finish(self, process: subprocess.Popen[bytes], *allowed: int) -> None:
        """Wait for a run that is left alone."""
        code = process.wait(PATIENCE)
        self.tally.exit_codes[code] += 1
        log = (self.folder / "log").read_text()
        self.tally.swept += log.count("archive.swept")
        assert "Traceback" not in log, log
        assert code in allowed, f"exit code {code}, expected {allowed}\n{log}"

    def kill(self) -> None:
        """`kill -9` when a random number of requests has come in, and a little later."""
        asked = sum(self.sandbox.counts.values())
        after = asked + self.luck.randint(0, len(self.conversations))
        delay = self.luck.choice([0, 0.002, 0.01, 0.05, 0.2])
        process = self.start()
        until = time.monotonic() + self.luck.uniform(0.3, 3)
        while sum(self.sandbox.counts.values()) < after and process.poll() is None:
            time.sleep(0.001)
            if time.monotonic() > until:
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code == -signal.SIGKILL:
            self.tally.kills += 1

    def fill_disk(self) -> None:
        """A run on a disk that gets full: it must stop with exit 4 and leave a sound archive."""
        self.tally.full_disks += 1
        self.finish(self.start(file_size=self.luck.randint(2_000, 60_000)), 0, 1, 4)

    def lose_ledger(self) -> None:
        """The ledger is gone, as with a new machine."""
        self.tally.lost_ledgers += 1
        for path in self.archive.glob("_exporter/ledger.sqlite*"):
            path.unlink()

    def go_on(self) -> None:
        """To the end, and look at everything."""
        self.finish(self.start(), 0)
        asked = self.sandbox.requests
        self.finish(self.start(), 0)
        assert len(self.sandbox.requests) == len(asked), "the second run sent requests"
        self.check_files()
        self.check_verify()
        self.check_results()
        self.tally.requests += len(asked)
        self.tally.faults += sum(1 for one in asked if one.rule is not None)

    def check_files(self) -> None:
        """Exactly the expected files, byte for byte."""
        expected = self.expected
        found = {
            str(path.relative_to(self.archive)): path
            for path in self.archive.rglob("*")
            if path.is_file() and "_exporter" not in path.parts
        }
        manifests = {path for path in found if path.endswith("/manifest.json")}
        assert set(found) - manifests == set(expected), set(found) ^ set(expected)
        for path, body in expected.items():
            assert found[path].read_bytes() == body, f"{path} has other content"
        self.tally.recordings += len(expected)
        self.tally.bytes += sum(map(len, expected.values()))

    def check_verify(self) -> None:
        """`verify` finds everything in order, with and without the ledger."""
        for _ in range(self.luck.choice([1, 1, 2])):
            done = subprocess.run(
                [sys.executable, "-m", "exporter", "verify", str(self.archive), "--json"],
                capture_output=True,
                check=False,
            )
            found = json.loads(done.stdout)
            assert done.returncode == 0, found
            assert found["summary"]["ok"] == len(self.expected), found
            assert not found["warnings"], found
            for path in self.archive.glob("_exporter/ledger.sqlite*"):
                path.unlink()

    def check_results(self) -> None:
        """Every run left results that add up, also those that were killed."""
        for path in self.archive.glob("_exporter/runs/*/results.json"):
            document = json.loads(path.read_bytes())
            summary = document["summary"]
            counts = Counter(result["status"] for result in document["results"])
            assert summary["requested"] == len(document["results"])
            assert all(summary[status] == count for status, count in counts.items())
        assert not list(self.archive.rglob(".*.part")), "a temporary file is left"

    def check_repetition(self, kills: int) -> None:
        """A kill costs what was under way and one batch of the ledger, at most."""
        answered = Counter(
            (one.conversation, one.direction)
            for one in self.sandbox.requests
            if one.status == 200 and one.rule is None
        )
        repeated = sum(count - 1 for count in answered.values())
        self.tally.most_repeated = max(self.tally.most_repeated, repeated // max(kills, 1))
        assert repeated <= kills * (CONCURRENCY + STAGED + BATCH), f"{repeated} requests repeated"


def play(folder: Path, seed: int, tally: Tally) -> None:
    """One round."""
    luck = random.Random(seed)
    with service(seed) as sandbox:
        one = Round(folder, sandbox, luck, tally)
        kills = luck.randint(1, 3)
        lost = False
        for _ in range(kills):
            one.kill()
            if luck.random() < 0.25:
                one.fill_disk()
                lost = True
            if luck.random() < 0.1:
                one.lose_ledger()
                lost = True
        one.go_on()
        if not lost:
            one.check_repetition(kills)
    tally.rounds += 1


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path | None]:
    """A file system that gets full, where this machine lets us mount one."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-disk-"))
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],  # noqa: S607
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)  # noqa: S607
        shutil.rmtree(folder, ignore_errors=True)


def play_full_disk(seed: int, tally: Tally) -> bool:
    """A round on a disk that really gets full; False where none can be mounted."""
    with small_disk("600k") as disk, tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        if disk is None:
            return False
        with service(seed) as sandbox:
            one = Round(
                Path(folder),
                sandbox,
                random.Random(seed),
                tally,
                archive=disk / "archive",
                conversations=120,
            )
            tally.full_disks += 1
            one.finish(one.start(), 4)
            subprocess.run(
                ["mount", "-o", "remount,size=64m", str(disk)],  # noqa: S607
                check=True,
            )
            one.go_on()
    tally.rounds += 1
    return True


def main() -> int:
    """All rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    print(f"chaos: {arguments.rounds} rounds, seed {seed}", flush=True)
    tally = Tally()
    begun = time.monotonic()
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            try:
                if number % 10 or not play_full_disk(seed + number, tally):
                    play(Path(folder), seed + number, tally)
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"chaos-failed-{seed + number}"
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                print(f"round {number} failed: --rounds 1 --seed {seed + number}; see {kept}")
                raise
        if number % 20 == 19:
            print(f"{number + 1} rounds", flush=True)
    report(tally, time.monotonic() - begun)
    return 0


def report(tally: Tally, seconds: float) -> None:
    """What people want to know afterwards."""
    facts: dict[str, Any] = {**vars(tally), "seconds": round(seconds)}
    facts["exit_codes"] = dict(sorted(tally.exit_codes.items()))
    print(json.dumps(facts))
    print(
        f"{tally.rounds} rounds, {tally.runs} runs, {tally.kills} kills, {tally.faults} faults of"
        f" the network, {tally.full_disks} full disks, {tally.lost_ledgers} lost ledgers:"
        f" {tally.recordings} recordings ({tally.bytes} bytes) all there, none lost, partial,"
        f" duplicated or unrecorded; at most {tally.most_repeated} requests repeated a kill"
    )


if __name__ == "__main__":
    sys.exit(main())
