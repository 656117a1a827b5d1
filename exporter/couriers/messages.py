"""What a run and its courier processes say to each other, and how: structs, in frames.

What is said in one turn of the event loop leaves together, in one frame: four bytes of length, and
an array of structs as msgpack. Calls of the operating system and of the decoder cost more than a
message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import msgspec
from msgspec import Struct

from exporter.couriers.courier import Delivery
from exporter.couriers.equipment import Equipment
from exporter.errors import ErrorKind, FetchError
from exporter.model import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH_BYTES: Final = 4


class Equip(Struct, frozen=True, tag=0, array_like=True):
    """The first message to a courier."""

    equipment: Equipment


class Errand(Struct, frozen=True, tag=1, array_like=True):
    """Bring this; what comes of it is told under the same number."""

    number: int
    recording: Recording
    path: str
    known: tuple[str, ...]
    key: str


class Recall(Struct, frozen=True, tag=2, array_like=True):
    """Do not finish that errand; say how far it got."""

    number: int


class Ready(Struct, frozen=True, tag=0, array_like=True):
    """The first message of a courier: it can do errands.

    Attributes:
        digests_refused: see `Digests`.
    """

    digests_refused: str


class Begun(Struct, frozen=True, tag=1, array_like=True):
    """The server has begun to answer well."""

    number: int


class Received(Struct, frozen=True, tag=2, array_like=True):
    """The last byte of a small recording has come."""

    number: int


class Delivered(Struct, frozen=True, tag=3, array_like=True):
    """The recording is in the archive."""

    number: int
    delivery: Delivery


class Failed(Struct, frozen=True, tag=4, array_like=True):
    """The attempt failed."""

    number: int
    kind: ErrorKind
    message: str
    http_status: int | None
    code: str | None
    correlation_id: str | None
    retry_after: float | None

    @classmethod
    def of(cls, number: int, error: FetchError) -> Failed:
        """As it was raised."""
        return cls(
            number,
            error.kind,
            error.message,
            error.http_status,
            error.code,
            error.correlation_id,
            error.retry_after,
        )

    def error(self) -> FetchError:
        """As it is raised again."""
        return FetchError(
            self.kind,
            self.message,
            http_status=self.http_status,
            code=self.code,
            correlation_id=self.correlation_id,
            retry_after=self.retry_after,
        )


class Unwritable(Struct, frozen=True, tag=5, array_like=True):
    """The archive cannot be written."""

    number: int
    message: str
    hint: str


class Recalled(Struct, frozen=True, tag=6, array_like=True):
    """Nothing of that errand is in the archive."""

    number: int


ToCourier = Equip | Errand | Recall
FromCourier = Ready | Begun | Received | Delivered | Failed | Unwritable | Recalled

FOR_COURIERS: Final = msgspec.msgpack.Decoder(list[ToCourier])
FROM_COURIERS: Final = msgspec.msgpack.Decoder(list[FromCourier])

S = TypeVar("S")
H = TypeVar("H")


class Line(asyncio.Protocol, Generic[S, H]):
    """One end of the connection between a run and a courier's process.

    Args:
        decoder: of a frame.
        heard: called with each message.
        lost: called when the other end is gone.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[list[H]],
        heard: Callable[[H], None],
        lost: Callable[[], None],
    ) -> None:
        self._decoder = decoder
        self._heard = heard
        self._lost = lost
        self._encoder = msgspec.msgpack.Encoder()
        self._loop = asyncio.get_running_loop()
        self._outbox: list[S] = []
        self._inbox = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def say(self, message: S) -> None:
        """Send it with whatever else is said in this turn of the event loop."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(message)

    def close(self) -> bool:
        """Say no more, and hear no more; False where nothing was connected yet."""
        if self._transport is None:
            return False
        self._transport.close()
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on something can be said."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        inbox = self._inbox
        inbox += data
        begin = 0
        while len(inbox) - begin >= _LENGTH_BYTES:
            body = begin + _LENGTH_BYTES
            end = body + int.from_bytes(inbox[begin:body])
            if len(inbox) < end:
                break
            for message in self._decoder.decode(memoryview(inbox)[body:end]):
                self._heard(message)
            begin = end
        del inbox[:begin]

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell."""
        self._lost()

    def _flush(self) -> None:
        said, self._outbox = self._outbox, []
        if self._transport is not None and not self._transport.is_closing():
            frame = self._encoder.encode(said)
            self._transport.write(len(frame).to_bytes(_LENGTH_BYTES) + frame)
