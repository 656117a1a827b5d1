"""What the API's answers and the network's failures mean: all of them become `FetchError`s here.

Whatever aiohttp, TLS or the operating system raise is translated here and nowhere else, in words
that do not hold the key.

Source of error bodies and codes: the vendor's API reference, "Errors", of both surfaces.
"""

from __future__ import annotations

import re
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from exporter.errors import ErrorKind, FetchError
from exporter.hidden import no_authorities
from exporter.retry import parse_retry_after

with no_authorities():
    import aiohttp
    from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

    from exporter.connections import Answer
    from exporter.model import Piece

JSON = "application/json"
_MAX_ERROR_BODY = 64 * 1024
_MAX_MESSAGE = 300
_MAX_WORD = 100  # of codes and ids; the documented ones have about 40 characters
_HARMLESS = re.compile(rf"[A-Za-z0-9_.:-]{{1,{_MAX_WORD}}}")
_DESCRIBED = 80
_MASK = "***"
_TEXTS = frozenset({JSON, "text/html", "text/plain", "application/xml", "text/xml"})

_NOT_FOUND_KINDS = {
    "CONVERSATIONS_RECORDING_NOT_FOUND": ErrorKind.RECORDING_NOT_FOUND,
    "CONVERSATIONS_NOT_FOUND": ErrorKind.CONVERSATION_NOT_FOUND,
    "ACCOUNT_NOT_FOUND": ErrorKind.PROJECT_NOT_FOUND,
    "PROJECT_NOT_FOUND": ErrorKind.PROJECT_NOT_FOUND,
    "AGENT_NOT_FOUND": ErrorKind.PROJECT_NOT_FOUND,  # not documented; the project's other name
}
_STATUS_KINDS = {
    HTTPStatus.UNAUTHORIZED: ErrorKind.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: ErrorKind.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT: ErrorKind.TIMEOUT,
    HTTPStatus.GONE: ErrorKind.GONE,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorKind.RATE_LIMITED,
    HTTPStatus.NOT_IMPLEMENTED: ErrorKind.BAD_REQUEST,
}

# First match wins, so subclasses stand before their bases. A test walks aiohttp's whole error
# tree through this table.
_FOREIGN_KINDS: tuple[tuple[type[BaseException], ErrorKind, str], ...] = (
    (aiohttp.ClientConnectorDNSError, ErrorKind.DNS, "the host name could not be resolved"),
    (
        aiohttp.ClientConnectorCertificateError,
        ErrorKind.CERTIFICATE,
        "the server's certificate is not trusted",
    ),
    (aiohttp.ServerFingerprintMismatch, ErrorKind.CERTIFICATE, "the server's certificate changed"),
    (
        ssl.SSLCertVerificationError,
        ErrorKind.CERTIFICATE,
        "the server's certificate is not trusted",
    ),
    (aiohttp.ClientSSLError, ErrorKind.TLS, "the TLS hand-shake failed"),
    (ssl.SSLError, ErrorKind.TLS, "the TLS connection failed"),
    (TimeoutError, ErrorKind.TIMEOUT, "no answer in time"),
    (aiohttp.ClientConnectorError, ErrorKind.CONNECT, "no connection to the server"),
    (aiohttp.ClientHttpProxyError, ErrorKind.CONNECT, "the proxy refused the connection"),
    (aiohttp.ClientPayloadError, ErrorKind.TRUNCATED, "the body ended too early"),
    (aiohttp.ClientResponseError, ErrorKind.CONNECTION_LOST, "the answer was not valid HTTP"),
    (aiohttp.ClientError, ErrorKind.CONNECTION_LOST, "the connection was lost"),
    (OSError, ErrorKind.CONNECTION_LOST, "the connection was lost"),
)


class _Envelope(msgspec.Struct):
    """The API's error body; all else in it is ignored."""

    error_code: str | None = None
    error_message: str | None = None
    error_id: str | None = None
    error: str | None = None


class Body:
    """The body of one answer.

    It is also the iterator over its bytes, and a class: another object, or a generator around
    aiohttp's own, costs a small recording a twentieth.

    Attributes:
        content_length: bytes promised by HTTP, None when the server did not say.
        correlation_id: what the vendor's support asks for.
    """

    __slots__ = ("_content", "_received", "_secret", "_status", "content_length", "correlation_id")

    def __init__(self, response: Answer, correlation_id: str | None, secret: str) -> None:
        self._content = response.content
        self._status = response.status
        self._secret = secret
        self._received = 0
        self.content_length = response.content_length
        self.correlation_id = correlation_id

    def chunks(self) -> AsyncIterator[Piece]:
        """The bytes as they arrive, in pieces of up to some 100 KiB; to be read once.

        Raises:
            FetchError: the connection broke, stalled, or the promised length did not come.
        """
        return self

    def __aiter__(self) -> Self:
        """See `chunks`."""
        return self

    async def __anext__(self) -> Piece:
        """See `chunks`."""
        content = self._content
        is_whole = self._received == self.content_length
        if is_whole and content.at_eof():
            raise StopAsyncIteration
        try:
            if self.content_length is None:
                chunk = await content.readany()  # in HTTP chunks, which may be short: many at once
            else:
                chunk, _ = await content.readchunk()  # as it was received: no copy
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp 3.14.0 to 3.14.3 raises this for whole bodies when the reader is slow.
            if is_whole and isinstance(error, aiohttp.ClientPayloadError):
                raise StopAsyncIteration from None
            raise translation(error, self._secret, self._status, self.correlation_id) from None
        if chunk:
            self._received += len(chunk)
            return chunk
        if self.content_length is not None and not is_whole:
            raise FetchError(
                ErrorKind.TRUNCATED,
                f"the body ended after {self._received} of {self.content_length} bytes",
                http_status=self._status,
                correlation_id=self.correlation_id,
            )
        raise StopAsyncIteration


