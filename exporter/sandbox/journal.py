"""What was asked of the sandbox: one record a request, never a key."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_ANSWER: Final = 0
"""The status of a request whose connection was reset before an answer."""

_KEPT_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "Host", "Range", "User-Agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, and what became of it.

    Attributes:
        number: counts all requests from 1.
        at: seconds since 1970.
        method: the HTTP method.
        path: without the query.
        query: as it was sent, undecoded.
        endpoint: `audio`, `list`, `conversation`, or None where the path is not the API's.
        surface: `platform-v3`, `agents-v1`, or None where the path is not the API's.
        account: from the path, or worked out on agents-v1; None where unknown.
        project: from the path.
        conversation: from the path.
        direction: as asked for, the default filled in; None where not valid.
        redacted: likewise.
        key: name of the key (never the key); None where it is missing or unknown.
        attempt: how often this was asked for so far, past any limits; 0 if not at all.
        status: that was answered; 0 if the connection was reset instead.
        code: the error code that was answered.
        correlation_id: that was answered.
        rule: number of the scenario's rule that decided, counted from 1; None: none did.
        headers: the harmless ones among the request's headers.
    """

    number: int
    at: float
    method: str
    path: str
    query: str
    endpoint: str | None
    surface: str | None
    account: str | None
    project: str | None
    conversation: str | None
    direction: str | None
    redacted: bool | None
    key: str | None
    attempt: int
    status: int
    code: str | None
    correlation_id: str | None
    rule: int | None
    headers: Mapping[str, str]


class Journal:
    """The latest requests, and counts of all."""

    def __init__(self, *, limit: int) -> None:
        self._entries: deque[Request] = deque(maxlen=limit)
        self.counts: Counter[int] = Counter()

    @property
    def requests(self) -> list[Request]:
        """The latest requests, the oldest first."""
        return list(self._entries)

    def add(self, request: Request) -> None:
        """Remember one more."""
        self._entries.append(request)
        self.counts[request.status] += 1


def harmless(headers: Mapping[str, str]) -> dict[str, str]:
    """The part of a request's headers that may be remembered."""
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}
