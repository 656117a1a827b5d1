"""Every row of the table of errors, from a scenario file to the results and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter import running
from exporter.sandbox import load_scenario
from exporter.settings import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox

SCENARIOS = Path(__file__).parent / "scenarios"

QUICK = {
    "POLYAI_API_KEY": "sandbox-key",
    "EXPORTER_RETRY__MAX_DELAY": "0.01",
    "EXPORTER_RETRY__ATTEMPTS": "3",
    "EXPORTER_LOG__LEVEL": "error",
}


@dataclass
class Ran:
    """How a run ended."""

    exit_code: int
    document: dict[str, Any]
    text: str
    sandbox: Sandbox | None = None

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(row["status"] for row in self.document["results"]))

    @property
    def kinds(self) -> dict[str, int]:
        return dict(
            Counter(row["error"]["kind"] for row in self.document["results"] if row["error"])
        )


@pytest.fixture
def export(
    tmp_path: Path, start_sandbox: Callable[..., Sandbox], capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Runs the command's own code in this process, against a scenario."""

    def export(
        scenario: str | None,
        *,
        conversations: int = 3,
        projects: int = 1,
        environ: dict[str, str] | None = None,
        base_url: str | None = None,
    ) -> Ran:
        sandbox = None
        if scenario is not None:
            rules = list(load_scenario(SCENARIOS / f"{scenario}.yaml").rules)
            sandbox = start_sandbox(scenario=rules)
            base_url = sandbox.base_url
        lines = ["version: 1", "defaults: {account_id: acme}", "conversations:"]
        lines += [
            f"  - {{project_id: P-{1 + number % projects}, id: CA{number + 1}}}"
            for number in range(conversations)
        ]
        manifest = tmp_path / "manifest.yaml"
        manifest.write_text("\n".join(lines))
        results = tmp_path / "results.json"
        exit_code = running.run(
            str(manifest),
            manifest_format=None,
            config_file=None,
            flags=[
                Flag("--base-url", ("api", "base_url"), base_url),
                Flag("--output", ("output", "url"), str(tmp_path / "archive")),
            ],
            wishes=running.Wishes(results_file=results, progress=False),
            environ=QUICK | (environ or {}),
        )
        document = json.loads(results.read_bytes())
        summary = document["summary"]
        rows = document["results"]
        assert summary["requested"] == len(rows) == conversations
        if sandbox is not None:
            assert summary["requests"] == len(sandbox.requests)
            refused = sum(request.status == 429 for request in sandbox.requests)
            assert summary["rate_limited"] == refused
        return Ran(exit_code, document, capsys.readouterr().err, sandbox)

    return export


@dataclass(frozen=True)
class Row:
    """One row of the table: a scenario, and what it leads to for three recordings.

    Attributes:
        statuses: of the recordings that were not exported.
        kinds: `error.kind` of those.
        requests: that the server saw.
        environ: settings besides the quick ones.
    """

    scenario: str
    requests: int
    exit_code: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


def once(scenario: str, status: str, kind: str) -> Row:
    """Never tried again."""
    return Row(scenario, 3, 1, {status: 1}, {kind: 1})


def recovers(scenario: str, **environ: str) -> Row:
    """Two failures, and the third attempt succeeds."""
    return Row(scenario, 5, environ=environ)


def to_the_last(scenario: str, kind: str) -> Row:
    """Three attempts, and then it has failed."""
    return Row(scenario, 5, 1, {"failed": 1}, {kind: 1})


