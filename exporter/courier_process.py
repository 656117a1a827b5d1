"""A courier in a process of its own: does errands until the run hangs up.

It hangs up when it is done, and when it is killed: then nothing more is brought. It shares the
run's locks, so that no other run begins before this process has ended as well.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from exporter.client import Client
from exporter.couriers.courier import Courier
from exporter.couriers.messages import (
    FOR_COURIERS,
    Begun,
    Delivered,
    Equip,
    Errand,
    Failed,
    FromCourier,
    Line,
    Ready,
    Recall,
    Recalled,
    Received,
    ToCourier,
    Unwritable,
)
from exporter.errors import DestinationError, FetchError
from exporter.memory import settle_memory
from exporter.sinks.digests import fastest
from exporter.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.couriers.equipment import Equipment


def main(descriptor: int) -> None:
    """Serve the run at the other end of this socket."""
    settle_memory()
    asyncio.run(serve(socket.socket(fileno=descriptor)))


async def serve(ours: socket.socket) -> None:
    """Do what is asked for over a socket, until it is closed at the other end.

    Raises:
        ExceptionGroup: there is a mistake in the program.
    """
    async with asyncio.TaskGroup() as errands:
        await _Service(errands).run(ours)


class _Service:
    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._line: Line[FromCourier, ToCourier] = Line(FOR_COURIERS, self._heard, self._hung_up)
        self._equipment: asyncio.Future[Equipment | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._is_over = asyncio.Event()
        self._courier: Courier
        self._errands: dict[int, asyncio.Task[None]] = {}

    async def run(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._line, sock=ours)
        equipment = await self._equipment
        if equipment is None:
            return
        client = Client(
            origin=equipment.origin,
            surface=equipment.surface,
            timeouts=equipment.timeouts,
            ca_file=equipment.ca_path,
        )
        async with client:
            writer = Writer(equipment.open_sink(), max_bytes=equipment.max_bytes)
            self._courier = Courier(client, writer)
            self._line.say(Ready(fastest().refused))
            await self._is_over.wait()

    def _heard(self, message: ToCourier) -> None:
        match message:
            case Equip(equipment):
                self._equipment.set_result(equipment)
            case Errand(number):
                self._errands[number] = self._group.create_task(self._do(message))
            case Recall(number) if number in self._errands:
                task = self._errands[number]
                task.add_done_callback(partial(self._not_begun, number))
                task.cancel()

    def _hung_up(self) -> None:
        if self._errands:
            os._exit(1)
        if not self._equipment.done():
            self._equipment.set_result(None)
        self._is_over.set()

    async def _do(self, errand: Errand) -> None:
        number, say = errand.number, self._line.say

        def accepted() -> Callable[[], None]:
            say(Begun(number))
            return partial(say, Received(number))

        report: FromCourier
        try:
            delivery = await self._courier.bring(
                errand.recording, errand.path, known=errand.known, key=errand.key, accepted=accepted
            )
            report = Delivered(number, delivery)
        except FetchError as error:
            report = Failed.of(number, error)
        except DestinationError as error:
            report = Unwritable(number, error.message, error.hint)
        except asyncio.CancelledError:
            report = Recalled(number)
        self._report(number, report)

    def _not_begun(self, number: int, task: asyncio.Task[None]) -> None:
        """What is recalled at once never comes to the point where it would say so itself."""
        if task.cancelled() and number in self._errands:
            self._report(number, Recalled(number))

    def _report(self, number: int, report: FromCourier) -> None:
        del self._errands[number]
        self._line.say(report)
