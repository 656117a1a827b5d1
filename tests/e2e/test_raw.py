"""Whether what was asked for as raw is raw: evidence, PII access and policies, end to end."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from exporter.sandbox import AudioSettings, Match, RedactionStyle, Respond, Rule, World
from exporter.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command, Finished

pytestmark = pytest.mark.in_process

AUDIO = AudioSettings(seconds=(0.3, 1.0))
NO_PII = "sandbox-key-no-pii"


@pytest.fixture
def calls(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox whose calls are short, and long enough to hold something private."""
    return start_sandbox(world=World(audio=AUDIO))


def manifest(count: int, redaction: str = "[redacted, raw]", directions: str = "[combined]") -> str:
    names = "".join(f"- CA{number:03}\n" for number in range(count))
    return (
        f"version: 1\ndefaults: {{account_id: a, project_id: p, redaction: {redaction},"
        f" directions: {directions}}}\nconversations:\n{names}"
    )


def rows(done: Finished) -> dict[tuple[str, str, str], dict[str, Any]]:
    document = done.results()
    jsonschema.validate(document, json.loads(schema("results")))
    return {
        (row["conversation_id"], row["direction"], row["redaction"]): row
        for row in document["results"]
    }


def state(done: Finished) -> str:
    (access,) = done.results()["summary"]["pii_access"]
    return str(access["state"])


def test_a_key_with_pii_access_is_confirmed(exporter: Command, calls: Sandbox) -> None:
    """Muted spans are those that the sandbox muted, within 20 ms, on both rows of each pair."""
    exporter.write("job.yaml", manifest(8, directions="[combined, user]"))

    done = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")

    assert done.exit_code == 0, done.stderr
    assert state(done) == "confirmed"
    assert "PII access in a/p: confirmed (raw audio differed from redacted audio" in done.stderr
    found = rows(done)
    assert len(found) == 32
    muted = 0
    for (name, direction, redaction), row in found.items():
        spans = calls.world.call("a", "p", name).pii_spans
        other = found[name, direction, "raw" if redaction == "redacted" else "redacted"]
        for field in ("redaction_evidence", "muted_spans"):
            assert row[field] == other[field]
        if direction == "combined":
            assert row["redaction_evidence"] == ("confirmed" if spans else "identical")
            assert len(row["muted_spans"]) == len(spans)
            edges = zip(chain(*row["muted_spans"]), chain(*spans), strict=True)
            assert all(abs(ours - theirs) <= 0.02 for ours, theirs in edges)
            muted += len(spans)
    assert muted > 5
    partition = json.loads((done.archive / "a/p/undated/manifest.json").read_bytes())
    for held in partition["recordings"]:
        row = found[held["conversation_id"], held["direction"], held["redaction"]]
        assert held["redaction_evidence"] == row["redaction_evidence"]
        assert held["muted_spans"] == row["muted_spans"]


def test_a_key_without_pii_access_is_suspected(exporter: Command, calls: Sandbox) -> None:
    """Twenty pairs that are the same give a warning; `--require-raw` makes it exit code 7."""
    exporter.environment["POLYAI_API_KEY"] = NO_PII
    exporter.write("job.yaml", manifest(20))

    lenient = exporter("run", "job.yaml", "--base-url", calls.base_url)

    assert lenient.exit_code == 0, lenient.stderr
    assert state(lenient) == "suspected_missing"
    assert {row["redaction_evidence"] for row in rows(lenient).values()} == {"identical"}
    assert lenient.stderr.count("pii_access.suspected_missing") == 1
    assert "ask the account's administrator" in lenient.stderr
    sent = len(calls.requests)

    strict = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")

    assert strict.exit_code == 7
    assert "require_raw is set" in strict.stderr
    assert len(calls.requests) == sent
    document = strict.results()
    assert (document["run"]["status"], document["run"]["exit_code"]) == ("complete", 7)
    assert document["summary"]["skipped"] == 40
    assert all((strict.archive / row["path"]).is_file() for row in rows(strict).values())