ROWS = [
    once("bad-request", "failed", "bad_request"),
    once("method-not-allowed", "failed", "bad_request"),
    once("unprocessable", "failed", "bad_request"),
    once("not-implemented", "failed", "bad_request"),
    once("gone", "gone", "gone"),
    once("no-recording", "not_found", "recording_not_found"),
    once("no-conversation", "not_found", "conversation_not_found"),
    Row(
        "too-large",
        3,
        1,
        {"failed": 3},
        {"too_large": 3},
        {"EXPORTER_LIMITS__MAX_RECORDING_BYTES": "1000"},
    ),
    recovers("request-timeout"),
    recovers("rate-limited"),
    recovers("rate-limited-silently"),
    to_the_last("rate-limited-for-good", "rate_limited"),
    recovers("unavailable"),
    recovers("server-error"),
    recovers("bad-gateway"),
    to_the_last("server-error-for-good", "server_error"),
    recovers("reset"),
    recovers("reset-in-body"),
    recovers("stalled", EXPORTER_API__TIMEOUT__READ="0.5"),
    recovers("stalled-head", EXPORTER_API__TIMEOUT__READ="0.5"),
    recovers("cut"),
    recovers("cut-chunked"),
    recovers("cut-silently"),
    recovers("not-audio"),
    to_the_last("not-audio-for-good", "not_audio"),
    recovers("longer-than-promised"),
    recovers("noise"),
    once("one-refusal", "failed", "forbidden"),
    once("one-stranger", "failed", "wrong_host"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.scenario)
def test_errors_of_one_recording(export: Callable[..., Ran], row: Row) -> None:
    """Status, kind, number of requests and exit code are those of the table."""
    ran = export(row.scenario, environ=row.environ)
    exported = 3 - sum(row.statuses.values())
    assert ran.statuses == row.statuses | ({"exported": exported} if exported else {})
    assert ran.kinds == row.kinds
    assert len(ran.sandbox.requests) == row.requests  # type: ignore[union-attr]
    assert ran.exit_code == row.exit_code
    assert ran.document["summary"]["retries"] == row.requests - 3


@pytest.mark.parametrize(
    ("scenario", "kind"), [("unauthorized", "unauthorized"), ("forbidden", "forbidden")]
)
def test_a_refused_key_is_not_tried_500_times(
    export: Callable[..., Ran], scenario: str, kind: str
) -> None:
    """Two requests prove it; the message says what to check, and the rest is cancelled."""
    ran = export(scenario, conversations=500)
    assert ran.exit_code == 3
    assert len(ran.sandbox.requests) == 2  # type: ignore[union-attr]
    assert ran.statuses == {"failed": 2, "cancelled": 498}
    assert ran.kinds[kind] == 2
    assert ran.document["run"]["status"] == "stopped"
    text = " ".join(ran.text.split())
    assert text.count("refused the key from POLYAI_API_KEY") == 1
    for word in ("expired", "rotated", "region", "projects", "permission"):
        assert word in text


def test_a_single_recording_with_a_refused_key(export: Callable[..., Ran]) -> None:
    """Where there is no second recording to prove it with, the first has to do."""
    ran = export("unauthorized", conversations=1)
    assert (ran.exit_code, ran.statuses) == (3, {"failed": 1})


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [("forbidden-project", "forbidden"), ("unknown-project", "project_not_found")],
)
def test_one_project_of_several_is_refused(
    export: Callable[..., Ran], scenario: str, kind: str
) -> None:
    """Only its recordings fail, most of them unasked; the run goes on for the others."""
    ran = export(scenario, conversations=60, projects=3)
    assert ran.exit_code == 1
    assert ran.statuses == {"failed": 20, "exported": 40}
    assert ran.kinds == {kind: 20}
    refused = [request for request in ran.sandbox.requests if request.project == "P-1"]  # type: ignore[union-attr]
    assert 2 <= len(refused) < 20
    unasked = [row for row in ran.document["results"] if row["error"] and not row["attempts"]]
    assert len(unasked) == 20 - len(refused)
    assert all(row["error"]["message"].startswith("not asked for: ") for row in unasked)