class translated:  # noqa: N801 (used like a function)
    """Foreign errors become `FetchError`, in words that do not hold the secret.

    A class, for it is entered several times a request and a generator costs three times as much.
    """

    __slots__ = ("_correlation_id", "_http_status", "_secret")

    def __init__(
        self, secret: str, http_status: int | None = None, correlation_id: str | None = None
    ) -> None:
        self._secret = secret
        self._http_status = http_status
        self._correlation_id = correlation_id

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """Translate."""
        if isinstance(error, aiohttp.ClientError | OSError):
            raise translation(
                error, self._secret, self._http_status, self._correlation_id
            ) from None


def translation(
    error: aiohttp.ClientError | OSError,
    secret: str,
    http_status: int | None = None,
    correlation_id: str | None = None,
) -> FetchError:
    """A library's error in our words, which do not hold the secret."""
    kind, words = kind_of_foreign(error)
    detail = printable(str(error), secret) or type(error).__name__
    return FetchError(
        kind, f"{words} ({detail})", http_status=http_status, correlation_id=correlation_id
    )


def kind_of_foreign(error: aiohttp.ClientError | OSError) -> tuple[ErrorKind, str]:
    """What a library's error means: its kind, and words for people."""
    return next(
        (kind, words) for foreign, kind, words in _FOREIGN_KINDS if isinstance(error, foreign)
    )


async def error_of(response: Answer, correlation_id: str | None, secret: str) -> FetchError:
    """What an answer other than 200 means."""
    status = response.status
    try:
        body = await beginning(response)
    except (aiohttp.ClientError, OSError):
        if status == HTTPStatus.NOT_FOUND:
            raise  # only the body tells what was not found
        body = b""
    envelope = _parse_envelope(body)
    if envelope and (words := envelope.error_message or envelope.error):
        message = f"the API answered {status}: {printable(words, secret)}"
    elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        message = f"the server answered {status} and points elsewhere; the key is not sent there"
    else:
        message = f"the server answered {status} with {describe(body, secret)}"
    return FetchError(
        _kind_of(status, envelope),
        message,
        http_status=status,
        code=word(envelope.error_code, secret) if envelope else None,
        correlation_id=correlation_id or (word(envelope.error_id, secret) if envelope else None),
        retry_after=parse_retry_after(
            response.headers.get("Retry-After", ""), response.headers.get("Date", "")
        ),
    )


def _kind_of(status: int, envelope: _Envelope | None) -> ErrorKind:
    if status == HTTPStatus.NOT_FOUND:
        if envelope is None or envelope.error_code is None:
            return ErrorKind.WRONG_HOST
        return _NOT_FOUND_KINDS.get(envelope.error_code, ErrorKind.CONVERSATION_NOT_FOUND)
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[HTTPStatus(status)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ErrorKind.SERVER_ERROR
    if status >= HTTPStatus.BAD_REQUEST:
        return ErrorKind.BAD_REQUEST
    return ErrorKind.UNEXPECTED_STATUS


def is_plainly(response: Answer, accept: str) -> bool:
    """Whether an answer is what was asked for at a glance; most are, others are looked into."""
    headers = response.headers
    return (
        response.status == HTTPStatus.OK
        and headers.get(CONTENT_TYPE) == accept
        and CONTENT_ENCODING not in headers
    )


async def refuse_other_content(
    response: Answer, correlation_id: str | None, secret: str, *, accept: str
) -> None:
    """A 200 may carry a gateway's page or a JSON error: say so instead of "not a WAV file".

    The bytes decide in the end; a type that is merely unusual or missing passes here.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    kind = response.headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind in _TEXTS - {accept}:
        found = f"{kind}: {describe(await beginning(response), secret)}"
    elif encoding not in {"", "identity"}:
        found = f"a body compressed with {word(encoding, secret)}, which was not asked for"
    else:
        return
    raise FetchError(
        ErrorKind.UNREADABLE if accept == JSON else ErrorKind.NOT_AUDIO,
        f"the server answered 200 with {found}",
        http_status=response.status,
        correlation_id=correlation_id,
    )


async def beginning(response: Answer) -> bytes:
    """The first part of a body that should be short."""
    body = b""
    while len(body) < _MAX_ERROR_BODY:
        chunk = await response.content.read(_MAX_ERROR_BODY - len(body))
        if not chunk:
            break
        body += chunk
    return body


def _parse_envelope(body: bytes) -> _Envelope | None:
    try:
        return msgspec.json.decode(body, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def describe(body: bytes, secret: str) -> str:
    """The beginning of a body, for messages."""
    if not body:
        return "an empty body"
    text = printable(body.decode("utf-8", "replace"), secret, at_most=_DESCRIBED)
    return f"the body {text!r}"


def printable(text: str, secret: str, *, at_most: int = _MAX_MESSAGE) -> str:
    """One line of visible characters without the secret, cut to a length that suits a log.

    A server may answer with anything: with the key that it was sent, with what steers a terminal,
    with halves of characters that no file can hold.
    """
    text = text[:_MAX_ERROR_BODY]
    if secret:  # nothing was shown to whoever was asked without a key
        text = text.replace(secret, _MASK)
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= at_most else f"{line[:at_most]}…"


def word(text: str | None, secret: str) -> str | None:
    """A code or an id from the server, harmless; None where there is none."""
    if text is None or (_HARMLESS.fullmatch(text) and secret not in text):
        return text
    return printable(text, secret, at_most=_MAX_WORD) or None
