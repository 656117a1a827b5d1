"""The server: takes requests in, asks the world, the limits and the script, sends answers out."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from exporter.sandbox import answers, delivery, listing
from exporter.sandbox.answers import Endpoint
from exporter.sandbox.clock import SystemClock
from exporter.sandbox.delivery import ResetConnection
from exporter.sandbox.faults import Circumstances, retry_after
from exporter.sandbox.journal import NO_ANSWER, Journal, Request, harmless
from exporter.sandbox.limits import Gate, Limits
from exporter.sandbox.rules import Script, Turn
from exporter.sandbox.world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from exporter.sandbox.answers import Answer, Asked
    from exporter.sandbox.clock import Clock
    from exporter.sandbox.delivery import Step
    from exporter.sandbox.rules import Rule

_UNCOUNTED: Final = Turn(attempt=0, number=None, rule=None)
# Handlers are cancelled before the server is asked to stop, so this is no wait but a safety net.
_SHUTDOWN_SECONDS: Final = 1.0


class Sandbox:
    """An imitation of the API on a local port.

    ::

        async with Sandbox() as sandbox:
            print(sandbox.base_url)
    """

    def __init__(
        self,
        *,
        world: World | None = None,
        scenario: Sequence[Rule] = (),
        limits: Limits | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_any_address: bool = False,
        journal_limit: int = 100_000,
    ) -> None:
        """Describe it; it starts when entered.

        Args:
            world: what exists; by default everything does.
            scenario: rules, the first that matches a request decides.
            limits: what the sandbox puts up with; by default anything.
            clock: what time it is and how to wait.
            host: address to listen at.
            port: port to listen at; 0: any free one.
            allow_any_address: listen even where other machines can connect.
            journal_limit: how many requests are remembered.

        Raises:
            ValueError: the address can be reached from other machines.
        """
        if not allow_any_address and not is_loopback(host):
            raise ValueError(
                f"{host} can be reached from other machines; the sandbox listens at loopback"
                " addresses unless told that any address is fine"
            )
        self.world = world or World()
        self._limits = limits or Limits()
        self._clock: Clock = clock or SystemClock()
        self._host = host
        self._port = port
        self._gate = Gate(self._limits, self._clock)
        self._script = Script(scenario)
        self._journal = Journal(limit=journal_limit)
        self._arrived = 0
        self._under_way: dict[asyncio.Task[None], web.BaseRequest] = {}
        self._most_under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        # Without handler_cancellation a stalled answer would outlive the client that left it.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self._host, self._port)
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task, request in list(self._under_way.items()):
            task.cancel()
            if request.transport is not None:
                request.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def base_url(self) -> str:
        """Where it listens: scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """The latest requests, the oldest first."""
        return self._journal.requests

    @property
    def counts(self) -> Counter[int]:
        """How many requests were answered with each status; 0: connections broken instead."""
        return self._journal.counts

    @property
    def under_way(self) -> int:
        """Requests being answered now."""
        return len(self._under_way)

    @property
    def most_under_way(self) -> int:
        """The most requests that were being answered at once."""
        return self._most_under_way

    async def idle(self) -> None:
        """Return when no request is being answered."""
        await self._idle.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a client that leaves early is no error."""
        task = asyncio.current_task()
        if task is None:  # pragma: no cover
            raise AssertionError("handlers run in tasks")
        self._under_way[task] = request
        self._idle.clear()
        self._most_under_way = max(self._most_under_way, len(self._under_way))
        try:
            return await self._respond(request)
        except ConnectionError:
            return delivery.spent()
        finally:
            del self._under_way[task]
            if not self._under_way:
                self._idle.set()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        self._arrived += 1
        number = self._arrived
        correlation_id = answers.correlation_id(number)
        asked = answers.understand(
            request.rel_url.raw_path,
            request.rel_url.raw_query_string,
            request.headers.get("x-api-key", ""),
            self.world,
        )
        if self._limits.latency:
            await self._clock.sleep(self._limits.latency)
        turn = _UNCOUNTED
        steps: Iterable[Step] | None = None
        if asked is None:
            answer = answers.not_the_api()
        elif request.method != "GET":
            answer = answers.wrong_method(correlation_id=correlation_id)
        elif refusal := self._gate.refusal(_owner(asked), len(self._under_way)):
            told = retry_after(refusal.wait, self._limits.retry_after, self._clock.time())
            answer = answers.refused(refusal, told, correlation_id=correlation_id)
        else:
            turn = self._script.turn(asked)
            answer, steps = await self._scripted(asked, turn, correlation_id)
        usual = {"Date": answers.http_date(self._clock.time()), "Server": "sandbox"}
        answer = replace(answer, headers=answers.merged(usual, answer.headers))
        self._note(request, number=number, asked=asked, turn=turn, answer=answer, steps=steps)
        if steps is None:
            return await delivery.send(request, answer)
        return await delivery.perform(request, answer, steps, clock=self._clock)

    def _ordinary(self, asked: Asked, attempt: int, correlation_id: str) -> Answer:
        now = self._clock.time()
        if asked.endpoint is Endpoint.LIST:
            return listing.page(asked, self.world, now=now, correlation_id=correlation_id)
        if asked.endpoint is Endpoint.CONVERSATION:
            return listing.description(asked, self.world, now=now, correlation_id=correlation_id)
        return answers.audio(
            asked, self.world, attempt=attempt, now=now, correlation_id=correlation_id
        )

    async def _scripted(
        self, asked: Asked, turn: Turn, correlation_id: str
    ) -> tuple[Answer, Iterable[Step] | None]:
        """The ordinary answer, as the script's rule for it would have it."""
        answer = self._ordinary(asked, turn.attempt, correlation_id)
        if turn.rule is None:
            return answer, None
        if turn.rule.delay:
            await self._clock.sleep(turn.rule.delay)
        action = turn.rule.action
        if action is None:
            return answer, None
        circumstances = Circumstances(
            now=self._clock.time(),
            correlation_id=correlation_id,
            random=Random(f"{asked.subject} {turn.attempt}"),
        )
        answer = action.alter(answer, circumstances)
        return answer, action.steps(len(answer.body))

    def _note(
        self,
        request: web.BaseRequest,
        *,
        number: int,
        asked: Asked | None,
        turn: Turn,
        answer: Answer,
        steps: Iterable[Step] | None,
    ) -> None:
        """Remember a request; before it is answered, so that nobody sees an unrecorded answer."""
        unanswered = steps == (ResetConnection(),)
        key = asked.key if asked else None
        self._journal.add(
            Request(
                number=number,
                at=self._clock.time(),
                method=request.method,
                path=request.rel_url.raw_path,
                query=request.rel_url.raw_query_string,
                endpoint=asked.endpoint if asked else None,
                surface=asked.surface if asked else None,
                account=asked.account if asked else None,
                project=asked.project if asked else None,
                conversation=asked.conversation if asked else None,
                direction=asked.direction if asked else None,
                redacted=asked.redacted if asked else None,
                key=key.name if key else None,
                attempt=turn.attempt,
                status=NO_ANSWER if unanswered else int(answer.status),
                code=answer.code,
                correlation_id=answer.headers.get(answers.CORRELATION_HEADER),
                rule=turn.number,
                headers=harmless(request.headers),
            )
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _owner(asked: Asked) -> str:
    """Whose rate a request counts towards."""
    return asked.key.name if asked.key else ""
