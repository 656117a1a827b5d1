"""The API as the settings describe it: one connection pool, one rate, one memory of refusals."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import structlog

from exporter.asking import Asker
from exporter.client import Client
from exporter.connections import Timeouts
from exporter.listing import Listing
from exporter.retry import RetryPolicy
from exporter.throttle import Throttle
from exporter.trust import Host, Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from exporter.credentials import Credentials
    from exporter.errors import ExporterError
    from exporter.settings import Settings
    from exporter.stopping import Stop

_log = structlog.get_logger()


class Api:
    """Everything that is needed to ask; an async context manager, one per run or command.

    Attributes:
        client: opens recordings.
        listing: asks for pages and for single conversations.
        throttle: counts the requests.
        asker: sends what is to be asked.

    Args:
        settings: where the API is, and how patient to be.
        credentials: the keys.
        projects: (account, project) of everything that is going to be asked for.
        stop: ends all waits.
        give_up: is told why there is no point in going on.
        clean: takes secrets out of a text.

    Raises:
        ConfigError: the config cannot be carried out.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        *,
        projects: Iterable[tuple[str, str]],
        stop: Stop,
        give_up: Callable[[ExporterError], None],
        clean: Callable[[str], str] = str,
    ) -> None:
        api = settings.api
        others = {each for each in (api.list_origin, api.detail_origin) if each} - {api.origin}
        self.client = Client(
            origin=api.origin,
            surface=api.surface,
            timeouts=Timeouts(**api.timeout.model_dump()),
            ca_file=api.ca_file,
            never_raw=lambda *project: settings.policy_of(*project).never_raw,
            other_origins=sorted(others),
        )
        self.listing = Listing(
            self.client, list_origin=api.list_origin, detail_origin=api.detail_origin
        )
        self.throttle = Throttle(
            settings.limits.requests_per_second,
            concurrency=settings.limits.concurrency,
            adaptive=settings.limits.adaptive,
            longest_pause=settings.retry.max_delay,
            sleep=stop.sleep,
            stopped=stop.event.is_set,
            tell=_log.info,
        )
        self._settings = settings
        self._credentials = credentials
        self._stop = stop
        self._clean = clean
        self.asker = self.new_asker(projects, give_up)

    def new_asker(
        self, projects: Iterable[tuple[str, str]], give_up: Callable[[ExporterError], None]
    ) -> Asker:
        """One more that shares rate and connections, and keeps its own memory of refusals.

        Args:
            projects: as of this class, like the next.
            give_up: likewise.
        """
        retry = self._settings.retry
        names = {project: self._credentials.of(*project).name for project in projects}
        return Asker(
            credentials=self._credentials,
            throttle=self.throttle,
            retry=RetryPolicy(**retry.model_dump(), sleep=self._stop.sleep),
            refusals=Refusals(names),
            host=Host(
                max_outage=retry.max_outage,
                max_delay=retry.max_delay,
                clock=time.monotonic,
                chance=random.random,
            ),
            give_up=give_up,
            clean=self._clean,
        )

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self.client.__aexit__(exc_type, exc, traceback)
