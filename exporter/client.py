"""The API over aiohttp: one connection pool, one request at a time, and recordings as they come.

The key goes into one header of one request to one origin: redirects are not followed, cookies are
not kept. What answers and failures mean is decided in `answers`. Recordings come over connections
without a session around each request (`connections`), where no proxy stands in between.

Source of paths, headers and queries: the vendor's API reference, "Get conversation audio", of both
surfaces.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct
from yarl import URL

from exporter import __version__
from exporter.answers import (
    Body,
    error_of,
    is_plainly,
    refuse_other_content,
    translated,
    translation,
    word,
)
from exporter.connections import CORRELATION_HEADER, Connections
from exporter.errors import ConfigError, PolicyError
from exporter.hidden import no_authorities
from exporter.model import Redaction, Surface

with no_authorities():
    import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from exporter.connections import Answer, Timeouts
    from exporter.model import Direction, Recording

AUDIO = "audio/wav"
_Proxy = tuple[URL | None, dict[str, str]]  # and the headers with its password
_BUFFER_SIZE = 256 * 1024  # more made no difference when measured

_PROJECTS = 1024  # times variants, whose addresses are kept in mind
_CONVERSATIONS = {
    Surface.PLATFORM_V3: "/v3/{account}/{project}/conversations/",
    # The newer surface names the project "agent" and derives the account from the key.
    Surface.AGENTS_V1: "/v1/agents/{project}/conversations/",
}


class Greeting(Struct, frozen=True):
    """What a host answers to whoever asks for nothing.

    Attributes:
        status: of HTTP; any will do.
        date: what time it is there; None where it does not say.
        seconds: that it took.
    """

    status: int
    date: datetime | None
    seconds: float


class Client:
    """Opens recordings. One per run; an async context manager.

    Args:
        origin: scheme, host and path prefix of the API.
        surface: the API family that answers there.
        timeouts: of each request.
        ca_file: PEM file of certificate authorities, None for the system's.
        never_raw: of which (account, project) no request for raw audio is sent, should anybody
            want one after all.
        other_origins: of the API as well; `get` sends the key there, too, and nowhere else.

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
        other_origins: Iterable[str] = (),
    ) -> None:
        self._origin = origin
        self._own = URL(origin).origin()
        self._conversations = origin + _CONVERSATIONS[surface]
        self._timeouts = timeouts
        self._never_raw = never_raw
        self._proxies = {URL(each).origin(): _proxy_for(each) for each in (origin, *other_origins)}
        self._proxy = self._proxies[self._own]
        needs_tls = ca_file is not None or any(each.scheme == "https" for each in self._proxies)
        self._tls = _tls_context(ca_file) if needs_tls else None
        self._headers = {
            # Audio does not compress, and sizes must mean what they say.
            "Accept-Encoding": "identity",
            "User-Agent": f"exporter/{__version__}",
        }
        told = {"Host": self._own.host_port_subcomponent, "Accept": AUDIO, **self._headers}
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._connections: Connections | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            # The worker pool bounds the number of connections; a second bound would only hide it.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.total,
                connect=self._timeouts.connect,
                sock_read=self._timeouts.read,
            ),
            headers=self._headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_BUFFER_SIZE,
            # The environment's proxy is used (see `_proxy_for`), the passwords of ~/.netrc are not.
            trust_env=False,
        )
        # When a kept connection breaks, aiohttp sends a second request on its own: uncounted, and
        # past every limit. There is no public switch; a test on the wire tells if this one goes.
        self._session._retry_connection = False  # noqa: SLF001
        if self.proxy is None:
            self._connections = Connections(self._own, self._tls, self._timeouts)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()
        if self._session is not None:
            await self._session.close()

    def open(self, recording: Recording, api_key: str) -> AbstractAsyncContextManager[Body]:
        """Ask for one recording.

        Direction and redaction are always sent, for the surfaces' defaults differ from ours.

        Raises:
            FetchError: when entered: anything but a 200 with a body that may be audio.
            PolicyError: it would be a request for raw audio, and there are to be none.
        """
        self.check(recording)
        target = self._target(recording)
        if self._connections is None:
            url = URL(f"{self._own}{target}", encoded=True)
            return self._asked(url, self._proxy, api_key, AUDIO)
        request = f"GET {target} HTTP/1.1\r\n{self._fields}x-api-key: {api_key}\r\n\r\n"
        return _Asked(partial(self._connections.ask, request.encode(), AUDIO), api_key, AUDIO)

    def check(self, recording: Recording) -> None:
        """Before a request is sent for it, by whomever.

        Raises:
            PolicyError: it would be one for raw audio, and there are to be none.
        """
        if recording.redaction is not Redaction.REDACTED and self._never_raw(
            recording.account_id, recording.project_id
        ):
            raise PolicyError(
                f"never_raw is set, and a request for raw audio was about to be sent: {recording}",
                hint="It was not sent. This should have been noticed before; please report it.",
            )

    def get(self, url: URL, api_key: str, *, accept: str) -> AbstractAsyncContextManager[Body]:
        """Send one request; nothing is repeated here.

        Args:
            url: of the API, percent-encoded.
            api_key: goes into the header.
            accept: the media type that is wanted; something plainly else is refused.

        Raises:
            FetchError: when entered: anything but a 200 with a body that may be what is wanted.
        """
        # An origin that nobody configured has no entry here, and gets no key.
        return self._asked(url, self._proxies[url.origin()], api_key, accept)

    def _asked(self, url: URL, proxy: _Proxy, api_key: str, accept: str) -> _Asked:
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        address, proxy_headers = proxy
        send = partial(
            self._session.get,
            url,
            headers={"x-api-key": api_key, "Accept": accept},
            allow_redirects=False,
            proxy=address,
            proxy_headers=proxy_headers,
        )
        return _Asked(send, api_key, accept)

    @property
    def proxy(self) -> URL | None:
        """Through which the API is reached, without user and password; None: directly."""
        return self._proxy[0]

    async def greet(self) -> Greeting:
        """See whether there is anybody, without showing a key.

        Raises:
            FetchError: nobody who speaks HTTP can be reached.
        """
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        url = URL(f"{self._origin}/", encoded=True)
        proxy, proxy_headers = self._proxies[url.origin()]
        began = time.monotonic()
        with translated(""):
            response = await self._session.get(
                url, allow_redirects=False, proxy=proxy, proxy_headers=proxy_headers
            )
        response.close()
        date = _moment(response.headers.get("Date", ""))
        return Greeting(response.status, date, time.monotonic() - began)

    def _target(self, recording: Recording) -> str:
        path, query = _conversations(
            self._conversations,
            recording.account_id,
            recording.project_id,
            recording.direction,
            recording.redaction,
        )
        return f"{path}{_quoted(recording.conversation_id)}/audio?{query}"


