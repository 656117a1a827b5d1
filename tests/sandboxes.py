"""A sandbox beside what is tried on it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from exporter.sandbox import Sandbox


class SandboxThread:
    """A sandbox that serves in a thread of its own while the command runs."""

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ended: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self.sandbox: Sandbox

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        async with Sandbox(**self._arguments) as self.sandbox:
            self._started.set()
            await self._ended.wait()

    def __enter__(self) -> Sandbox:
        self._thread.start()
        assert self._started.wait(30)
        return self.sandbox

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)
