"""Where a host is: its addresses are looked up once for all who want to connect."""

from __future__ import annotations

import asyncio
import math
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

_KNOWN_SECONDS: Final = 10.0  # as aiohttp does


class Addresses:
    """Of one host, known for ten seconds.

    Args:
        host: its name, or an address.
        port: to connect to.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        is_name = ":" not in host and not host.replace(".", "").isdigit()
        # Without it, machines that have no IPv6 ask for its addresses, too. It hides loopback ones.
        self._flags = socket.AI_ADDRCONFIG if is_name else 0
        self._lookup: asyncio.Task[list[AddrInfoType]] | None = None
        self._known_until = -math.inf
        self._turn = 0

    async def all(self) -> list[AddrInfoType]:
        """In another order each time, so that every address gets its share.

        Raises:
            OSError: it could not be looked up; whoever waited is told, and the next one tries.
        """
        loop = asyncio.get_running_loop()
        lookup = self._lookup
        if lookup is None or (lookup.done() and loop.time() >= self._known_until):
            lookup = self._lookup = loop.create_task(self._look_up())
            lookup.add_done_callback(_have_seen)
        await asyncio.wait([lookup])  # who gives up does not end it for the others
        found = lookup.result()
        first = self._turn % len(found)
        self._turn += 1
        return [*found[first:], *found[:first]]

    async def _look_up(self) -> list[AddrInfoType]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM, flags=self._flags
        )
        self._known_until = loop.time() + _KNOWN_SECONDS
        return [*found]


def _have_seen(lookup: asyncio.Task[list[AddrInfoType]]) -> None:
    """If all have given up, nobody else looks at why it failed, and asyncio complains."""
    if not lookup.cancelled():
        lookup.exception()