@lru_cache(_PROJECTS)
def _conversations(
    template: str, account: str, project: str, direction: Direction, redaction: Redaction
) -> tuple[str, str]:
    """Below which path a project's recordings are, and the query for one variant.

    To parse an address takes longer than all else that is done to ask for a recording.
    """
    place = template.format(account=_quoted(account), project=_quoted(project))
    redacted = "true" if redaction is Redaction.REDACTED else "false"
    url = URL(f"{place}?direction={direction}&redacted={redacted}", encoded=True)
    return url.raw_path, url.raw_query_string


def _quoted(identifier: str) -> str:
    if identifier.isascii() and identifier.isalnum():
        return identifier  # as most are
    return quote(identifier, safe="")


class _Asked:
    """One request while it lasts. A class, for generators cost a small recording a twentieth."""

    __slots__ = ("_accept", "_api_key", "_response", "_send")

    def __init__(self, send: Callable[[], Awaitable[Answer]], api_key: str, accept: str) -> None:
        self._send = send
        self._api_key = api_key
        self._accept = accept
        self._response: Answer | None = None

    async def __aenter__(self) -> Body:
        key = self._api_key
        try:
            response = self._response = await self._send()
        except (aiohttp.ClientError, OSError) as error:
            raise translation(error, key) from None
        correlation_id = word(response.headers.get(CORRELATION_HEADER), key)
        if not is_plainly(response, self._accept):
            await self._look_into(response, correlation_id)
        return Body(response, correlation_id, key)

    async def _look_into(self, response: Answer, correlation_id: str | None) -> None:
        try:
            with translated(self._api_key, response.status, correlation_id):
                await self._check(response, correlation_id)
        except BaseException:
            response.close()
            raise

    async def _check(self, response: Answer, correlation_id: str | None) -> None:
        if response.status != HTTPStatus.OK:
            raise await error_of(response, correlation_id, self._api_key)
        await refuse_other_content(response, correlation_id, self._api_key, accept=self._accept)

    async def __aexit__(self, *_: object) -> None:
        # After the last byte the connection went back to the pool already; one with bytes left on
        # it is closed here, not handed to the next request.
        if self._response is not None and not self._response.closed:
            self._response.close()


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _proxy_for(origin: str) -> _Proxy:
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
