"""What the vendor deletes first is fetched first, and the summary says what is lost when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from exporter.sandbox import Match, Respond, Rule
from tests.balance import balanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox import Sandbox
    from tests.conftest import Command

pytestmark = pytest.mark.in_process


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def test_the_oldest_is_fetched_first_and_told_in_the_manifests_order(
    exporter: Command, sandbox: Sandbox
) -> None:
    """With one worker the requests come by age; the results stay in the manifest's order."""
    ages = {"CA1": 3, "CA2": 80, "CA3": None, "CA4": 40, "CA5": 80}
    entries = "".join(
        f"- {{id: {name}{f', started_at: {days_ago(age)}' if age else ''}}}\n"
        for name, age in ages.items()
    )
    exporter.write(
        "job.yaml",
        "version: 1\nconfig: {export: {order: oldest-first}}\n"
        f"defaults: {{account_id: a, project_id: p}}\nconversations:\n{entries}",
    )
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url, "-j", "1")
    assert done.exit_code == 0, done.stderr
    asked = [request.conversation for request in sandbox.requests]
    assert asked == ["CA2", "CA5", "CA4", "CA1", "CA3"]
    assert [row["conversation_id"] for row in done.results()["results"]] == list(ages)
    assert done.results()["summary"]["expiring"] is None


def test_the_summary_says_what_expires_and_what_is_lost(
    exporter: Command, start_sandbox: Callable[..., Sandbox]
) -> None:
    """Failed and old: expiring. Gone, or older than the retention: expired. Archived: neither."""
    sandbox = start_sandbox(
        scenario=[Rule(match=Match(conversation="broken*"), action=Respond(500))]
    )
    ages = {"CA1": 85, "broken-1": 85, "broken-2": 20, "no-recording-1": 99, "gone-1": 30}
    entries = "".join(f"- {{id: {n}, started_at: {days_ago(a)}}}\n" for n, a in ages.items())
    exporter.write(
        "job.yaml",
        "version: 1\nconfig: {export: {retention: 90d}}\n"
        f"defaults: {{account_id: a, project_id: p}}\nconversations:\n{entries}",
    )
    done = exporter("run", "job.yaml", "--base-url", sandbox.base_url)
    summary = done.results()["summary"]
    assert balanced(done.results())
    assert (summary["expiring"], summary["expired"]) == (1, 2)
    assert "who keeps recordings for 90 days, deletes 1 recording within 7 days" in done.stderr
    assert "and has deleted 2" in done.stderr
