"""How an object store is spoken to, and what is asked of it for each object.

What is left out here is found by the store's usual environment variables, its files and the role
of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from exporter.address import StoreAddress, StoreKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """As in the config's `object_store`.

    Attributes:
        endpoint: address of a store that speaks S3; None: by the environment, or Amazon's.
        region: None: by the environment.
        allow_insecure_http: an endpoint on another machine may be plain http.
        ca_file: PEM file of authorities to trust besides the system's.
        retry_timeout: how long a request is tried again.
        tags: of each recording.
        storage_class: of each recording; None: the bucket's.
        encryption: by the store: `AES256`, `aws:kms`, `aws:kms:dsse`; None: the bucket's.
        kms_key_id: for the latter two.
        bucket_key: one key of the bucket for many objects; None: the bucket's.
        lock_mode: no version of a recording can be removed: `GOVERNANCE`, `COMPLIANCE`.
        lock_for: for so long after the run began.
    """

    endpoint: str | None = None
    region: str | None = None
    allow_insecure_http: bool = False
    ca_file: Path | None = None
    retry_timeout: timedelta = timedelta(minutes=2)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    encryption: str | None = None
    kms_key_id: str | None = None
    bucket_key: bool | None = None
    lock_mode: str | None = None
    lock_for: timedelta | None = None


def endpoint_of(options: StoreOptions, environ: Mapping[str, str]) -> str | None:
    """The address of a store that speaks S3; None for Amazon's."""
    if options.endpoint is not None:
        return options.endpoint
    return next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)


def identity(address: StoreAddress, options: StoreOptions, environ: Mapping[str, str]) -> str:
    """Tells one archive from all others: buckets of one name exist behind many endpoints."""
    behind = None
    if address.kind is StoreKind.S3:
        behind = endpoint_of(options, environ)
    elif address.kind is StoreKind.AZURE:
        behind = environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        if environ.get("AZURE_STORAGE_USE_EMULATOR"):
            behind = f"emulator {environ.get('AZURITE_BLOB_STORAGE_URL', '')}"
    return f"{address} at {behind}" if behind else str(address)
