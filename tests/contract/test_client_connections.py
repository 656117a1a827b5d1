"""How the client connects: names, certificates, proxies; foreign errors have a meaning."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING
from unittest.mock import patch

import aiohttp
import pytest
from yarl import URL

from exporter import client as client_module
from exporter.answers import kind_of_foreign
from exporter.errors import ConfigError, ErrorKind
from exporter.sandbox import (
    Sandbox,
)
from tests.clients import (
    KEY,
    WAV,
    WORLD,
    Raw,
    client_of,
    failure,
    fetch,
)
from tests.lines import server_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_proxies")


def proxy_of(origin: str) -> URL | None:
    return client_of(origin)._proxies[URL(origin)][0]


# Connecting.


async def test_a_port_where_nobody_listens() -> None:
    """A refused connection is told as that, with the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await failure(f"http://127.0.0.1:{port}")
    assert error.kind is ErrorKind.CONNECT
    assert str(port) in error.message


async def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not exist is told as that: the region is the first thing to check."""

    async def nobody(host: str, *_: object, **__: object) -> None:
        raise socket.gaierror(-2, f"Name or service not known: {host}")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    error = await failure("https://api.mars-1.platform.polyai.invalid")
    assert error.kind is ErrorKind.DNS
    assert "api.mars-1.platform.polyai.invalid" in error.message


async def test_tls_to_a_port_that_speaks_plain_http() -> None:
    """The wrong scheme is a failed hand-shake."""
    async with Sandbox(world=WORLD) as sandbox:
        error = await failure(sandbox.base_url.replace("http://", "https://"))
    assert error.kind is ErrorKind.TLS


async def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    """A certificate of an unknown authority stops the connection before the key is sent."""
    async with Raw(b"", tls=server_tls(certificate)) as server:
        error = await failure(server.origin)
    assert error.kind is ErrorKind.CERTIFICATE
    assert server.requests == []


async def test_an_authority_that_is_named_is_trusted(certificate: Path) -> None:
    """With `ca_file` a private certificate is trusted, and checked all the same."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(answer, tls=server_tls(certificate)) as server:
        assert (await fetch(server.origin, ca_file=certificate)).body == b"RIFF"


async def test_the_systems_authorities_are_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `ca_file` those count that OpenSSL finds where the system keeps them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(answer, tls=server_tls(certificate)) as server:
        assert (await fetch(server.origin)).body == b"RIFF"


@pytest.mark.parametrize("kind", ["missing", "empty", "no certificate", "folder"])
def test_an_authority_file_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    """A `ca_file` that is none is refused before the run begins, with its name."""
    file = tmp_path / "ca.pem"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_text("" if kind == "empty" else "not a certificate\n")
    with pytest.raises(ConfigError, match=r"cannot use api\.ca_file .*ca\.pem: [a-zA-Z ]+$"):
        client_of("https://api.example.com", ca_file=file)


# Proxies.


async def test_a_proxy_does_not_see_what_is_meant_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests to loopback addresses go straight there, whatever the environment says."""
    async with Raw() as proxy, Sandbox(world=WORLD) as sandbox:
        monkeypatch.setenv("http_proxy", proxy.origin)
        assert (await fetch(sandbox.base_url)).body == WAV
        assert (await fetch(sandbox.base_url.replace("127.0.0.1", "localhost"))).body == WAV
    assert proxy.connections == 0


@pytest.mark.parametrize("host", ["127.9.9.9", "[::1]", "localhost", "127.0.0.1:8765"])
def test_every_loopback_address_is_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 127.0.0.0/8 and ::1 count, as they do where plain http is allowed."""
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    assert proxy_of(f"http://{host}") is None
    assert proxy_of("http://10.0.0.1") is not None


async def test_a_proxy_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets the request, its password, and no key of an https origin."""
    refusal = b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n"
    async with Raw(refusal, close=True) as proxy:
        address = proxy.origin.removeprefix("http://")
        monkeypatch.setenv("https_proxy", f"http://me:pass-word@{address}")
        error = await failure("https://api.example.com")
        (request,) = proxy.requests
    assert request.startswith(b"CONNECT api.example.com:443 ")
    assert b"Proxy-Authorization: Basic" in request
    assert KEY.encode() not in request
    assert error.kind is ErrorKind.CONNECT
    assert "the proxy refused the connection" in error.message
    assert "pass-word" not in error.message


async def test_a_host_can_be_taken_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is respected, and the passwords of ~/.netrc are not sent to the API."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.com")
    assert proxy_of("https://api.example.com") is None
    assert proxy_of("https://api.example.org") is not None


async def test_passwords_of_other_programs_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ~/.netrc with a password for every host adds nothing to a request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password pass-word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFF") as server:
        with patch.object(client_module, "_is_loopback", lambda _host: False):
            await fetch(server.origin)
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize(
    "proxy",
    ["socks5://me:pass-word@127.0.0.1:1080", "https://proxy:3128", "http://", "http://a:b:c"],
)
def test_a_proxy_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of a kind that is not understood is refused by name instead of passed by."""
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError, match="HTTPS_PROXY cannot be used") as caught:
        client_of("https://api.example.com")
    assert "pass-word" not in str(caught.value)


# Foreign errors.


def tree(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith(("aiohttp", "builtins", "ssl", "socket")):
            yield from tree(below)


EXPECTED = {
    aiohttp.ClientConnectorDNSError: ErrorKind.DNS,
    aiohttp.ClientConnectorCertificateError: ErrorKind.CERTIFICATE,
    aiohttp.ServerFingerprintMismatch: ErrorKind.CERTIFICATE,
    aiohttp.ClientConnectorSSLError: ErrorKind.TLS,
    aiohttp.ClientConnectorError: ErrorKind.CONNECT,
    aiohttp.ClientProxyConnectionError: ErrorKind.CONNECT,
    aiohttp.ClientHttpProxyError: ErrorKind.CONNECT,
    aiohttp.ConnectionTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.SocketTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.ServerTimeoutError: ErrorKind.TIMEOUT,
    aiohttp.ClientPayloadError: ErrorKind.TRUNCATED,
    aiohttp.ServerDisconnectedError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientOSError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientConnectionResetError: ErrorKind.CONNECTION_LOST,
    aiohttp.ClientResponseError: ErrorKind.CONNECTION_LOST,
    ssl.SSLCertVerificationError: ErrorKind.CERTIFICATE,
    ssl.SSLError: ErrorKind.TLS,
    ConnectionResetError: ErrorKind.CONNECTION_LOST,
    BrokenPipeError: ErrorKind.CONNECTION_LOST,
    TimeoutError: ErrorKind.TIMEOUT,
    socket.gaierror: ErrorKind.CONNECTION_LOST,
}


FOREIGN = {kind.__name__: kind for kind in (*tree(aiohttp.ClientError), *tree(OSError))}


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_every_foreign_error_has_a_meaning(name: str) -> None:
    """No error that the library or the system can raise is without a kind and words."""
    kind = FOREIGN[name]
    error = kind.__new__(kind)
    assert isinstance(error, (aiohttp.ClientError, OSError))
    found, words = kind_of_foreign(error)
    assert words
    assert found is EXPECTED.get(kind, found)
    network = {
        ErrorKind.DNS,
        ErrorKind.CERTIFICATE,
        ErrorKind.TLS,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECT,
        ErrorKind.CONNECTION_LOST,
        ErrorKind.TRUNCATED,
    }
    assert found in network
