"""A proxy before an object store: it notes what is asked, and makes trouble on request."""

from __future__ import annotations

import contextlib
import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.object_stores import SeaweedFS


@dataclass
class Request:
    """One request that came by."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    size: int


@dataclass
class Fault:
    """What the proxy does with a request instead of passing it on.

    Attributes:
        status: answers this, with `code` as S3 tells it.
        cut_after: closes the connection once so many bytes of the body came.
        lose_answer: passes the request on, and closes the connection instead of answering.
        spoil: changes a byte of the body on its way.
        cut_answer: closes the connection once so many bytes of the answer's body went out.
    """

    status: int | None = None
    code: str = ""
    cut_after: int | None = None
    lose_answer: bool = False
    spoil: bool = False
    cut_answer: int | None = None


@dataclass
class Proxy:
    """Stands before a store and writes down what passes.

    Attributes:
        target: the store's address.
        fault: says what to do with a request; None passes it on.
        requests: all that came by.
    """

    target: str
    fault: Callable[[Request], Fault | None] = lambda _: None
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def count(self, method: str, ending: str = "") -> int:
        return sum(each.method == method and each.path.endswith(ending) for each in self.requests)


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (overrides)
        """Nothing."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            dict(self.headers),
            size,
        )
        self.owner.requests.append(request)
        fault = self.owner.fault(request) or Fault()
        if fault.cut_after is not None:
            self.rfile.read(min(size, fault.cut_after))
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault.spoil and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault.status is not None:
            text = f"<Error><Code>{fault.code}</Code><Message>made up</Message></Error>".encode()
            self._answer(fault.status, {"Content-Type": "application/xml", "ETag": '"0"'}, text)
            return
        target = urlsplit(self.owner.target)
        upstream = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        with contextlib.closing(upstream):
            try:
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self.close_connection = True
                return
            if fault.lose_answer:
                self.close_connection = True
                return
            self._answer(answer.status, dict(answer.headers), content, fault.cut_answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 (as the base says)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, most: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:most])
            self.close_connection |= most is not None and most < len(content)


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[Proxy]:
    """Before the session's SeaweedFS."""
    with Proxy(seaweedfs.url) as started:
        yield started
