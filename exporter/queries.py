"""From queries to windows, and from windows to conversations, for those that only want to look.

A run lists its windows itself, with its archive open; `plan` and `discover` do it here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from exporter.api import Api
from exporter.discovery import Discovery
from exporter.errors import ConfigError, ExporterError, ManifestError
from exporter.model import Redaction
from exporter.stopping import Stop, StopReason
from exporter.window import MomentError, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.credentials import Credentials
    from exporter.discovery import Discovered
    from exporter.settings import Settings
    from exporter.spool import Spool
    from exporter.window import Query, Window


class ListingError(ExporterError):
    """The list of conversations could not be read to its end."""


def windows_of(
    queries: Iterable[Query], settings: Settings, *, now: datetime | None = None
) -> list[Window]:
    """What the queries mean now.

    Raises:
        ManifestError: one of them means nothing, or asks for raw where none may be.
        ConfigError: this region has no list.
    """
    now = now or datetime.now(UTC)
    windows = []
    for query in queries:
        if settings.api.list_origin is None:
            raise ConfigError(
                f"there is no list of conversations in the region {settings.api.region}",
                hint="us-1, uk-1 and euw-1 (us, uk, eu) have one. Name the conversations in the"
                " manifest, or set api.base_url.",
            )
        asked = query.redaction or settings.export.redaction
        policy = settings.policy_of(query.account_id, query.project_id)
        if policy.never_raw and Redaction.RAW in asked:
            raise ManifestError(
                "never_raw is set, and this query asks for raw recordings",
                location=query.location,
                hint="Take raw out of its `redaction`, or out of export.redaction where it does not"
                " say; or do without never_raw, which stands in `export` or in `policies`.",
            )
        try:
            windows.append(window_of(query, timezone=settings.output.timezone, now=now))
        except MomentError as error:
            raise ManifestError(str(error), location=query.location, hint=error.hint) from None
    return windows


def projects_of(windows: Iterable[Window]) -> list[tuple[str, str]]:
    """(account, project) of all of them."""
    return list(dict.fromkeys((each.account_id, each.project_id) for each in windows))


async def list_windows(
    windows: Sequence[Window],
    spool: Spool,
    settings: Settings,
    credentials: Credentials,
    *,
    clean: Callable[[str], str],
) -> list[Discovered]:
    """List all windows into a spool, each to its end.

    Raises:
        ExporterError: one of them could not be listed to its end; exit code by the reason.
    """
    stop = Stop()
    fatal: list[ExporterError] = []

    def give_up(error: ExporterError) -> None:
        fatal.append(error)
        stop.request(StopReason.of(error))

    found = []
    projects = projects_of(windows)
    async with Api(
        settings, credentials, projects=projects, stop=stop, give_up=give_up, clean=clean
    ) as api:
        discovery = Discovery(api.asker, api.listing)
        for number, window in enumerate(windows, start=1):
            one = await discovery.discover(window, partial(spool.fill, window=number))
            if one.error is not None:
                reason = api.asker.fatal(at_the_end=True)
                raise next(iter([*fatal, *filter(None, [reason])]), _incomplete(one))
            found.append(one)
    return found


def _incomplete(found: Discovered) -> ListingError:
    error = found.error
    about = error.message if error else ""
    tail = f" (correlation id {error.correlation_id})" if error and error.correlation_id else ""
    return ListingError(
        f"the list of {found.window} could not be read to its end, after {found.found}"
        f" conversations: {about}{tail}",
        hint="Nothing is handed on, for a part must not be taken for the whole. Run again later.",
    )
