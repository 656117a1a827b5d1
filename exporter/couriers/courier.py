"""One attempt at one recording: asked for, and written while it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from exporter.writer import Written

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.asking import Accepted
    from exporter.client import Client
    from exporter.model import Recording
    from exporter.writer import Writer


class Delivery(Struct, frozen=True):
    """A recording that was brought.

    Attributes:
        written: the file.
        correlation_id: of the answer that brought it.
    """

    written: Written
    correlation_id: str | None


class Brings(Protocol):
    """Whoever makes attempts."""

    def begin(self) -> None:
        """Begin to get ready, for there is going to be something to bring."""

    async def get_ready(self) -> None:
        """Return when attempts can begin at once; to be called before the first.

        A request that was let through and leaves later would break the promise of its rate.

        Raises:
            CourierLostError: they never can.
        """

    async def bring(
        self,
        recording: Recording,
        path: str,
        *,
        known: Collection[str],
        key: str,
        accepted: Accepted,
    ) -> Delivery:
        """Bring one recording; its path exists afterwards only if it is whole and verified.

        Args:
            recording: what to ask for.
            path: where to write it, relative to the archive.
            known: digests of content that need not be written again.
            key: for the API.
            accepted: called when the server has begun to answer well; what it returns, when the
                last byte has come.

        Raises:
            FetchError: the attempt failed.
            DestinationError: the archive cannot be written.
            PolicyError: it would be a request for raw audio, and there are to be none.
        """


class Courier:
    """Makes attempts in this process.

    Args:
        client: asks.
        writer: writes.
    """

    def __init__(self, client: Client, writer: Writer) -> None:
        self._client = client
        self._writer = writer

    def begin(self) -> None:
        """It is ready."""

    async def get_ready(self) -> None:
        """It is."""

    async def bring(
        self,
        recording: Recording,
        path: str,
        *,
        known: Collection[str],
        key: str,
        accepted: Accepted,
    ) -> Delivery:
        """See `Brings`."""
        async with self._client.open(recording, key) as body:
            received = accepted()
            written = await self._writer.write(
                body.chunks(),
                path,
                known=known,
                received=received,  # while a small file is written, the next may be asked for
            )
        return Delivery(written, body.correlation_id)
