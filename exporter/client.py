"""The API over aiohttp: opens a recording and hands out its bytes.

Whatever aiohttp, TLS or the operating system raise is translated into `FetchError` here and
nowhere else. The key goes into one header of one request to one origin: redirects are not followed,
cookies are not kept.

Source of paths, headers, queries and error bodies: the vendor's API reference, "Get conversation
audio" and "Errors", of both surfaces.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from yarl import URL

from exporter import __version__
from exporter.errors import ConfigError, ErrorKind, FetchError, PolicyError
from exporter.model import Redaction, Surface
from exporter.retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from exporter.model import Recording

CORRELATION_HEADER = "X-PolyAI-Correlation-Id"
_BUFFER_SIZE = 256 * 1024  # more made no difference when measured
_MAX_ERROR_BODY = 64 * 1024
_MAX_MESSAGE = 300
_MAX_WORD = 100  # of codes and ids; the documented ones have about 40 characters
_DESCRIBED = 80
_MASK = "***"

_PATHS = {
    Surface.PLATFORM_V3: "/v3/{account}/{project}/conversations/{conversation}/audio",
    # The newer surface names the project "agent" and derives the account from the key.
    Surface.AGENTS_V1: "/v1/agents/{project}/conversations/{conversation}/audio",
}

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


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `read` is the longest time without a byte."""

    connect: float
    read: float
    total: float


class AudioBody:
    """The body of one answer.

    Attributes:
        content_length: bytes promised by HTTP, None when the server did not say.
        correlation_id: what the vendor's support asks for.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, correlation_id: str | None, secret: str
    ) -> None:
        self._response = response
        self._secret = secret
        self.content_length = response.content_length
        self.correlation_id = correlation_id

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The bytes as they arrive, in pieces of up to some 100 KiB.

        Raises:
            FetchError: the connection broke, stalled, or the promised length did not come.
        """
        received = 0
        with _translated(self._secret, self._response.status, self.correlation_id):
            try:
                async for chunk in self._response.content.iter_any():
                    received += len(chunk)
                    yield chunk
            except aiohttp.ClientPayloadError:
                # aiohttp 3.14.0 to 3.14.3 raises this for whole bodies when the reader is slow.
                if received != self.content_length:
                    raise
        if self.content_length is not None and received != self.content_length:
            raise FetchError(
                ErrorKind.TRUNCATED,
                f"the body ended after {received} of {self.content_length} bytes",
                http_status=self._response.status,
                correlation_id=self.correlation_id,
            )


class Client:
    """Opens recordings. One per run; an async context manager.

    Args:
        origin: scheme, host and path prefix of the API.
        surface: the API family that answers there.
        timeouts: of each request.
        ca_file: PEM file of certificate authorities, None for the system's.
        never_raw: of which (account, project) no request for raw audio is sent, should anybody
            want one after all.

    Raises:
        ConfigError: `ca_file` cannot be read, or the proxy in the environment cannot be used.
    """

    def __init__(
        self,
        *,
        origin: str,
        surface: Surface,
        timeouts: Timeouts,
        ca_file: Path | None = None,
        never_raw: Callable[[str, str], bool] = lambda *_: False,
    ) -> None:
        self._origin = origin
        self._path = _PATHS[surface]
        self._timeouts = timeouts
        self._never_raw = never_raw
        needs_tls = ca_file is not None or urlsplit(origin).scheme == "https"
        self._tls = _tls_context(ca_file) if needs_tls else True
        self._proxy, self._proxy_headers = _proxy_for(origin)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            # The worker pool bounds the number of connections; a second bound would only hide it.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.total,
                connect=self._timeouts.connect,
                sock_read=self._timeouts.read,
            ),
            headers={
                "Accept": "audio/wav",
                # Audio does not compress, and sizes must mean what they say.
                "Accept-Encoding": "identity",
                "User-Agent": f"exporter/{__version__}",
            },
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_BUFFER_SIZE,
            # The environment's proxy is used (see `_proxy_for`), the passwords of ~/.netrc are not.
            trust_env=False,
        )
        # When a kept connection breaks, aiohttp sends a second request on its own: uncounted, and
        # past every limit. There is no public switch; a test on the wire tells if this one goes.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def open(self, recording: Recording, api_key: str) -> AsyncIterator[AudioBody]:
        """Ask for one recording.

        Direction and redaction are always sent, for the surfaces' defaults differ from ours.

        Raises:
            FetchError: anything but a 200 with a body that may be audio.
            PolicyError: it would be a request for raw audio, and there are to be none.
        """
        if recording.redaction is not Redaction.REDACTED and self._never_raw(
            recording.account_id, recording.project_id
        ):
            raise PolicyError(
                f"never_raw is set, and a request for raw audio was about to be sent: {recording}",
                hint="It was not sent. This should have been noticed before; please report it.",
            )
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        with _translated(api_key):
            response = await self._session.get(
                self._url(recording),
                headers={"x-api-key": api_key},
                allow_redirects=False,
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            )
        try:
            correlation_id = _word(response.headers.get(CORRELATION_HEADER), api_key)
            with _translated(api_key, response.status, correlation_id):
                if response.status != HTTPStatus.OK:
                    raise await _error_of(response, correlation_id, api_key)
                await _refuse_other_content(response, correlation_id, api_key)
            yield AudioBody(response, correlation_id, api_key)
        finally:
            # After the last byte the connection went back to the pool already; one with bytes
            # left on it is closed here, not handed to the next request.
            response.close()

    def _url(self, recording: Recording) -> URL:
        path = self._path.format(
            account=quote(recording.account_id, safe=""),
            project=quote(recording.project_id, safe=""),
            conversation=quote(recording.conversation_id, safe=""),
        )
        redacted = "true" if recording.redaction is Redaction.REDACTED else "false"
        return URL(
            f"{self._origin}{path}?direction={recording.direction}&redacted={redacted}",
            encoded=True,
        )


