"""nginx on loopback, in a folder of its own, serving WAV files: the same bytes for everybody.

`/files/<anything>/<size>/<anything>.wav` for tools that take addresses, and the API's own path for
the exporter: `/v3/<anything>/<size>/conversations/<anything>/audio`. The addresses of files end as
the names in an archive do, for tools that keep what they fetch under the names of their addresses.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NOISE = 1024 * 1024
_CONFIG = """\
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; etag off;
  types {{ audio/wav wav; }}
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {folder};
    location /files/ {{ rewrite "^/files/[^/]+/([^/]+)/.+$" /wav/$1.wav break; }}
    location /v3/ {{
      rewrite "^/v3/[^/]+/([^/]+)/conversations/[^/]+/audio$" /wav/$1.wav break;
    }}
  }}
}}
"""


def find(command: str) -> str | None:
    """A program of this machine, also where only administrators have it on their path."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(folder: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """Serve recordings of these sizes: name -> bytes. Yields the server's address.

    Raises:
        SystemExit: nginx is not installed.
    """
    program = find("nginx")
    if program is None:
        sys.exit("nginx is not installed; on Debian and Ubuntu: apt-get install nginx-light")
    (folder / "wav").mkdir(parents=True)
    for name, size in sizes.items():
        write_recording(folder / "wav" / f"{name}.wav", size)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(config)])  # noqa: S603
    try:
        await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def write_recording(path: Path, size: int) -> None:
    """A WAV file of so many bytes that does not compress."""
    noise = random.Random(size)
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, 8000, (size - 44) // 2, "NONE", ""))
        for start in range(44, size, _NOISE):  # in pieces: who measures memory should take little
            writer.writeframesraw(noise.randbytes(min(_NOISE, size - start)))


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def await_port(port: int) -> None:
    """Return when somebody listens."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    sys.exit(f"nothing listens at port {port}")
