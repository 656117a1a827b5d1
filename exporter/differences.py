"""The words and numbers in which `verify` tells what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What `verify` says of a file."""

    OK = "ok"  # recorded, there, and read back as it was recorded
    CORRUPT = "corrupt"  # there, but not as it was recorded
    MISSING = "missing"  # recorded, but not there
    UNEXPECTED = "unexpected"  # there, but not a file that belongs into an archive
    UNRECORDED = "unrecorded"  # named as a recording, but not on record


class Warned(StrEnum):
    """Peculiarities that are no difference between the archive and its records."""

    DIRECTIONS = "directions"  # the sides of one call differ in length
    REDACTION = "redaction"  # redacted and raw of one direction differ in length
    STALE_MANIFEST = "stale_manifest"  # the ledger knows more than the partition's manifest
    CONTRADICTION = "contradiction"  # ledger and manifest record different content
    TEMPORARY = "temporary"  # half written; the next run removes those of dead runs
    SET_ASIDE = "set_aside"  # damaged once, and kept beside its replacement
    UNDER_WAY = "under_way"  # a run that goes on is working on it, and records it later


@dataclass(frozen=True, slots=True)
class Check:
    """A recorded file that is to be read back."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The findings in numbers.

    Attributes:
        recorded: files on record.
        ok: of them, read back and as recorded; or by the checksum that the storage keeps.
        by_checksum: files that were compared by that checksum instead of being read back.
        not_read: of them, there with the right size, but outside the sample.
        bytes_read: by reading back.
        warnings: how many.
    """

    recorded: int
    ok: int
    by_checksum: int
    corrupt: int
    missing: int
    unexpected: int
    unrecorded: int
    not_read: int
    bytes_read: int
    warnings: int

    @property
    def differences(self) -> int:
        """Files for which archive and records differ."""
        return self.corrupt + self.missing + self.unexpected + self.unrecorded
