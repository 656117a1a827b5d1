"""Identifiers to paths: where a recording lies in the archive.

::

    <account_id>/<project_id>/<YYYY-MM-DD>/<conversation_id>/<direction>.<redacted|raw>.wav

Every path is relative, has `/` between its parts, and is written in characters that POSIX file
systems, Windows shares and object stores all take literally. Different identifiers give different
paths, except where they differ by case only: the ledger refuses the second of such a pair, for
many file systems would make one file of both.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from exporter.model import Redaction, mounted, split_mount

if TYPE_CHECKING:
    from exporter.model import Recording

RESERVED = "_exporter"  # no identifier begins with an underscore
PARTITION_MANIFEST = "manifest.json"
METADATA = "conversation.json"
UNDATED = "undated"

# Letters, digits, `.`, `_`, `-`. Of what identifiers may hold besides, `:` is refused by Windows
# and macOS, `=` marks the keys of a hive layout, and S3 clients differ about `+` and `@`.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
# 255 bytes is the limit of a name nearly everywhere; leave room for a temporary name's additions.
_MAX_PART = 200
# As nearly all identifiers are: too long for a device's name, and without a dot.
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{5,{_MAX_PART}}}")
_DIGEST_CHARACTERS = 32


class LayoutStyle(StrEnum):
    """How partition folders are named."""

    PLAIN = "plain"  # acme/shop/2026-05-21
    HIVE = "hive"  # account_id=acme/project_id=shop/date=2026-05-21


@dataclass(frozen=True, slots=True)
class Layout:
    """Turns recordings into paths.

    Attributes:
        style: plain folder names, or `key=value` ones as Hive, Spark and DuckDB read them.
        timezone: in which a conversation's start has its date.
        raw_mount: of the archive that raw recordings go to, where that is another one.
        mounts: of all archives that hold raw recordings, beside the main one.
    """

    style: LayoutStyle = LayoutStyle.PLAIN
    timezone: tzinfo = UTC
    raw_mount: str = ""
    mounts: tuple[str, ...] = ()

    def date(self, started_at: datetime | None) -> str:
        """The partition's date, `YYYY-MM-DD`, or `undated`."""
        if started_at is None:
            return UNDATED
        if self.timezone is UTC is started_at.tzinfo:  # as nearly always
            return started_at.date().isoformat()
        return _date(started_at, self.timezone)

    def projects(self, recording: Recording) -> list[str]:
        """The folders that may hold partitions of the project; the main archive's is the last."""
        return self._in_each(self._project(recording))

    def partitions(self, recording: Recording) -> list[str]:
        """The partitions that may hold the recording or its counterpart; the main one is last."""
        return self._in_each(self._partition(recording))

    def partition(self, recording: Recording) -> str:
        """The partition's folder."""
        return mounted(self._mount(recording), self._partition(recording))

    def path(self, recording: Recording) -> str:
        """The recording's file."""
        return mounted(
            self._mount(recording),
            f"{self._partition(recording)}/{path_part(recording.conversation_id)}"
            f"/{recording.direction}.{recording.redaction}.wav",
        )

    def beside(self, path: str, recording: Recording) -> str:
        """The same file in the archive that such recordings go to now."""
        return mounted(self._mount(recording), split_mount(path)[1])

    def _mount(self, recording: Recording) -> str:
        return self.raw_mount if recording.redaction is Redaction.RAW else ""

    def _in_each(self, folder: str) -> list[str]:
        return [mounted(mount, folder) for mount in (*self.mounts, "")]

    def _project(self, recording: Recording) -> str:
        return _project(self.style, recording.account_id, recording.project_id)

    def _partition(self, recording: Recording) -> str:
        date = self.date(recording.started_at)
        return _partition(self.style, recording.account_id, recording.project_id, date)


def _project(style: LayoutStyle, account_id: str, project_id: str) -> str:
    account, project = path_part(account_id), path_part(project_id)
    if style is LayoutStyle.HIVE:
        return f"account_id={account}/project_id={project}"
    return f"{account}/{project}"


@lru_cache(maxsize=4096)
def _partition(style: LayoutStyle, account_id: str, project_id: str, date: str) -> str:
    key = "date=" if style is LayoutStyle.HIVE else ""
    return f"{_project(style, account_id, project_id)}/{key}{date}"


@lru_cache(maxsize=4096)
def _date(moment: datetime, timezone: tzinfo) -> str:
    return moment.astimezone(timezone).date().isoformat()


def versioned(path: str, version: int) -> str:
    """`combined.redacted.wav` becomes `combined.redacted.v2.wav`; the first version stays."""
    if version == 1:
        return path
    return f"{path.removesuffix('.wav')}.v{version}.wav"


def path_part(identifier: str) -> str:
    """One identifier as one path part, different for different identifiers.

    Unsafe characters are percent-encoded. So is the first letter of a name that means something
    else to somebody (`nul`, `manifest.json`), and a trailing dot, which Windows drops. What would
    be too long for a file name is cut and ends in a digest of the whole.
    """
    return identifier if _PLAIN.fullmatch(identifier) else _encoded(identifier)


@lru_cache(maxsize=4096)
def _encoded(identifier: str) -> str:
    encoded = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", identifier)
    if _DEVICE_NAME.fullmatch(encoded) or encoded.lower() == PARTITION_MANIFEST:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if encoded.endswith("."):
        encoded = f"{encoded[:-1]}%2E"
    if len(encoded) > _MAX_PART:
        digest = hashlib.sha256(identifier.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        # `~` is in no identifier and in no encoding, so a cut name equals no other name.
        encoded = f"{encoded[: _MAX_PART - _DIGEST_CHARACTERS - 1]}~{digest}"
    return encoded