@contextlib.contextmanager
def _translated(
    secret: str, http_status: int | None = None, correlation_id: str | None = None
) -> Iterator[None]:
    """Foreign errors become `FetchError`, in words that do not hold the secret."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        kind, words = kind_of_foreign(error)
        detail = _printable(str(error), secret) or type(error).__name__
        raise FetchError(
            kind, f"{words} ({detail})", http_status=http_status, correlation_id=correlation_id
        ) from None


def kind_of_foreign(error: aiohttp.ClientError | OSError) -> tuple[ErrorKind, str]:
    """What a library's error means: its kind, and words for people."""
    return next(
        (kind, words) for foreign, kind, words in _FOREIGN_KINDS if isinstance(error, foreign)
    )


async def _error_of(
    response: aiohttp.ClientResponse, correlation_id: str | None, secret: str
) -> FetchError:
    """What an answer other than 200 means."""
    status = response.status
    try:
        body = await _beginning(response)
    except (aiohttp.ClientError, OSError):
        if status == HTTPStatus.NOT_FOUND:
            raise  # only the body tells what was not found
        body = b""
    envelope = _parse_envelope(body)
    if envelope and (words := envelope.error_message or envelope.error):
        message = f"the API answered {status}: {_printable(words, secret)}"
    elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        message = f"the server answered {status} and points elsewhere; the key is not sent there"
    else:
        message = f"the server answered {status} with {_describe(body, secret)}"
    return FetchError(
        _kind_of(status, envelope),
        message,
        http_status=status,
        code=_word(envelope.error_code, secret) if envelope else None,
        correlation_id=correlation_id or (_word(envelope.error_id, secret) if envelope else None),
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


async def _refuse_other_content(
    response: aiohttp.ClientResponse, correlation_id: str | None, secret: str
) -> None:
    """A 200 may carry a gateway's page or a JSON error: say so instead of "not a WAV file".

    The bytes decide in the end; a type that is merely unusual or missing passes here.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    kind = response.content_type.lower()
    if kind in {"application/json", "text/html", "text/plain", "application/xml", "text/xml"}:
        found = f"{kind}: {_describe(await _beginning(response), secret)}"
    elif encoding not in {"", "identity"}:
        found = f"a body compressed with {_word(encoding, secret)}, which was not asked for"
    else:
        return
    raise FetchError(
        ErrorKind.NOT_AUDIO,
        f"the server answered 200 with {found}",
        http_status=response.status,
        correlation_id=correlation_id,
    )


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
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


def _describe(body: bytes, secret: str) -> str:
    if not body:
        return "an empty body"
    text = _printable(body.decode("utf-8", "replace"), secret, at_most=_DESCRIBED)
    return f"the body {text!r}"


def _printable(text: str, secret: str, *, at_most: int = _MAX_MESSAGE) -> str:
    """One line of visible characters without the secret, cut to a length that suits a log.

    A server may answer with anything: with the key that it was sent, with what steers a terminal,
    with halves of characters that no file can hold.
    """
    text = text[:_MAX_ERROR_BODY].replace(secret, _MASK)
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= at_most else f"{line[:at_most]}…"


def _word(text: str | None, secret: str) -> str | None:
    """A code or an id from the server, harmless; None where there is none."""
    return _printable(text or "", secret, at_most=_MAX_WORD) or None


def _proxy_for(origin: str) -> tuple[URL | None, dict[str, str]]:
    """The proxy that the environment names for this origin, and the headers with its password.

    What is meant for this machine is never shown to a proxy.
    """
    parts = urlsplit(origin)
    host = parts.hostname or ""
    found = getproxies().get(parts.scheme)
    if not found or _is_loopback(host) or proxy_bypass(host):
        return None, {}
    with contextlib.suppress(ValueError):
        url = URL(found if "://" in found else f"http://{found}")
        if url.scheme == "http" and url.host:
            return url.with_user(None), _basic_auth(url)
    raise ConfigError(
        f"the proxy in the environment variable {parts.scheme.upper()}_PROXY cannot be used",
        hint="Expected an address such as http://proxy.example.com:3128; NO_PROXY lists hosts that"
        " need none.",
    )


def _basic_auth(proxy: URL) -> dict[str, str]:
    if proxy.user is None:
        return {}
    words = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words).decode()}"}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"cannot use api.ca_file {ca_file}: {reason}",
            hint="It must be a PEM file of certificate authorities.",
        ) from None
