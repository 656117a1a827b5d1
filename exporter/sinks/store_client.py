"""Opens object stores with `obstore`: credentials, endpoints, time limits, headers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

from exporter.address import StoreAddress, StoreKind
from exporter.errors import ConfigError, DestinationError
from exporter.sinks.store_errors import FOREIGN, destination_error
from exporter.sinks.store_options import StoreOptions, endpoint_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from obstore.store import ClientConfig, RetryConfig, S3CredentialProvider

Store: TypeAlias = S3Store | GCSStore | AzureStore

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_OWN_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""What `obstore` finds by itself; for profiles it needs boto3."""


# A request may carry 32 MiB over a slow line, and what ends it is silence. But until the store has
# it all there is nothing but silence: the library counts only what comes back.
_LONGEST: Final = timedelta(hours=1)
_SILENCE_READING: Final = timedelta(seconds=60)
_SILENCE_WRITING: Final = timedelta(minutes=15)
# A sign of life has to be given up in time to give another one.
_SIGN: Final = timedelta(seconds=20)
SIGN_RETRIES: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long a request may take.

    Attributes:
        longest: in all.
        silence: without a byte from the store.
        retries: how long it is tried again.
    """

    longest: timedelta
    silence: timedelta
    retries: timedelta


class Stores:
    """One place, opened for each way to use it; nothing is sent by that.

    Args:
        open_with: opens it, with headers of every request.
        retry_timeout: how long a request is tried again.
        lock: headers that lock what is written.

    Attributes:
        reading: for everything that is read, listed or removed.
    """

    def __init__(
        self,
        open_with: Callable[[_Patience, dict[str, str]], Store],
        retry_timeout: timedelta,
        lock: dict[str, str],
    ) -> None:
        self._open = open_with
        self._lock = lock
        self._writing = _Patience(_LONGEST, _SILENCE_WRITING, retry_timeout)
        self.reading = open_with(_Patience(_LONGEST, _SILENCE_READING, retry_timeout), {})

    @cached_property
    def documents(self) -> Store:
        """For what is replaced."""
        return self._open(self._writing, {})

    @cached_property
    def recordings(self) -> Store:
        """For what is written once: with the object lock, where one is asked for."""
        return self._open(self._writing, self._lock) if self._lock else self.documents

    @cached_property
    def signs(self) -> Store:
        """For signs of life: one that does not get through makes way for the next."""
        retries = min(SIGN_RETRIES, self._writing.retries)
        return self._open(_Patience(_SIGN, _SIGN, retries), {})


def connect(
    address: StoreAddress, options: StoreOptions, environ: Mapping[str, str] = os.environ
) -> Stores:
    """Open a place in an object store; nothing is sent yet.

    Raises:
        ConfigError: the settings cannot be used for this store.
        DestinationError: credentials or variables of the environment cannot be used.
    """
    lock = _lock_headers(options, datetime.now(UTC))
    if address.kind is not StoreKind.S3:
        _refuse_what_only_s3_has(options, address)
    try:
        credentials = _profile(environ) if address.kind is StoreKind.S3 else None
        open_with = partial(_open, address, options, environ, credentials=credentials)
        return Stores(open_with, options.retry_timeout, lock)
    except FOREIGN as error:
        raise destination_error(error, str(address), "open") from None


def _open(
    address: StoreAddress,
    options: StoreOptions,
    environ: Mapping[str, str],
    patience: _Patience,
    headers: dict[str, str],
    *,
    credentials: S3CredentialProvider | None,
) -> Store:
    client = _client_config(options, patience, headers)
    retry: RetryConfig = {
        "max_retries": 1000,  # time is what counts
        "retry_timeout": patience.retries,
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
    }
    prefix = address.prefix or None
    match address.kind:
        case StoreKind.GOOGLE:
            return GCSStore(
                address.bucket, prefix=prefix, client_options=client, retry_config=retry
            )
        case StoreKind.AZURE:
            if environ.get("AZURE_STORAGE_USE_EMULATOR"):
                client["allow_http"] = True
            return AzureStore(
                address.bucket, prefix=prefix, client_options=client, retry_config=retry
            )
        case StoreKind.S3:
            endpoint = endpoint_of(options, environ)
            if endpoint is not None:
                _allow_http(client, endpoint, options)
            ca_file = environ.get("AWS_CA_BUNDLE")
            if ca_file and options.ca_file is None:
                client["root_certificate"] = _read(ca_file, "AWS_CA_BUNDLE")
            return S3Store(
                address.bucket,
                prefix=prefix,
                client_options=client,
                retry_config=retry,
                credential_provider=credentials,
                **_s3_config(options, endpoint),
            )


def _client_config(
    options: StoreOptions, patience: _Patience, headers: dict[str, str]
) -> ClientConfig:
    client: ClientConfig = {
        "timeout": patience.longest,
        "read_timeout": patience.silence,
        "connect_timeout": timedelta(seconds=10),
        "user_agent": "exporter",
    }
    if headers:
        client["default_headers"] = headers
    if options.ca_file is not None:
        client["root_certificate"] = _read(options.ca_file, "object_store.ca_file")
    return client


def _read(file: Path | str, name: str) -> bytes:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 (one of both kinds)
            return opened.read()
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {file}: {error.strerror}") from None


def _allow_http(client: ClientConfig, endpoint: str, options: StoreOptions) -> None:
    url = urlsplit(endpoint)
    if url.scheme == "http" and (options.allow_insecure_http or url.hostname in _LOOPBACK):
        client["allow_http"] = True


def _s3_config(options: StoreOptions, endpoint: str | None) -> dict[str, Any]:
    """What is set here wins over the environment; None leaves it to that."""
    wanted = {
        "endpoint": endpoint,
        "region": options.region,
        "checksum_algorithm": "SHA256",
        "server_side_encryption": options.encryption,
        "sse_kms_key_id": options.kms_key_id,
        "sse_bucket_key_enabled": options.bucket_key,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _profile(environ: Mapping[str, str]) -> S3CredentialProvider | None:
    """Profiles (`~/.aws`) are read by boto3, which is asked where nothing simpler is set."""
    name = environ.get("AWS_PROFILE")
    if not name and any(environ.get(each) for each in _OWN_CREDENTIALS):
        return None
    try:
        import boto3  # noqa: PLC0415 (slow, and not everybody has it)
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    except ImportError:
        if name:
            raise ConfigError(
                f"AWS_PROFILE={name} needs boto3 to be read",
                hint="python -m pip install boto3; or set AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY: aws configure export-credentials --format env",
            ) from None
        return None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=name or None))
    except ValueError:  # there are none
        return None
    except BotoCoreError as error:
        raise DestinationError(
            f"cannot read the AWS profile {name or 'default'}: {error}",
            hint="Check ~/.aws/config and ~/.aws/credentials, or log in again.",
        ) from None


def _lock_headers(options: StoreOptions, now: datetime) -> dict[str, str]:
    if options.lock_mode is None or options.lock_for is None:
        return {}
    until = now + options.lock_for
    return {
        "x-amz-object-lock-mode": options.lock_mode,
        "x-amz-object-lock-retain-until-date": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }


def _refuse_what_only_s3_has(options: StoreOptions, address: StoreAddress) -> None:
    only_s3 = ("endpoint", "region", "encryption", "kms_key_id", "bucket_key", "lock_mode")
    for name in only_s3:
        if getattr(options, name) is not None:
            raise ConfigError(
                f"object_store.{name} is set, but {address} is no S3 archive",
                hint="What the bucket or container itself is set to holds there.",
            )
    if options.tags and address.kind is StoreKind.GOOGLE:
        raise ConfigError(
            f"object_store.tags is set, but {address} is in Google Cloud Storage, which has none"
        )
