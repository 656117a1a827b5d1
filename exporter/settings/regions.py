"""Where the vendor's API is: the hosts of both families, by region."""

from __future__ import annotations

from exporter.model import Surface
from exporter.settings.values import RuleError
from exporter.yamldoc import nearest, show

# Source: the vendor's API reference, "Base URLs" of both families. A region of one family is
# understood for the other where there is a counterpart.
_ORIGINS = {
    Surface.PLATFORM_V3: {
        region: f"https://api.{region}.platform.polyai.app" for region in ("us-1", "uk-1", "euw-1")
    },
    Surface.AGENTS_V1: {
        region: f"https://api.{region}.poly.ai" for region in ("us", "uk", "eu", "studio")
    },
}
_COUNTERPARTS = {
    "us-1": "us",
    "uk-1": "uk",
    "euw-1": "eu",
    "us": "us-1",
    "uk": "uk-1",
    "eu": "euw-1",
}


def origin_of(surface: Surface, region: str) -> str:
    """Scheme and host of a region's API.

    Raises:
        RuleError: the API family knows no such region.
    """
    origin = origin_in(surface, region)
    if origin is None:
        origins = _ORIGINS[surface]
        near = nearest(region, origins)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise RuleError(
            f"found {show(region)}{meant}, expected a region of {surface}: {', '.join(origins)}",
            key="region",
        )
    return origin


def origin_in(surface: Surface, region: str) -> str | None:
    """The same, or None where the API family knows no such region."""
    origins = _ORIGINS[surface]
    return origins.get(region) or origins.get(_COUNTERPARTS.get(region, ""))
