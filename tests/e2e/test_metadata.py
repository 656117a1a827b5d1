"""`conversation.json` beside the recordings: fetched, recorded, verified, and fetched once."""

from __future__ import annotations

import json
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sandbox import Endpoint, History, Match, Respond, Rule, Times, World
from tests.conftest import SHORT_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.sandbox import Happening, Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process

DAY = 86_400.0
PRIVATE = ("+44", "text", "state", "booking")


@pytest.fixture
def calls() -> list[Happening]:
    """Six conversations of last week, as the sandbox knows them."""
    now = time.time()
    positions = HISTORY.positions(now - 7 * DAY, now - 6 * DAY, now)
    return [found for _, found in HISTORY.walk("a", "p", positions, now)][:6]


HISTORY = History(per_day=8)
WORLD = World(audio=SHORT_CALLS, histories=(HISTORY,), default_account="a")


def job(calls: list[Happening], settings: str = "metadata: true") -> str:
    lines = "".join(
        f"- {{id: {one.id}, started_at: {iso(one.started_at)}, directions: [user, agent]}}\n"
        for one in calls
    )
    return (
        f"version: 1\nconfig: {{export: {{{settings}}}}}\n"
        f"defaults: {{account_id: a, project_id: p}}\nconversations:\n{lines}"
    )


def iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def documents(exporter: Command) -> list[Path]:
    return sorted(exporter.archive.glob("a/p/*/*/conversation.json"))


def metadata(done: Any) -> dict[str, Any]:
    found: dict[str, Any] = done.results()["summary"]["metadata"]
    names = ("exported", "skipped", "not_found", "failed", "cancelled")
    assert found["requested"] == sum(found[name] for name in names)
    return found


