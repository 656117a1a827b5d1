"""What this machine has: versions, time zone data."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from exporter import __version__
from exporter.doctor.findings import Check, State

_LIBRARIES: Final = ("aiohttp", "msgspec", "pydantic", "tenacity")


def versions() -> Check:
    """Of Python, this program, and the libraries that matter most."""
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    system = f"{platform.system()} {platform.machine()}"
    return Check(
        "versions",
        State.OK,
        f"exporter {__version__}, Python {platform.python_version()}, {libraries}, {system}",
    )


def time_zones(name: str) -> Check:
    """Whether the dates in paths can be told.

    Args:
        name: of the time zone in the config.
    """
    known = available_timezones()
    try:
        ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        known = set()
    if name not in known:
        return Check(
            "time_zones",
            State.FAILED,
            f"there is no data about the time zone {name}",
            "Install the system's package tzdata, or the Python package of that name.",
            exit_code=2,
        )
    return Check("time_zones", State.OK, f"{name} is known, like {len(known) - 1:,} others")
