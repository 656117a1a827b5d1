"""Addresses of archives: a folder, or a place in an object store. Pure: nothing is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
# What stores, their consoles and their command lines all take literally.
_PREFIX_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=+@~-]{1,200}")


class StoreKind(StrEnum):
    """The object stores, by the scheme of their addresses."""

    S3 = "s3"  # Amazon's, and whatever speaks its language
    GOOGLE = "gs"
    AZURE = "az"


class AddressError(ValueError):
    """It is no address of an archive; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A place in an object store.

    Attributes:
        kind: of the store.
        bucket: its name; Azure calls it a container.
        prefix: what the names of all objects begin with, without `/` at its ends; may be empty.
    """

    kind: StoreKind
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        """`s3://bucket/prefix`."""
        return f"{self.kind}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def store_address(url: str) -> StoreAddress | None:
    """The place in an object store that `url` names; None for a folder.

    Raises:
        AddressError: it is neither.
    """
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() == "file":
        return None
    schemes = [kind.value for kind in StoreKind]
    if match["scheme"].lower() not in schemes:
        raise AddressError(
            "a folder on this machine, or s3://bucket/prefix, gs://bucket/prefix,"
            " az://container/prefix"
        )
    bucket, _, prefix = match["rest"].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise AddressError(
            f"{match['scheme']}:// and the name of a bucket: letters, digits, `.`, `_`, `-`"
        )
    prefix = prefix.rstrip("/")
    if prefix and not all(_PREFIX_PART.fullmatch(part) for part in prefix.split("/")):
        raise AddressError(
            "a prefix of letters, digits and `.` `_` `=` `+` `@` `~` `-`, with single `/` between"
            " its parts"
        )
    return StoreAddress(StoreKind(match["scheme"].lower()), bucket, prefix)


def is_store(url: str) -> bool:
    """Whether this is the address of an archive in an object store."""
    return store_address(url) is not None