def test_one_key_of_two_is_refused(export: Callable[..., Ran]) -> None:
    """The recordings of the other key are exported."""
    entries = [
        {"project_id": "P-1", "api_key_env": "EXPIRED"},
        {"api_key_env": "POLYAI_API_KEY"},
    ]
    ran = export(
        "too-large",  # no rule in it
        conversations=40,
        projects=2,
        environ={"EXPIRED": "sandbox-key-expired", "EXPORTER_CREDENTIALS": json.dumps(entries)},
    )
    assert ran.exit_code == 1
    assert ran.statuses == {"failed": 20, "exported": 20}
    assert ran.kinds == {"unauthorized": 20}
    assert len(ran.sandbox.requests) == 22  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("scenario", "kind"), [("wrong-host", "wrong_host"), ("redirected", "unexpected_status")]
)
def test_a_host_that_is_not_the_api(export: Callable[..., Ran], scenario: str, kind: str) -> None:
    """Three requests prove it; the message says what to check."""
    ran = export(scenario, conversations=500)
    assert ran.exit_code == 1
    assert len(ran.sandbox.requests) == 3  # type: ignore[union-attr]
    assert set(ran.statuses) == {"failed", "cancelled"}
    assert ran.kinds[kind] == ran.statuses["failed"]
    assert "is not the API" in " ".join(ran.text.split())
    assert "api.base_url" in ran.text


@pytest.mark.parametrize("scenario", ["come-back-tomorrow", "come-back-tomorrow-by-date"])
def test_a_server_that_wants_to_be_left_alone(export: Callable[..., Ran], scenario: str) -> None:
    """A wait that is too long ends the run, which can be gone on with."""
    ran = export(scenario, conversations=50)
    assert ran.exit_code == 8
    assert ran.statuses == {"cancelled": 50}
    assert len(ran.sandbox.requests) <= 2  # type: ignore[union-attr]
    assert "retry.max_retry_after" in ran.text


def test_a_server_that_answers_nothing_but_errors(export: Callable[..., Ran]) -> None:
    """After `retry.max_outage` the run ends, having asked few times."""
    environ = {"EXPORTER_RETRY__MAX_OUTAGE": "0.02", "EXPORTER_RETRY__ATTEMPTS": "100"}
    ran = export("nothing-but-errors", conversations=50, environ=environ)
    assert ran.exit_code == 1
    assert ran.statuses == {"cancelled": 50}
    assert "answered nothing but errors" in " ".join(ran.text.split())


@pytest.mark.parametrize(
    ("base_url", "word"),
    [
        ("http://no-such-host.invalid", "host name"),
        ("http://127.0.0.1:9", "no connection"),
    ],
)
def test_a_host_that_is_away(export: Callable[..., Ran], base_url: str, word: str) -> None:
    """The run ends with a reason and a hint, and nothing has failed."""
    environ = {
        "EXPORTER_RETRY__MAX_OUTAGE": "0.05",
        "EXPORTER_API__ALLOW_INSECURE_HTTP": "true",
    }
    ran = export(None, base_url=base_url, conversations=50, environ=environ)
    assert ran.exit_code == 1
    assert ran.statuses == {"cancelled": 50}
    text = " ".join(ran.text.split())
    assert "could not be reached" in text
    assert word in text


def test_max_failures(export: Callable[..., Ran]) -> None:
    """The run stops when so many have failed."""
    ran = export(
        "server-error-for-good",
        conversations=60,
        environ={
            "EXPORTER_LIMITS__MAX_FAILURES": "1",
            "EXPORTER_LIMITS__CONCURRENCY": "1",
            "EXPORTER_RETRY__ATTEMPTS": "1",
        },
    )
    assert ran.exit_code == 8
    assert ran.statuses["failed"] == 1
    assert ran.statuses["cancelled"] > 30  # all that was not under way already
    assert ran.document["run"]["status"] == "stopped"
    assert "limits.max_failures" in ran.text


def test_deadline(export: Callable[..., Ran]) -> None:
    """A run that has passed its deadline begins nothing new, and says so."""
    ran = export("too-large", environ={"EXPORTER_LIMITS__DEADLINE": "0s"})
    assert ran.exit_code == 8
    assert ran.statuses == {"cancelled": 3}
    assert "deadline" in ran.text
    # What nobody had begun with is told as what somebody gave up.
    assert ran.document["summary"]["errors"] == {"cancelled": 3}
    assert "not exported: cancelled (3)" in ran.text


def test_every_scenario_is_used() -> None:
    """No file lies there without a test."""
    text = Path(__file__).read_text(encoding="utf-8")
    unused = [path.stem for path in SCENARIOS.glob("*.yaml") if f'"{path.stem}"' not in text]
    assert unused == []
