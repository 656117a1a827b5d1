"""What the API answers: a pure function of the world and of what was asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, unquote
from uuid import UUID

from exporter.sandbox.calls import Direction
from exporter.sandbox.world import Framing, State, is_well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.limits import Refusal
    from exporter.sandbox.world import Key, World

CORRELATION_HEADER: Final = "X-PolyAI-Correlation-Id"
AUDIO: Final = "audio/wav"
JSON: Final = "application/json"

PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
"""What stands behind the number in a status line."""

_NAMES: Final = {status.value: status.name for status in HTTPStatus}
# What an error is called where nobody says otherwise: the vendor documents no code for the others,
# which get the name of the status ("BAD_GATEWAY").
_CODES: Final = {
    400: "CONVERSATIONS_VALIDATION_FAILED",
    401: "AUTH_USER_UNAUTHORISED",
    403: "USER_ACCESS_FORBIDDEN",
    404: "CONVERSATIONS_RECORDING_NOT_FOUND",
}

_NOT_FOUND_PAGE: Final = (
    b"<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>\n"
)


class Endpoint(StrEnum):
    """What can be asked."""

    AUDIO = "audio"  # of one conversation
    LIST = "list"  # of conversations
    CONVERSATION = "conversation"  # the description of one


class Surface(StrEnum):
    """Which of the two API families is spoken."""

    PLATFORM_V3 = "platform-v3"
    AGENTS_V1 = "agents-v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, understood.

    Attributes:
        endpoint: what kind of thing is asked for.
        surface: whose path it is.
        account: from the path, or worked out on agents-v1; None where that is not possible.
        project: from the path.
        conversation: from the path; empty for a list.
        query: as sent, percent-encoded.
        direction: the default filled in; None where it is not a direction.
        redacted: the default filled in; None where it is neither true nor false.
        secret: the `x-api-key` header as sent.
        key: the key with that secret.
    """

    endpoint: Endpoint
    surface: Surface
    account: str | None
    project: str
    conversation: str
    query: str
    direction: Direction | None
    redacted: bool | None
    secret: str
    key: Key | None

    @property
    def subject(self) -> tuple[object, ...]:
        """What is meant, whoever asks and however: a recording, a page, a conversation."""
        if self.endpoint is Endpoint.AUDIO:
            return self.account, self.project, self.conversation, self.direction, self.redacted
        return self.endpoint, self.account, self.project, self.conversation, self.query


class Place(NamedTuple):
    """A place in a list of conversations.

    Attributes:
        position: of the first conversation of the page.
        number: of the page, from 1.
        digest: of the filters.
    """

    position: int
    number: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer before it is sent.

    Attributes:
        status: HTTP status.
        body: the whole body.
        headers: without those that frame the body.
        code: the error code in the body, if there is one.
        framing: how the end of the body is told.
        place: of a page of the list.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    framing: Framing = Framing.LENGTH
    place: Place | None = None

    @property
    def is_recording(self) -> bool:
        """Whether this is a recording rather than an error."""
        return self.status == HTTPStatus.OK and self.headers.get("Content-Type") == AUDIO

    def with_headers(self, headers: Mapping[str, str]) -> Answer:
        """The same with more headers, which win over those of the same name."""
        return replace(self, headers=merged(self.headers, headers))