def test_descriptions_lie_beside_the_recordings_and_are_fetched_once(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """Private files without personal data, on record in the manifest; asked for once."""
    sandbox = start_sandbox(world=WORLD)
    exporter.write("job.yaml", job(calls))
    first = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    assert first.exit_code == 0, first.stderr
    assert (metadata(first)["requested"], metadata(first)["exported"]) == (6, 6)
    assert first.results()["summary"]["requested"] == 12
    found = documents(exporter)
    assert len(found) == 6
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(word in path.read_text() for word in PRIVATE)
        assert json.loads(path.read_bytes())["conversationId"] == path.parent.name
        assert len(list(path.parent.glob("*.wav"))) == 2
    manifests = [json.loads(each.read_bytes()) for each in exporter.archive.rglob("manifest.json")]
    told = {row["path"]: row for each in manifests for row in each["metadata"]}
    assert set(told) == {str(path.relative_to(exporter.archive)) for path in found}

    asked = len(sandbox.requests)
    again = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    assert again.exit_code == 0, again.stderr
    assert metadata(again)["skipped"] == 6
    assert len(sandbox.requests) == asked
    checked = exporter("verify", exporter.archive, "--json")
    assert checked.exit_code == 0, checked.text
    assert json.loads(checked.stdout)["summary"]["ok"] == 18


def test_personal_data_comes_and_goes_as_asked_for(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """`keep` archives what the API gave; a later `drop` takes it out of the archive again."""
    sandbox = start_sandbox(world=WORLD)
    exporter.write("keep.yaml", job(calls[:1], "metadata: true, metadata_pii: keep"))
    exporter.write("drop.yaml", job(calls[:1]))
    exporter("run", "keep.yaml", "--base-url", sandbox.base_url)
    (path,) = documents(exporter)
    assert json.loads(path.read_bytes())["fromNumber"]
    dropped = exporter("run", "drop.yaml", "--base-url", sandbox.base_url)
    assert metadata(dropped)["exported"] == 1
    assert not any(word in path.read_text() for word in PRIVATE)
    assert exporter("verify", exporter.archive).exit_code == 0


def test_what_fails_is_counted_apart_and_tried_again(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """A description that does not exist fails no recording, and the run says so with code 1."""
    sandbox = start_sandbox(world=WORLD)
    exporter.write("job.yaml", job(calls[:2]) + "- {id: CA7, directions: [user]}\n")
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    assert done.exit_code == 1
    assert done.results()["summary"]["exported"] == 5
    assert metadata(done)["not_found"] == 1
    assert metadata(done)["errors"] == {"conversation_not_found": 1}
    lenient = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "--allow-missing")
    assert (lenient.exit_code, metadata(lenient)["skipped"]) == (0, 2)


def test_a_description_that_failed_is_asked_for_by_the_next_run_whatever_it_names(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """It left the window of the night that it failed in, and is not lost; nor is it forgotten."""
    broken = Match(endpoint=Endpoint.CONVERSATION, conversation=calls[0].id, requests=Times(1, 1))
    sandbox = start_sandbox(world=WORLD, scenario=[Rule(match=broken, action=Respond(400))])
    exporter.write("tonight.yaml", job(calls[:2]) + "- {id: CA7, directions: [user]}\n")
    exporter.write("tomorrow.yaml", job(calls[2:3]))
    exporter.write("without.yaml", job(calls[3:4], "metadata: false"))
    first = exporter("run", "tonight.yaml", "--base-url", sandbox.base_url)
    assert first.exit_code == 1
    assert (metadata(first)["failed"], metadata(first)["not_found"]) == (1, 1)
    told = json.loads(exporter("status", exporter.archive, "--json").stdout)["undescribed"]
    assert (told["waiting"], told["not_found"]) == (1, 1)
    assert told["since"]
    assert told["failed"] == 0
    assert "1 to be asked for again" in exporter("status", exporter.archive).stdout

    assert exporter("run", "without.yaml", "--base-url", sandbox.base_url).exit_code == 0
    second = exporter("run", "tomorrow.yaml", "--base-url", sandbox.base_url)
    assert second.exit_code == 0, second.stderr
    assert metadata(second)["exported"] == 2
    assert calls[0].id in {path.parent.name for path in documents(exporter)}
    told = json.loads(exporter("status", exporter.archive, "--json").stdout)["undescribed"]
    assert (told["waiting"], told["not_found"]) == (0, 1)
    assert exporter("verify", exporter.archive).exit_code == 0


def test_a_description_that_always_fails_is_not_asked_for_for_ever(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """Seven runs ask, and say so with code 1; the next ones are not to blame for it."""
    broken = Match(endpoint=Endpoint.CONVERSATION, conversation=calls[0].id)
    sandbox = start_sandbox(world=WORLD, scenario=[Rule(match=broken, action=Respond(400))])
    exporter.environment |= {
        "EXPORTER_API__BASE_URL": sandbox.base_url,
        "EXPORTER_EXPORT__METADATA": "true",
    }
    exporter.write("job.yaml", job(calls[:1]))
    codes = [exporter("run", "job.yaml").exit_code]
    codes += [exporter("retry", exporter.archive).exit_code for _ in range(7)]
    assert codes == [1] * 7 + [0]
    told = json.loads(exporter("status", exporter.archive, "--json").stdout)["undescribed"]
    assert (told["waiting"], told["failed"], told["not_found"]) == (0, 1, 0)
    assert exporter("run", "job.yaml").exit_code == 1


def test_descriptions_that_a_stopped_run_did_not_get_to_are_asked_for_later(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """The recordings were archived before; `retry`, which names no call, brings descriptions."""
    sandbox = start_sandbox(world=WORLD)
    exporter.environment["EXPORTER_API__BASE_URL"] = sandbox.base_url
    exporter.write("plain.yaml", job(calls[:3], "metadata: false"))
    exporter.write("job.yaml", job(calls[:3]))
    assert exporter("run", "plain.yaml").exit_code == 0
    stopped = exporter("run", "job.yaml", "--deadline", "0s")
    assert stopped.exit_code == 8
    assert metadata(stopped)["errors"] == {"cancelled": 3}
    exporter.environment["EXPORTER_EXPORT__METADATA"] = "true"
    again = exporter("retry", exporter.archive)
    assert again.exit_code == 0, again.stderr
    assert metadata(again)["exported"] == len(documents(exporter)) == 3
    assert again.results()["summary"]["requested"] == 0
    assert exporter("verify", exporter.archive).exit_code == 0


def test_a_damaged_lost_or_foreign_file_is_found(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """`verify` tells each; the next run fetches what is lost, and keeps what it did not write."""
    sandbox = start_sandbox(world=WORLD)
    exporter.write("job.yaml", job(calls[:3]))
    exporter.write("one-more.yaml", job(calls[:4]))
    exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    lost, changed, _ = documents(exporter)
    lost.unlink()
    text = changed.read_bytes()
    changed.write_bytes(text.replace(b"VOICE", b"Voice"))
    day = iso(calls[3].started_at)[:10]  # not always that of the other calls
    foreign = exporter.archive / "a" / "p" / day / calls[3].id / "conversation.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("{}")
    checked = json.loads(exporter("verify", exporter.archive, "--json").stdout)
    found = {row["path"].split("/")[-2]: row["status"] for row in checked["differences"]}
    assert found == {
        lost.parent.name: "missing",
        changed.parent.name: "corrupt",
        foreign.parent.name: "unrecorded",
    }
    changed.write_bytes(text)
    again = exporter("run", "one-more.yaml", "--base-url", sandbox.base_url)
    assert again.exit_code == 0, again.stderr
    assert (metadata(again)["exported"], metadata(again)["skipped"]) == (2, 2)
    assert len(list(foreign.parent.glob("conversation.json.damaged-*"))) == 1
    assert exporter("verify", exporter.archive).exit_code == 0


def test_a_lost_ledger_learns_descriptions_from_the_manifests(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """Without the ledger the next run skips them, and writes the same manifests again."""
    sandbox = start_sandbox(world=WORLD)
    exporter.write("job.yaml", job(calls[:2]))
    exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    before = {path: path.read_bytes() for path in exporter.archive.rglob("manifest.json")}
    for path in (exporter.archive / "_exporter").glob("ledger.sqlite*"):
        path.unlink()
    again = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    assert (again.exit_code, metadata(again)["skipped"]) == (0, 2)
    assert {path: path.read_bytes() for path in before} == before


def test_a_key_that_may_not_read_descriptions_ends_only_that(
    exporter: Command, start_sandbox: Callable[..., Sandbox], calls: list[Happening]
) -> None:
    """Every recording is archived; descriptions are given up soon, and the run ends with code 1."""
    sandbox = start_sandbox(
        world=WORLD,
        scenario=[Rule(match=Match(endpoint=Endpoint.CONVERSATION), action=Respond(403))],
    )
    exporter.write("job.yaml", job(calls))
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "-j", "1")
    assert done.exit_code == 1
    assert done.results()["summary"]["exported"] == 12
    counts = metadata(done)
    assert sum(counts["errors"].values()) == 6
    assert (counts["exported"], counts["failed"] + counts["cancelled"]) == (0, 6)
    assert counts["failed"] <= 3
    assert "metadata.given_up" in done.stderr
    told = json.loads(exporter("status", exporter.archive, "--json").stdout)["undescribed"]
    assert told["waiting"] == 6
