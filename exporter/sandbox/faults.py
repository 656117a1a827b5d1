"""Faults: actions that a scenario's rules take instead of, or upon, the ordinary answer.

Each action is a small value with one of two talents: it `alter`s the answer, or it says in which
`steps` the answer is delivered.
"""

from __future__ import annotations

import gzip
import json
import struct
from abc import ABC
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from exporter.sandbox import answers
from exporter.sandbox.answers import AUDIO, JSON, http_date
from exporter.sandbox.delivery import (
    Finish,
    HangUp,
    ResetConnection,
    SendBody,
    SendHead,
    Wait,
)
from exporter.sandbox.limits import RetryAfterStyle
from exporter.sandbox.world import Framing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

    from exporter.sandbox.answers import Answer
    from exporter.sandbox.delivery import Step

_TICKS_A_SECOND: Final = 20
_BODILESS: Final = {204, 304}
_SIZE: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What an action may need to know.

    Attributes:
        now: seconds since 1970.
        correlation_id: of the answer.
        random: the same for the same attempt at the same recording.
    """

    now: float
    correlation_id: str
    random: Random


class Action(ABC):  # noqa: B024
    """What a rule does with the ordinary answer."""

    __slots__ = ()

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:  # noqa: ARG002
        """The answer instead of the ordinary one."""
        return answer

    def steps(self, body_bytes: int) -> Iterable[Step] | None:  # noqa: ARG002
        """How the answer is delivered; None: as it should be."""
        return None


@dataclass(frozen=True, slots=True)
class Respond(Action):
    """Answer with a status, an error envelope or any body.

    Attributes:
        status: HTTP status.
        code: error code in the envelope; follows from the status if not given.
        message: likewise.
        body: sent as it is instead of the envelope.
        content_type: of the body.
        headers: more headers; they win over all others.
        retry_after: seconds until it is worth coming back.
        retry_after_style: whether that is told in seconds or as a date.
    """

    status: int
    code: str | None = None
    message: str | None = None
    body: str | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    retry_after_style: RetryAfterStyle = RetryAfterStyle.SECONDS

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:  # noqa: PLR2004
            raise ValueError(f"status is between 200 and 599, not {self.status}")
        for text in (self.content_type or "", *self.headers, *self.headers.values()):
            _refuse_control_characters(text)

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:  # noqa: ARG002
        """An answer that has nothing of the ordinary one."""
        made = answers.error(
            self.status,
            code=self.code,
            message=self.message,
            correlation_id=circumstances.correlation_id,
        )
        if self.body is not None:
            made = replace(made, body=self.body.encode(), code=None)
        if self.status in _BODILESS:
            made = replace(made, body=b"", code=None)
        if self.content_type is not None or self.body is not None:
            made = made.with_headers({"Content-Type": self.content_type or "text/html"})
        if self.retry_after is not None:
            told = retry_after(self.retry_after, self.retry_after_style, circumstances.now)
            made = made.with_headers({"Retry-After": told}) if told else made
        return made.with_headers(self.headers)


class Payload(StrEnum):
    """Something that is no recording."""

    JSON = "json"
    HTML = "html"
    TEXT = "text"
    EMPTY = "empty"


_PAYLOADS: Final = {
    Payload.JSON: (JSON, json.dumps({"success": True, "data": None}).encode()),
    Payload.HTML: ("text/html", b"<!doctype html><title>Sign in</title><p>Please sign in.</p>\n"),
    Payload.TEXT: ("text/plain", b"upstream connect error\n"),
    Payload.EMPTY: (AUDIO, b""),
}


@dataclass(frozen=True, slots=True)
class WrongType(Action):
    """Answer 200 with something that is no recording.

    Attributes:
        body: what.
        content_type: `audio/wav` disguises it; its own type if not given.
    """

    body: Payload = Payload.HTML
    content_type: str | None = None

    def __post_init__(self) -> None:
        _refuse_control_characters(self.content_type or "")

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:
        """A success in name only."""
        own_type, body = _PAYLOADS[self.body]
        headers = {
            "Content-Type": self.content_type or own_type,
            answers.CORRELATION_HEADER: circumstances.correlation_id,
        }
        return replace(answer, status=200, body=body, headers=headers, code=None)


class Damage(StrEnum):
    """What is wrong with a WAV file that HTTP delivers faithfully."""

    TRUNCATED = "truncated"  # bytes are missing at the end
    TRAILING = "trailing"  # bytes follow the end
    RANDOM = "random"  # noise instead of a file
    RIFF_LARGER = "riff-larger"  # the sizes in the header promise more
    RIFF_SMALLER = "riff-smaller"  # the sizes in the header promise less
    HEADER_ONLY = "header-only"  # a sound file without any samples behind its header


@dataclass(frozen=True, slots=True)
class WrongBody(Action):
    """Damage a recording; Content-Length is that of the damaged body.

    Attributes:
        damage: how.
        amount: bytes missing, added, or misstated; half the file (missing) or 1000 if not given.
    """

    damage: Damage = Damage.TRUNCATED
    amount: int | None = None

    def __post_init__(self) -> None:
        _refuse_negative("amount", self.amount)

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:
        """The damaged recording; errors stay as they are."""
        if not answer.is_recording:
            return answer
        body = answer.body
        amount = 1000 if self.amount is None else self.amount
        match self.damage:
            case Damage.TRUNCATED:
                missing = len(body) // 2 if self.amount is None else amount
                body = body[: max(0, len(body) - missing)]
            case Damage.TRAILING:
                body += circumstances.random.randbytes(amount)
            case Damage.RANDOM:
                body = circumstances.random.randbytes(len(body))
            case Damage.RIFF_LARGER:
                body = _misstated(body, amount)
            case Damage.RIFF_SMALLER:
                body = _misstated(body, -amount)
            case Damage.HEADER_ONLY:
                body = body[: body.index(b"data") + 8]
        return replace(answer, body=body)


@dataclass(frozen=True, slots=True)
class Redirect(Action):
    """Send the client elsewhere.

    Attributes:
        to: the whole URL, perhaps of another host.
        status: 301, 302, 303, 307 or 308.
    """

    to: str
    status: int = 302

    def __post_init__(self) -> None:
        _refuse_control_characters(self.to)

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:
        """No body, only another address."""
        headers = {"Location": self.to, answers.CORRELATION_HEADER: circumstances.correlation_id}
        return replace(answer, status=self.status, body=b"", headers=headers, code=None)


@dataclass(frozen=True, slots=True)
class Gzip(Action):
    """Compress the body, asked for or not."""

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:  # noqa: ARG002
        """The same body, compressed, and saying so."""
        packed = gzip.compress(answer.body, compresslevel=1, mtime=0)
        return replace(answer, body=packed).with_headers({"Content-Encoding": "gzip"})


@dataclass(frozen=True, slots=True)
class Reset(Action):
    """Break the connection (RST).

    Attributes:
        after_bytes: of the body; None: before any answer.
    """

    after_bytes: int | None = None

    def __post_init__(self) -> None:
        _refuse_negative("after_bytes", self.after_bytes)

    def steps(self, body_bytes: int) -> Iterable[Step]:  # noqa: ARG002
        """A beginning, if any, and the break."""
        if self.after_bytes is None:
            return (ResetConnection(),)
        return (SendHead(), SendBody(self.after_bytes), ResetConnection())


@dataclass(frozen=True, slots=True)
class Cut(Action):
    """Close the connection in the middle of the body, as if all had been sent.

    Attributes:
        after_bytes: of the body; half of it if not given.
        framing: what was promised: `length` and `chunked` make the cut visible to any HTTP client;
            after `close` only the sizes inside the file give it away.
    """

    after_bytes: int | None = None
    framing: Framing = Framing.LENGTH

    def __post_init__(self) -> None:
        _refuse_negative("after_bytes", self.after_bytes)

    def steps(self, body_bytes: int) -> Iterable[Step]:
        """The beginning, and no more."""
        sent = body_bytes // 2 if self.after_bytes is None else self.after_bytes
        return (SendHead(self.framing), SendBody(sent), HangUp())


@dataclass(frozen=True, slots=True)
class Stall(Action):
    """Fall silent.

    Attributes:
        after_bytes: of the body; None: before any answer.
        seconds: of silence, then the rest follows; None: until the client leaves.
    """

    after_bytes: int | None = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        _refuse_negative("after_bytes", self.after_bytes)

    def steps(self, body_bytes: int) -> Iterable[Step]:  # noqa: ARG002
        """A beginning, silence, and perhaps the rest."""
        if self.after_bytes is None:
            return (Wait(self.seconds), SendHead(), SendBody(), Finish())
        beginning = (SendHead(), SendBody(self.after_bytes))
        return (*beginning, Wait(self.seconds), SendBody(), Finish())


@dataclass(frozen=True, slots=True)
class Dribble(Action):
    """Send the body drop by drop.

    Attributes:
        piece: bytes at a time.
        every: seconds between pieces.
    """

    piece: int = 1000
    every: float = 1.0

    def __post_init__(self) -> None:
        if self.piece < 1:
            raise ValueError(f"piece is at least 1, not {self.piece}")

    def steps(self, body_bytes: int) -> Iterable[Step]:
        """Pieces and pauses."""
        yield SendHead()
        for start in range(0, body_bytes, self.piece):
            if start:
                yield Wait(self.every)
            yield SendBody(self.piece)
        yield Finish()


@dataclass(frozen=True, slots=True)
class Bandwidth(Action):
    """Send the body over a narrow line.

    Attributes:
        bytes_per_second: how narrow.
    """

    bytes_per_second: int

    def __post_init__(self) -> None:
        if self.bytes_per_second < 1:
            raise ValueError(f"bytes_per_second is at least 1, not {self.bytes_per_second}")

    def steps(self, body_bytes: int) -> Iterable[Step]:
        """Many small pieces and pauses."""
        piece = max(1, self.bytes_per_second // _TICKS_A_SECOND)
        return Dribble(piece, piece / self.bytes_per_second).steps(body_bytes)


def retry_after(seconds: float, style: RetryAfterStyle, now: float) -> str | None:
    """The value of a `Retry-After` header; None: there is none."""
    match style:
        case RetryAfterStyle.SECONDS:
            return f"{seconds:g}"
        case RetryAfterStyle.DATE:
            return http_date(now + seconds)
        case RetryAfterStyle.NONE:
            return None


def _refuse_control_characters(text: str) -> None:
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"not fit for an HTTP header: {text!r}")


def _refuse_negative(name: str, count: int | None) -> None:
    if count is not None and count < 0:
        raise ValueError(f"{name} is at least 0, not {count}")


def _misstated(body: bytes, difference: int) -> bytes:
    """A WAV file whose header claims so many bytes more than there are."""
    misstated = bytearray(body)
    for at in (4, body.index(b"data") + 4):
        (size,) = _SIZE.unpack_from(body, at)
        _SIZE.pack_into(misstated, at, min(0xFFFFFFFF, max(0, size + difference)))
    return bytes(misstated)
