"""Config file + environment + flags -> one `Settings` value.

`tree` says which settings there are, `values` how each kind of value is written, `layers` where
values come from, which of them wins, and how a wrong one is reported.
"""

from exporter.settings.layers import Flag, load_settings
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
