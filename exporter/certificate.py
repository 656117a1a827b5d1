"""What a run can vouch for of a window: the equation, in numbers and in words. Pure.

*Found by the list = archived + pending + not found + gone + failed + left out*, in conversations.
The two sides are counted independently: the left one from the pages of the list, the right one
from the rows of the ledger when the run is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.model import Status
from exporter.results import FiltersInfo, WindowCounts, WindowInfo, error_detail, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.model import ErrorInfo
    from exporter.window import Window

_COUNTED: Final = ("archived", "pending", "not_found", "gone", "failed", "cancelled")
REASONS: Final = {
    "channel": "of a channel that was not asked for",
    "in_progress": "still in progress",
    "unusable_id": "with an identifier that no archive can hold",
}
_CUT_SHORT: Final = {
    "kind": "cancelled",
    "http_status": None,
    "code": None,
    "message": "the run ended before the list was read to its end",
    "correlation_id": None,
}


def window_text(window: Window) -> str:
    """What was looked for, as JSON text for the ledger."""
    filters = window.filters
    asked = FiltersInfo(
        client_env=filters.client_env,
        channel=list(filters.channels),
        include_in_progress=filters.include_in_progress,
        variant_id=filters.variant_id,
        query_type=filters.query_type,
        query=filters.query,
        sample=filters.sample,
    )
    return _json(
        {
            "account_id": window.account_id,
            "project_id": window.project_id,
            "from": timestamp(window.start),
            "to": timestamp(window.end),
            "timezone": window.timezone,
            "filters": asked,
        }
    )


def query_text(window: Window) -> str:
    """The question without its time: windows with the same text can be compared."""
    whole = msgspec.json.decode(window_text(window))
    return _json([whole["account_id"], whole["project_id"], whole["filters"]])


def listed_text(
    *, found: int, left_out: Mapping[str, int], pages: int, error: ErrorInfo | None
) -> str:
    """What the list told, as JSON text for the ledger."""
    return _json(
        {
            "found": found,
            "left_out": dict(left_out),
            "pages": pages,
            "error": error_detail(error) if error else None,
        }
    )


def certificate(
    window: str,
    told: str | None,
    *,
    conversations: Mapping[Status, int],
    recordings: Mapping[Status, int],
    missing: int | None,
    expired: int | None,
) -> WindowInfo:
    """Everything that is known of a window.

    Args:
        window: from `window_text`.
        told: from `listed_text`; None: the list was not read to its end.
        conversations: how those that are not left out ended; `skipped` and `exported` are archived.
        recordings: likewise of theirs.
        missing: listed by an earlier run and not by this one; None: not compared.
        expired: likewise, where the vendor's retention explains it.
    """
    listed: dict[str, Any] = (
        msgspec.json.decode(told)
        if told
        else {"found": 0, "left_out": {}, "pages": 0, "error": _CUT_SHORT}
    )
    ended = _counts(conversations)
    settled = sum(getattr(ended, name) for name in _COUNTED) + sum(listed["left_out"].values())
    return msgspec.convert(
        {
            **msgspec.json.decode(window),
            **listed,
            "complete": listed["error"] is None,
            "conversations": msgspec.to_builtins(ended),
            "recordings": msgspec.to_builtins(_counts(recordings)),
            "balances": listed["found"] == settled,
            "missing": missing,
            "expired": expired,
        },
        WindowInfo,
    )


def _counts(by_status: Mapping[Status, int]) -> WindowCounts:
    get = by_status.get
    return WindowCounts(
        archived=get(Status.EXPORTED, 0) + get(Status.SKIPPED, 0),
        pending=get(Status.PENDING, 0),
        not_found=get(Status.NOT_FOUND, 0),
        gone=get(Status.GONE, 0),
        failed=get(Status.FAILED, 0),
        cancelled=get(Status.CANCELLED, 0),
    )


def stands(window: WindowInfo) -> bool:
    """Whether the run can vouch for the window: nothing was lost from sight."""
    return not any(objections(window))


def objections(window: WindowInfo) -> Iterator[str]:
    """What speaks against it, in words."""
    if window.error is not None:
        yield f"the list was not read to its end: {window.error.message}"
    if not window.balances:
        yield "the equation does not balance: some conversations are lost from sight"
    if window.missing:
        which = "conversation" if window.missing == 1 else "conversations"
        yield f"the list shrank: it lacks {window.missing} {which} that an earlier run found in it"
    if count := window.left_out.get("unusable_id", 0):
        yield f"{count} found {REASONS['unusable_id']}"


def equation(window: WindowInfo) -> str:
    """`120 found = 107 archived + 1 pending + 12 left out (12 of a …)`, in conversations."""
    terms = [
        f"{count} {name.replace('_', ' ')}"
        for name in _COUNTED
        if (count := getattr(window.conversations, name)) or name == "archived"
    ]
    if left_out := sum(window.left_out.values()):
        terms.append(f"{left_out} left out ({_reasons(window.left_out.items())})")
    sign = "=" if window.balances else "is not"
    return f"{window.found} found {sign} {' + '.join(terms)}"


def _reasons(left_out: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {REASONS[reason]}" for reason, count in sorted(left_out))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
