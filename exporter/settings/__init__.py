"""Config file + environment + flags -> one `Settings` value.

`tree` says which settings there are, `values` how each kind of value is written, `sources` where
values come from, `layers` which of them wins, and `words` how a wrong one is told.
"""

from exporter.settings.layers import load_settings
from exporter.settings.sources import Flag
from exporter.settings.tree import (
    DEFAULT_KEY_VARIABLE,
    ApiSettings,
    CredentialSettings,
    ExportSettings,
    LimitSettings,
    LogSettings,
    ObjectStoreSettings,
    OutputSettings,
    PolicySettings,
    RetrySettings,
    Settings,
    TimeoutSettings,
)

__all__ = [
    "DEFAULT_KEY_VARIABLE",
    "ApiSettings",
    "CredentialSettings",
    "ExportSettings",
    "Flag",
    "LimitSettings",
    "LogSettings",
    "ObjectStoreSettings",
    "OutputSettings",
    "PolicySettings",
    "RetrySettings",
    "Settings",
    "TimeoutSettings",
    "load_settings",
]
