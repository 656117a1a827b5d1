"""Whether the host answers, as far as can be told without a key; and what time it is there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from exporter.doctor.findings import Check, State
from exporter.errors import ErrorKind, FetchError
from exporter.retry import CLASSES, ErrorClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from exporter.client import Client, Greeting

T = TypeVar("T")

ATTEMPTS: Final = 3
_LONGEST_WAIT: Final = 30.0
_FIRST_WAIT: Final = 0.5
_STEPS: Final = ("dns", "connect", "tls", "http")
_STEP_OF: Final = {
    ErrorKind.DNS: "dns",
    ErrorKind.CONNECT: "connect",
    ErrorKind.TIMEOUT: "connect",
    ErrorKind.TLS: "tls",
    ErrorKind.CERTIFICATE: "tls",
}
_MEND: Final = {
    "dns": "Check api.region and api.base_url for typing errors, and this machine's name server."
    " Behind a proxy set HTTPS_PROXY.",
    "connect": "Check that a firewall lets this machine connect there, or set HTTPS_PROXY.",
    "tls": "If a gateway or proxy has certificates of its own authority, name its file in"
    " api.ca_file. If it speaks plain http, the address begins with http://.",
    "http": "Something answers there, and not as a web server does: check api.base_url.",
}
_SKEW: Final = timedelta(seconds=30)


async def patiently(
    send: Callable[[], Awaitable[T]],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Ask a few times where that may help, and not before the server wants to be asked again.

    Raises:
        FetchError: the last failure.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await send()
        except FetchError as error:
            again = CLASSES[error.kind] in {ErrorClass.TRANSIENT, ErrorClass.AWAY}
            wait = error.retry_after or _FIRST_WAIT * 2**attempt
            if not again or attempt == ATTEMPTS or wait > _LONGEST_WAIT:
                raise
            await sleep(wait)
    raise AssertionError


async def host(
    client: Client, origin: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Check]:
    """Names, connection, TLS, HTTP, clock; each needs those before it."""
    try:
        greeting = await patiently(client.greet)
    except FetchError as error:
        return [*_until(error, origin), Check.skipped("clock", "the host did not answer")]
    return [*_all_well(greeting, client, origin), _clock(greeting, now())]


def _until(error: FetchError, origin: str) -> list[Check]:
    bad = _STEPS.index(_STEP_OF.get(error.kind, "http"))
    return [
        *(Check(step, State.OK, "as far as can be told") for step in _STEPS[:bad]),
        Check(
            _STEPS[bad],
            State.FAILED,
            f"{origin}: {error.message}",
            _MEND[_STEPS[bad]],
            exit_code=1,
        ),
        *(Check.skipped(step, f"{_STEPS[bad]} failed") for step in _STEPS[bad + 1 :]),
    ]


def _all_well(greeting: Greeting, client: Client, origin: str) -> list[Check]:
    name = urlsplit(origin).hostname or ""
    proxy = client.proxy
    through = f" through the proxy {proxy}" if proxy else ""
    is_tls = urlsplit(origin).scheme == "https"
    return [
        Check.skipped("dns", f"the proxy {proxy} finds {name}")
        if proxy
        else Check("dns", State.OK, f"{name} is found"),
        Check("connect", State.OK, f"{origin} can be reached{through}"),
        Check("tls", State.OK, "the certificate is trusted")
        if is_tls
        else Check.skipped("tls", "the address is one of plain http"),
        Check("http", State.OK, f"answered {greeting.status} in {greeting.seconds:.2f} s"),
    ]


def _clock(greeting: Greeting, now: datetime) -> Check:
    if greeting.date is None:
        return Check.skipped("clock", "the host does not say what time it is")
    # The answer was made between the request and now, and its time has no fractions.
    apart = now - timedelta(seconds=greeting.seconds / 2) - greeting.date
    seconds = abs(apart.total_seconds())
    if abs(apart) <= _SKEW:
        return Check("clock", State.OK, "as the host's, but for a few seconds")
    which = "fast" if apart > timedelta() else "slow"
    return Check(
        "clock",
        State.WARNING,
        f"this machine's clock is {seconds:,.0f} s {which}, by the host's",
        "Let the machine set its clock by NTP: dates, deadlines and certificates are judged by it.",
    )
