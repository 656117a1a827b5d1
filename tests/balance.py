"""The equation of a run's results."""

from __future__ import annotations

from typing import Any

STATUSES = ("exported", "skipped", "pending", "not_found", "gone", "failed", "cancelled")
ARCHIVED = ("exported", "skipped")


def balanced(document: dict[str, Any]) -> bool:
    """Whether `requested` is the number of rows and the sum of the statuses.

    And whether each recording that is not archived tells why, and `errors` counts just these.
    """
    summary, rows = document["summary"], document["results"]
    return bool(
        summary["requested"] == len(rows) == sum(summary[each] for each in STATUSES)
        and all(summary[each] == sum(row["status"] == each for row in rows) for each in STATUSES)
        and all((row["error"] is None) == (row["status"] in ARCHIVED) for row in rows)
        and sum(summary["errors"].values()) == sum(row["error"] is not None for row in rows)
        and summary["carried_over"] == sum("carried_over" in row for row in rows)
    )
