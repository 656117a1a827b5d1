"""A check and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.errors import ExporterError


NAMES: Final = (
    "versions",
    "config",
    "manifest",
    "time_zones",
    "key_found",
    "destination",
    "privacy",
    "space",
    "hold",
    "dns",
    "connect",
    "tls",
    "http",
    "clock",
    "key",
    "pii_access",
)
"""What is checked, in the order in which a run would meet the trouble."""


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"  # a run would not fail of it; somebody should know
    FAILED = "failed"
    SKIPPED = "skipped"  # not asked for, or something that it needs failed


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: what is checked, one of `NAMES`.
        state: what came of it.
        message: in a sentence for people.
        hint: how to mend it; for what failed always.
        about: which project or archive, where there are several.
        exit_code: of a run that meets this; for what failed.
    """

    name: str
    state: State
    message: str
    hint: str = ""
    about: str = ""
    exit_code: int = 0

    @classmethod
    def failed(cls, name: str, error: ExporterError, *, about: str = "", mend: str = "") -> Check:
        """What would end a run."""
        hint = error.hint or mend
        return cls(name, State.FAILED, error.message, hint, about, error.exit_code)

    @classmethod
    def skipped(cls, name: str, why: str, *, about: str = "") -> Check:
        """What was not looked at."""
        return cls(name, State.SKIPPED, why, about=about)


def exit_code_of(checks: Iterable[Check]) -> int:
    """That of the first trouble that a run would meet; 0 where there is none."""
    return next((one.exit_code for one in checks if one.state is State.FAILED), 0)