def test_too_few_pairs_say_nothing(exporter: Command, calls: Sandbox) -> None:
    """Below the number that is enough, access is unknown, and `--require-raw` only warns."""
    exporter.environment["POLYAI_API_KEY"] = NO_PII
    exporter.write("job.yaml", manifest(4))

    done = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")

    assert (done.exit_code, state(done)) == (0, "unknown")
    assert "pii_access.unknown" in done.stderr
    exporter.environment["EXPORTER_EXPORT__ENOUGH_IDENTICAL"] = "4"
    again = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")
    assert (again.exit_code, state(again)) == (7, "suspected_missing")


def test_an_identical_pair_is_no_reason_where_access_is_proven(
    exporter: Command, calls: Sandbox
) -> None:
    """One confirmed pair settles it, however many others hold nothing private."""
    exporter.environment["EXPORTER_EXPORT__ENOUGH_IDENTICAL"] = "1"
    exporter.write("job.yaml", manifest(12))

    done = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")

    assert (done.exit_code, state(done)) == (0, "confirmed")
    assert {row["redaction_evidence"] for row in rows(done).values()} == {"identical", "confirmed"}


def test_a_pair_is_completed_by_a_later_run(exporter: Command, calls: Sandbox) -> None:
    """Redacted archived yesterday and raw today are compared today; until then `unpaired`."""
    exporter.write("job.yaml", manifest(6, "[redacted]"))
    first = exporter("run", "job.yaml", "--base-url", calls.base_url)
    assert {row["redaction_evidence"] for row in rows(first).values()} == {"unpaired"}
    assert {row["muted_spans"] for row in rows(first).values()} == {None}
    assert state(first) == "unknown"
    exporter.write("job.yaml", manifest(6, "[raw]"))

    second = exporter("run", "job.yaml", "--base-url", calls.base_url)

    assert second.exit_code == 0, second.stderr
    assert state(second) == "confirmed"
    told = rows(second)
    assert len(told) == 6
    assert {row["redaction_evidence"] for row in told.values()} == {"identical", "confirmed"}
    exporter.write("job.yaml", manifest(6, "[redacted]"))
    third = exporter("run", "job.yaml", "--base-url", calls.base_url)
    for (name, direction, _), row in rows(third).items():
        assert row["status"] == "skipped"
        assert row["muted_spans"] == told[name, direction, "raw"]["muted_spans"]


def test_a_lost_ledger_leaves_evidence_of_no_known_key(exporter: Command, calls: Sandbox) -> None:
    """The manifests give back what was compared; with which key they do not say, and nor do we."""
    exporter.write("job.yaml", manifest(6))
    assert state(exporter("run", "job.yaml", "--base-url", calls.base_url)) == "confirmed"
    for path in exporter.archive.glob("_exporter/ledger.sqlite*"):
        path.unlink()

    again = exporter("run", "job.yaml", "--base-url", calls.base_url)

    assert {row["status"] for row in rows(again).values()} == {"skipped"}
    assert "confirmed" in {row["redaction_evidence"] for row in rows(again).values()}
    assert state(again) == "unknown"
    assert "differs from redacted audio in" in again.stderr
    assert "but no record says that today's key read it" in again.stderr