def merged(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Headers with more of them; names differ by more than case."""
    replaced = {name.lower() for name in more}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return {**kept, **more}


def understand(path: str, query: str, secret: str, world: World) -> Asked | None:
    """What a request asks for; None where the path is none of the API's.

    Args:
        path: as sent, percent-encoded.
        query: as sent, likewise.
        secret: the `x-api-key` header, empty where missing.
        world: knows whose the key is.
    """
    account: str | None
    conversation = ""
    surface, endpoint = Surface.PLATFORM_V3, Endpoint.AUDIO
    match [unquote(part) for part in path.split("/")]:
        case ["", "v3", account, project, "conversations", conversation, "audio"]:
            pass
        case ["", "v3", account, project, "conversations"]:
            endpoint = Endpoint.LIST
        case ["", "v1", "agents", project, "conversations", conversation, *rest] if rest in (
            [],
            ["audio"],
        ):
            surface = Surface.AGENTS_V1
            account = world.account_of(project)
            endpoint = Endpoint.AUDIO if rest else Endpoint.CONVERSATION
        case _:
            return None
    if surface is Surface.PLATFORM_V3 and account:
        world.meet(account, project)
    values = parse_qs(query, keep_blank_values=True)
    directions = {str(direction): direction for direction in Direction}
    truths = {"true": True, "false": False}
    return Asked(
        endpoint=endpoint,
        surface=surface,
        account=account,
        project=project,
        conversation=conversation,
        query=query,
        direction=directions.get(values.get("direction", ["combined"])[-1]),
        redacted=truths.get(values.get("redacted", ["false"])[-1]),
        secret=secret,
        key=world.key(secret),
    )


def audio(asked: Asked, world: World, *, attempt: int, now: float, correlation_id: str) -> Answer:
    """What the API answers to a request for audio.

    Args:
        asked: what was asked.
        world: what exists.
        attempt: how often this recording was asked for, this time among them.
        now: seconds since 1970.
        correlation_id: of the answer.
    """
    problem = refusal(asked, world) or _invalid(asked)
    problem = problem or _unavailable(asked, world, attempt, now)
    if problem:
        status, code, message = problem
        return error(status, code=code, message=message, correlation_id=correlation_id)
    if asked.account is None or asked.direction is None or asked.key is None:  # pragma: no cover
        raise AssertionError("each of these is a problem above")
    # The heart of the matter: a key without PII access never hears raw audio, and is not told.
    redacted = bool(asked.redacted) or not asked.key.pii_access
    call = world.call(asked.account, asked.project, asked.conversation)
    return Answer(
        status=HTTPStatus.OK,
        body=call.wav(asked.direction, redacted),
        headers={"Content-Type": AUDIO, CORRELATION_HEADER: correlation_id},
        framing=world.framing,
    )


_Problem = tuple[int, str, str]


def refusal(asked: Asked, world: World) -> _Problem | None:
    """Status, code and message where the key does not open the place, or there is none."""
    return _refused_key(asked) or _unknown_place(asked, world)


def _refused_key(asked: Asked) -> _Problem | None:
    if not asked.secret:
        return 401, "AUTH_USER_UNAUTHORISED", "The x-api-key header is missing."
    if asked.key is None:
        return 401, "AUTH_USER_NOT_FOUND", "No user has this key."
    if asked.key.expired:
        return 401, "AUTH_USER_INVALID_TOKEN", "This key has expired."
    return None


def _unknown_place(asked: Asked, world: World) -> _Problem | None:
    account, project, key = asked.account, asked.project, asked.key
    if account is None:
        return 404, "PROJECT_NOT_FOUND", f"There is no agent {project}."
    if not world.has_account(account):
        return 404, "ACCOUNT_NOT_FOUND", f"There is no account {account}."
    if not world.has_project(account, project):
        return 404, "PROJECT_NOT_FOUND", f"There is no project {project} in {account}."
    if key and not key.knows(account):
        return 403, "ACCOUNT_INSUFFICIENT_PERMISSIONS", f"This key does not open {account}."
    if key and not key.opens(account, project):
        return 403, "USER_ACCESS_FORBIDDEN", f"This key does not open {project}."
    return None


def _invalid(asked: Asked) -> _Problem | None:
    code = "CONVERSATIONS_VALIDATION_FAILED"
    if not is_well_formed(asked.conversation):
        return 400, code, "The conversation id is malformed."
    if asked.direction is None:
        return 400, code, "direction must be combined, user or agent."
    if asked.redacted is None:
        return 400, code, "redacted must be true or false."
    return None


def _unavailable(asked: Asked, world: World, attempt: int, now: float) -> _Problem | None:
    happening = world.happening(asked.account or "", asked.project, asked.conversation)
    if happening is not None and not happening.is_recorded(now):
        code = "CONVERSATIONS_RECORDING_NOT_FOUND"
        return 404, code, f"Conversation {happening.id} has no recording."
    known = world.conversation(asked.account or "", asked.project, asked.conversation)
    if known.state is State.UNKNOWN:
        return 404, "CONVERSATIONS_NOT_FOUND", f"There is no conversation {known.id}."
    if known.state is State.GONE:
        return 410, "GONE", f"Conversation {known.id} was deleted."
    if known.state in {State.NO_RECORDING, State.TEXT} or attempt <= known.late_after:
        code = "CONVERSATIONS_RECORDING_NOT_FOUND"
        return 404, code, f"Conversation {known.id} has no recording."
    return None


def error(
    status: int, *, correlation_id: str, code: str | None = None, message: str | None = None
) -> Answer:
    """An error in the API's own envelope; code and message follow from the status if not given."""
    code = code or _CODES.get(status) or _NAMES.get(status, f"HTTP_{status}")
    message = message or PHRASES.get(status, f"HTTP {status}")
    envelope = {
        "success": False,
        "error": message,
        "error_id": correlation_id,
        "error_code": code,
        "error_message": message,
        "data": None,
    }
    return Answer(
        status=status,
        body=json.dumps(envelope).encode(),
        headers={"Content-Type": JSON, CORRELATION_HEADER: correlation_id},
        code=code,
    )


def refused(refusal: Refusal, retry_after: str | None, *, correlation_id: str) -> Answer:
    """One request too many."""
    answer = error(refusal.status, message="Too many requests.", correlation_id=correlation_id)
    return answer.with_headers({"Retry-After": retry_after}) if retry_after else answer


def not_the_api() -> Answer:
    """What some other server says of a path that it does not have: no envelope, no id."""
    return Answer(
        status=HTTPStatus.NOT_FOUND, body=_NOT_FOUND_PAGE, headers={"Content-Type": "text/html"}
    )


def wrong_method(*, correlation_id: str) -> Answer:
    """Audio can be read and nothing else."""
    answer = error(HTTPStatus.METHOD_NOT_ALLOWED, correlation_id=correlation_id)
    return answer.with_headers({"Allow": "GET"})


def correlation_id(number: int) -> str:
    """The id of the answer to the nth request: looks random, is not."""
    digest = hashlib.blake2b(f"request {number}".encode(), digest_size=16).digest()
    return str(UUID(bytes=digest, version=4))


def http_date(seconds: float) -> str:
    """A time as HTTP headers write it."""
    return formatdate(seconds, usegmt=True)
