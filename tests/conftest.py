"""Real parts for all tests: a sandbox on loopback in a thread, and the command itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import structlog
from hypothesis import HealthCheck, settings

from exporter.__main__ import main
from exporter.sandbox import AudioSettings, World
from tests.object_stores import (  # fixtures
    azurite,  # noqa: F401
    bucket,  # noqa: F401
    new_bucket,  # noqa: F401
    seaweedfs,  # noqa: F401
)
from tests.sandboxes import SandboxThread
from tests.store_proxy import proxy  # noqa: F401 (a fixture)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.sandbox import Limits, Rule, Sandbox

settings.register_profile(
    "default",
    deadline=None,  # no test asserts a time; these machines are shared
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("default")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and the commands under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

KEY = "sandbox-key"
SHORT_CALLS = AudioSettings(seconds=(0.1, 0.4))


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes with short calls; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(
            *,
            world: World | None = None,
            scenario: list[Rule] | None = None,
            limits: Limits | None = None,
        ) -> Sandbox:
            return stack.enter_context(
                SandboxThread(
                    world=world or World(audio=SHORT_CALLS), scenario=scenario or [], limits=limits
                )
            )

        yield start


@pytest.fixture
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox where every conversation exists."""
    return start_sandbox()


@dataclass
class Finished:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str
    archive: Path

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    def results(self) -> dict[str, Any]:
        """The newest results document of the archive."""
        files = sorted(self.archive.glob("_exporter/runs/*/results.json"), key=os.path.getmtime)
        document: dict[str, Any] = json.loads(files[-1].read_bytes())
        return document


@dataclass
class Command:
    """Runs `exporter` as users do: arguments, environment, folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    in_process: bool = False

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def arguments(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "exporter", *map(str, arguments)]

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """A process of its own, for signals."""
        return subprocess.Popen(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def __call__(self, *arguments: object, stdin: str | bytes = "") -> Finished:
        """To the end; in a process of its own, unless the tests are marked `in_process`."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        finish = self._finish_here if self.in_process else self._finish_apart
        return Finished(*finish(list(map(str, arguments)), data), self.archive)

    def _finish_apart(self, arguments: list[str], stdin: bytes) -> tuple[int, str, str]:
        done = subprocess.run(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=100,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def _finish_here(self, arguments: list[str], stdin: bytes) -> tuple[int, str, str]:
        """The same program, without the second that a new process takes to import it."""
        given, told, logged = (io.TextIOWrapper(io.BytesIO(each)) for each in (stdin, b"", b""))
        code: object = 0
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.multiple(sys, argv=["exporter", *arguments], stdin=given),
            mock.patch.object(sys, "excepthook", sys.excepthook),  # typer sets its own
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(logged),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code
            finally:
                structlog.reset_defaults()
        assert isinstance(code, int)
        return code, _text(told), _text(logged)

    def use_processes(self, count: int) -> None:
        """So many fetch for every run."""
        self.environment["EXPORTER_LIMITS__PROCESSES"] = str(count)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@pytest.fixture
def exporter(tmp_path: Path, request: pytest.FixtureRequest) -> Command:
    """The command in an empty folder, with the sandbox's key and without the user's settings."""
    # Without PYTHONDONTWRITEBYTECODE: each command would compile the whole package again.
    keep = ("PATH", "PYTHONPATH", "LANG", "SYSTEMROOT")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    return Command(
        tmp_path,
        environment
        | {
            "HOME": str(tmp_path),
            "POLYAI_API_KEY": KEY,
            "PYTHONWARNINGS": "error",
            "EXPORTER_OUTPUT__URL": str(tmp_path / "archive"),
            "EXPORTER_RETRY__MAX_DELAY": "0.05",
            "EXPORTER_LIMITS__MIN_FREE_BYTES": "0",  # small disks run tests too
        },
        in_process=request.node.get_closest_marker("in_process") is not None,
    )
