"""How long `discover` takes, and whether its memory grows with the list.

    python benchmarks/discovering.py [--conversations 1000000]

The sandbox lists 20,000 conversations a day; asked for are those of the first day, and then so
many. Half of the time on two cores is the sandbox's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.second_run import measure
from benchmarks.serving import await_port, free_port

A_DAY = 20_000
FIRST = date(2026, 1, 1)
SCENARIO = f"""\
version: 1
world: {{histories: [{{per_day: {A_DAY}, first_day: {FIRST}, turns: 0}}]}}
"""


def main() -> None:
    """List, twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="listed-") as name:
        folder, port = Path(name), free_port()
        (folder / "scenario.yaml").write_text(SCENARIO)
        sandbox = [sys.executable, "-m", "exporter", "sandbox", "--port", str(port)]
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [*sandbox, "--scenario", "scenario.yaml"], cwd=folder, stdout=subprocess.DEVNULL
        )
        try:
            await_port(port)
            for count in (A_DAY, arguments.conversations):
                until = FIRST + timedelta(days=-(-count // A_DAY))
                window = ("--from", str(FIRST), "--to", str(until), "--timezone", "UTC")
                measure(
                    f"discover {count}",
                    folder,
                    *("discover", "--account", "a", "--project", "p", *window, "-o", "found.yaml"),
                    *("--base-url", f"http://127.0.0.1:{port}"),
                    key="sandbox-key",
                )
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
