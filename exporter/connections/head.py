"""The head of an answer that looks as most do; every other is for a whole parser to understand.

Nothing is forgiven here: what is not understood completely is not understood at all.

Source: RFC 9112, sections 4 to 6.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

CORRELATION_HEADER: Final = "X-PolyAI-Correlation-Id"

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):([\t -~]*)\r\n")
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 200 [\t -~]*\r\n((?:" + _TOKEN + rb":[\t -~]*\r\n){1,100})\r\n",
)
_MOST_BYTES: Final = 8000  # aiohttp refuses a line of more than 8190, and more than 128 lines
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_CORRELATION: Final = CORRELATION_HEADER.lower().encode()
_MEANS_MORE: Final = frozenset(  # how long the body is, or what its bytes mean
    {b"transfer-encoding", b"content-encoding", b"content-range", b"upgrade", b"trailer"}
)


class UsualHead(NamedTuple):
    """A 200 with a body of the type that was asked for, not compressed, of a known length.

    Attributes:
        size: bytes of the head itself, the empty line included.
        content_length: bytes of the body.
        correlation_id: what the vendor's support asks for.
    """

    size: int
    content_length: int
    correlation_id: str | None


def usual_head(received: bytes | memoryview, accept: bytes) -> UsualHead | None:
    """Read the head of an answer, if all of it has come and it looks as most do.

    Args:
        received: begins with the head.
        accept: the media type that was asked for.

    Returns:
        None where it does not: also where the server means to close the connection.
    """
    head = _HEAD.match(received, 0, _MOST_BYTES)
    if head is None:
        return None
    lines = _FIELD.findall(head[1])
    fields = {name.lower(): value.strip(b" \t") for name, value in lines}
    length = fields.get(b"content-length", b"")
    if (
        len(fields) != len(lines)  # something is said twice
        or fields.get(b"content-type") != accept
        or not _LENGTH.fullmatch(length)
        or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or not _MEANS_MORE.isdisjoint(fields)
    ):
        return None
    correlation_id = fields.get(_CORRELATION)
    return UsualHead(
        head.end(), int(length), correlation_id.decode("ascii") if correlation_id else None
    )