def test_a_redaction_that_shortens_is_told(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Pairs of unequal length are inconsistent: a warning each, and no proof of anything."""
    audio = AudioSettings(seconds=(1.0, 2.0), redaction=RedactionStyle.SHORTEN, pii_share=1.0)
    sandbox = start_sandbox(world=World(audio=audio))
    exporter.write("job.yaml", manifest(3))

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)

    assert (done.exit_code, state(done)) == (0, "unknown")
    assert done.stderr.count("pair.inconsistent") == 3
    assert "shorter than the raw one" in done.stderr
    assert {row["redaction_evidence"] for row in rows(done).values()} == {"inconsistent"}


def test_a_damaged_file_is_not_compared(exporter: Command, calls: Sandbox) -> None:
    """A file that is not the recorded one gives a warning and no evidence; the rest goes on."""
    exporter.write("job.yaml", manifest(2, "[redacted]"))
    first = exporter("run", "job.yaml", "--base-url", calls.base_url)
    file = first.archive / "a/p/undated/CA000/combined.redacted.wav"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    exporter.write("job.yaml", manifest(2))

    done = exporter("run", "job.yaml", "--base-url", calls.base_url)

    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("pair.unreadable") == 1
    found = rows(done)
    assert found["CA000", "combined", "raw"]["redaction_evidence"] is None
    assert found["CA001", "combined", "raw"]["redaction_evidence"] in {"confirmed", "identical"}


def test_a_raw_recording_without_counterpart(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Where the redacted one failed, the raw one is `unpaired`, and the failed row says nothing."""
    cut = Rule(match=Match(redacted=True), action=Respond(500))
    sandbox = start_sandbox(world=World(audio=AUDIO), scenario=[cut])
    exporter.write("job.yaml", manifest(1))

    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--require-raw")

    assert done.exit_code == 1
    found = rows(done)
    assert found["CA000", "combined", "raw"]["redaction_evidence"] == "unpaired"
    assert found["CA000", "combined", "redacted"]["redaction_evidence"] is None


# Never raw.


@pytest.mark.parametrize("command", ["run", "plan"])
def test_never_raw_refuses_the_manifest(exporter: Command, calls: Sandbox, command: str) -> None:
    """The entries are named with their places, nothing is sent, nothing is created."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\nconversations:\n- CA1\n"
        + "".join(f"- {{id: CB{number}, redaction: [redacted, raw]}}\n" for number in range(12)),
    )
    exporter.environment["EXPORTER_API__BASE_URL"] = calls.base_url

    done = exporter(command, "job.yaml", "--never-raw")

    assert done.exit_code == 2
    assert "never_raw is set, and 12 entries ask for raw recordings" in done.stderr
    assert "job.yaml:5:3: a/p/CB0\n" in done.stderr
    assert "a/p/CB9\n" in done.stderr
    assert "a/p/CB10" not in done.stderr
    assert "and 2 more" in done.stderr
    assert "Traceback" not in done.stderr
    assert not calls.requests
    assert not exporter.archive.exists()


def test_never_raw_counts_defaults_too(exporter: Command, calls: Sandbox) -> None:
    """Raw by the config's choice or by a flag is raw as well; redacted passes."""
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, project_id: p}\n"
        "config: {export: {never_raw: true}}\nconversations: [CA1]\n",
    )
    base = ("run", "job.yaml", "--base-url", calls.base_url)

    refused = exporter(*base, "--redaction", "raw")
    assert (refused.exit_code, len(calls.requests)) == (2, 0)
    assert "1 entry asks" in refused.stderr

    done = exporter(*base)
    assert done.exit_code == 0, done.stderr
    assert [request.redacted for request in calls.requests] == [True]


def test_never_and_always_raw_contradict_each_other(exporter: Command, calls: Sandbox) -> None:
    """Both policies at once are a mistake in the config."""
    exporter.write("job.yaml", manifest(1))
    done = exporter(
        *("run", "job.yaml", "--base-url", calls.base_url, "--never-raw", "--require-raw")
    )
    assert done.exit_code == 2
    assert "--require-raw: found both never_raw and require_raw" in done.stderr
    assert not calls.requests


# Policies of single projects.


def two_projects(redaction: str, raw_project: str = "p") -> str:
    """Twenty conversations in each of two projects, raw ones in one of them only."""
    entries = "".join(
        f"- {{id: CA{number:03}, project_id: {project}, redaction: {asked}}}\n"
        for project in ("p", "q")
        for asked in [redaction if project == raw_project else "[redacted]"]
        for number in range(20)
    )
    return f"version: 1\ndefaults: {{account_id: a}}\nconversations:\n{entries}"


def test_never_raw_in_one_project(exporter: Command, calls: Sandbox) -> None:
    """Raw is refused in the projects of the policy alone; in others it is fetched."""
    exporter.write("job.yaml", two_projects("[redacted, raw]"))
    base = ("run", "job.yaml", "--base-url", calls.base_url, "--config")
    exporter.write("strict.yaml", "policies: [{project_id: q}, {account_id: a, never_raw: true}]")
    exporter.write("other.yaml", "policies: [{project_id: q, never_raw: true}]")

    refused = exporter(*base, "strict.yaml")

    assert refused.exit_code == 2
    assert "never_raw is set, and 20 entries ask for raw" in refused.stderr
    assert "job.yaml:4:3: a/p/CA000\n" in refused.stderr
    assert "a/q/" not in refused.stderr
    assert not calls.requests

    done = exporter(*base, "other.yaml")

    assert done.exit_code == 0, done.stderr
    raw = [request for request in calls.requests if not request.redacted]
    assert {request.project for request in raw} == {"p"}
    assert len(raw) == 20
    assert done.results()["run"]["config"]["policies"][0]["never_raw"] is True


@pytest.mark.parametrize(("strict", "exit_code"), [("p", 7), ("q", 0)])
def test_require_raw_in_one_project(
    exporter: Command, calls: Sandbox, strict: str, exit_code: int
) -> None:
    """Suspected access counts in the projects that require raw; in others it is a warning."""
    exporter.environment["POLYAI_API_KEY"] = NO_PII
    exporter.environment["EXPORTER_POLICIES"] = json.dumps(
        [{"project_id": strict, "require_raw": True}]
    )
    exporter.write("job.yaml", two_projects("[redacted, raw]"))

    done = exporter("run", "job.yaml", "--base-url", calls.base_url)

    assert done.exit_code == exit_code, done.stderr
    assert "pii_access.suspected_missing" in done.stderr
    assert ("require_raw is set" in done.stderr) == (exit_code == 7)


def test_a_project_has_its_own_number_of_identical_pairs(exporter: Command, calls: Sandbox) -> None:
    """`enough_identical` of a policy counts in its project, in place of the general one."""
    exporter.environment["POLYAI_API_KEY"] = NO_PII
    exporter.environment["EXPORTER_POLICIES"] = json.dumps(
        [{"project_id": "p", "enough_identical": 21}]
    )
    exporter.write("job.yaml", two_projects("[redacted, raw]"))
    done = exporter("run", "job.yaml", "--base-url", calls.base_url, "--require-raw")
    assert done.exit_code == 0, done.stderr
    states = {each["project_id"]: each["state"] for each in done.results()["summary"]["pii_access"]}
    assert states == {"p": "unknown", "q": "unknown"}


@pytest.mark.parametrize("command", ["run", "plan", "doctor"])
def test_never_raw_in_one_project_refuses_queries_of_it(
    exporter: Command, calls: Sandbox, command: str
) -> None:
    """What is looked for in such a project may not ask for raw; elsewhere it may."""
    exporter.environment["EXPORTER_POLICIES"] = '[{"project_id": "q", "never_raw": true}]'
    exporter.environment["EXPORTER_API__BASE_URL"] = calls.base_url
    exporter.write(
        "job.yaml",
        "version: 1\ndefaults: {account_id: a, redaction: [raw]}\ndiscover:\n"
        "- {project_id: p, from: -1d, to: today}\n- {project_id: q, from: -1d, to: today}\n",
    )
    done = exporter(command, "job.yaml")
    assert done.exit_code == 2
    assert "job.yaml:5:3: never_raw is set, and this query asks for raw" in done.text
    assert not calls.requests
