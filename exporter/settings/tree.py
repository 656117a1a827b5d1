"""Which settings there are: the config's shape, its defaults, and the rules between its keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from exporter.address import is_store
from exporter.layout import LayoutStyle
from exporter.model import Direction, MetadataPii, Order, Redaction, Surface
from exporter.pii_access import ENOUGH_IDENTICAL
from exporter.policy import Policy
from exporter.settings.regions import origin_in, origin_of
from exporter.settings.values import (
    Address,
    Amount,
    ArchiveUrl,
    Count,
    CountOrZero,
    DirMode,
    Duration,
    FileMode,
    FileName,
    RuleError,
    Size,
    SizeOrZero,
    StorageClass,
    Switch,
    Tags,
    TimeZoneName,
    VariableName,
    comma_list,
    distinct,
    is_loopback,
    list_of,
    lower_case,
    no_truth_value,
)

if TYPE_CHECKING:
    from datetime import datetime

DEFAULT_KEY_VARIABLE = "POLYAI_API_KEY"


class Section(BaseModel):
    """A part of the config with keys of its own."""

    # Not built one by one: the whole tree is, when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class TimeoutSettings(Section):
    """Seconds."""

    connect: Amount = 10
    """Seconds to connect, TLS included."""
    read: Amount = 60
    """Seconds without a byte before the connection is given up."""
    total: Amount = 900
    """Seconds for one attempt at one recording."""


class ApiSettings(Section):
    """Which API is exported from."""

    surface: Annotated[Surface, lower_case] = Surface.PLATFORM_V3
    """The API family: `platform-v3` or `agents-v1`."""
    region: Annotated[str, lower_case] = "us-1"
    """`us-1`, `uk-1`, `euw-1`; for `agents-v1` `us`, `uk`, `eu`, `studio`."""
    base_url: Address = None
    """Overrides the region's host, for gateways and the sandbox."""
    timeout: TimeoutSettings = TimeoutSettings()
    allow_insecure_http: Switch = False
    """Send the key over plain http to hosts other than loopback ones."""
    ca_file: FileName | None = None
    """PEM file of certificate authorities to trust instead of the system's."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.base_url is None:
            origin_of(self.surface, self.region)
        elif not (self.allow_insecure_http or _is_private(self.base_url)):
            raise RuleError(
                "over plain http the key would be sent unencrypted, expected https",
                key="base_url",
                hint="If the network is private, set api.allow_insecure_http: true.",
            )
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and any path prefix that every request begins with; no final slash."""
        return self.base_url or origin_of(self.surface, self.region)

    @property
    def list_origin(self) -> str | None:
        """The same for the list of conversations, which only `platform-v3` has."""
        return self.base_url or origin_in(Surface.PLATFORM_V3, self.region)

    @property
    def detail_origin(self) -> str | None:
        """The same for one conversation's description, which only `agents-v1` has."""
        return self.base_url or origin_in(Surface.AGENTS_V1, self.region)


def _is_private(base_url: str) -> bool:
    url = urlsplit(base_url)
    return url.scheme == "https" or is_loopback(url.hostname or "")


class CredentialSettings(Section):
    """Where to find the API key for some or all projects. The key itself is never written here."""

    account_id: str | None = None
    """Only for this account; for all when left out."""
    project_id: str | None = None
    """Only for this project; for all when left out."""
    api_key_env: VariableName | None = None
    """Name of the environment variable that holds the key."""
    api_key_file: FileName | None = None
    """File whose content is the key, for systemd credentials and container secrets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.api_key_env is None) == (self.api_key_file is None):
            found = "neither" if self.api_key_env is None else "both"
            raise RuleError(f"found {found}, expected exactly one of api_key_env and api_key_file")
        return self


class PolicySettings(Section):
    """What holds in some projects beside what `export` says of all. It can only be stricter."""

    account_id: str | None = None
    """Only in this account; in all when left out."""
    project_id: str | None = None
    """Only in this project; in all when left out."""
    never_raw: Switch = False
    """No raw recording is ever asked for: a manifest that names one is refused."""
    require_raw: Switch = False
    """The run fails when what was asked for as raw seems to be redacted."""
    enough_identical: Count | None = None
    """In place of `export.enough_identical`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_policy(never_raw=self.never_raw, require_raw=self.require_raw)
        return self


def _check_policy(*, never_raw: bool, require_raw: bool) -> None:
    if never_raw and require_raw:
        raise RuleError(
            "found both never_raw and require_raw, expected at most one of them", key="require_raw"
        )


class OutputSettings(Section):
    """Where the archive is and how it is laid out."""

    url: ArchiveUrl = "./archive"
    """A folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`."""
    layout: Annotated[LayoutStyle, lower_case] = LayoutStyle.PLAIN
    """`plain` folder names, or `hive` ones: `account_id=…/project_id=…/date=…`."""
    timezone: TimeZoneName = "UTC"
    """In which a conversation's start has its date."""
    dir_mode: DirMode = 0o700
    """Permissions of folders, as octal digits in quotes."""
    file_mode: FileMode = 0o600
    """Permissions of files, as octal digits in quotes."""
    raw_url: ArchiveUrl | None = None
    """An archive of their own for raw recordings, named like `url`. An archive remembers where
    its raw recordings go; its own `url` here brings them back into it."""
    raw_dir_mode: DirMode | None = None
    """`dir_mode` of that archive, where it is another one."""
    raw_file_mode: FileMode | None = None
    """`file_mode` of that archive, where it is another one."""
    state_dir: FileName | None = None
    """Where the ledger lies instead of in the archive, in a folder of its own for each archive;
    for archives on network file systems, which SQLite cannot use safely. Ledgers of archives in
    object stores lie in `~/.local/state/exporter/archives` unless told otherwise."""


class ObjectStoreSettings(Section):
    """Archives in object stores: how a store is spoken to, and what it is asked for."""

    endpoint: Address = None
    """Address of a store that speaks S3, in place of Amazon's and of `AWS_ENDPOINT_URL`."""
    region: str | None = None
    """The bucket's region, in place of `AWS_REGION`."""
    allow_insecure_http: Switch = False
    """The endpoint may be plain http on other hosts than loopback ones."""
    ca_file: FileName | None = None
    """PEM file of certificate authorities to trust besides the system's."""
    retry_timeout: Duration = timedelta(minutes=2)
    """How long a request is tried again when the store fails, asks to slow down or is away."""
    tags: Tags = {}
    """Put on each recording; not in Google's store, which has none."""
    storage_class: StorageClass | None = None
    """Of each recording, in the store's own words; the bucket's when null."""
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """Encryption by an S3 store; the bucket's when null."""
    kms_key_id: str | None = None
    """Which key of `aws:kms` or `aws:kms:dsse`; the account's own when null."""
    bucket_key: Switch | None = None
    """Use a key of the bucket, which costs fewer requests; the bucket's setting when null."""
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = None
    """S3 object lock: recordings can be neither removed nor replaced, by those without permission
    to bypass it, or by nobody."""
    lock_for: Duration | None = None
    """For how long after the run began."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint and not (self.allow_insecure_http or _is_private(self.endpoint)):
            raise RuleError(
                "over plain http recordings would be sent unencrypted, expected https",
                key="endpoint",
                hint="If the network is private, set object_store.allow_insecure_http: true.",
            )
        if self.kms_key_id is not None and not (self.encryption or "").startswith("aws:kms"):
            raise RuleError(
                "found a key, but encryption is not aws:kms or aws:kms:dsse", key="kms_key_id"
            )
        if (self.lock_mode is None) != (self.lock_for is None):
            missing = "lock_for" if self.lock_for is None else "lock_mode"
            raise RuleError(
                f"found only one of lock_mode and lock_for, expected {missing} too",
                key="lock_mode" if self.lock_for is None else "lock_for",
            )
        return self


class ExportSettings(Section):
    """What is asked for where the manifest does not say."""

    directions: Annotated[
        tuple[Direction, ...],
        Field(min_length=1),
        comma_list,
        distinct,
        list_of(Direction),
    ] = (Direction.COMBINED,)
    """Some of `combined`, `user`, `agent`."""
    redaction: Annotated[
        tuple[Redaction, ...],
        Field(min_length=1),
        comma_list,
        distinct,
        list_of(Redaction),
    ] = (Redaction.REDACTED,)
    """`redacted`, `raw`, or both."""
    never_raw: Switch = False
    """No raw recording is ever asked for: a manifest that names one is refused."""
    require_raw: Switch = False
    """The run fails when what was asked for as raw seems to be redacted."""
    enough_identical: Count = ENOUGH_IDENTICAL
    """Conversations whose raw and redacted audio must be the same before missing access to raw
    audio is suspected; more where few calls hold personal data."""
    pending_grace: Duration = timedelta(hours=24)
    """How long after its start a conversation may be without a recording and still get one."""
    lookup_started_at: Switch = False
    """Ask the API when a conversation began, where the manifest does not say."""
    order: Annotated[Order | None, lower_case] = None
    """What is fetched first: `manifest` as it is named, `oldest-first` what the vendor deletes
    first; when null `oldest-first` for a manifest with `discover`, else `manifest`."""
    retention: Duration | None = None
    """How long the vendor keeps recordings, as contracted; the summary says what is lost when."""
    expiry_warning: Duration = timedelta(days=7)
    """What the vendor deletes within this time, and is not archived, is counted as expiring."""
    metadata: Switch = False
    """Archive the conversation's description beside its recordings, as `conversation.json`."""
    metadata_pii: Annotated[MetadataPii, lower_case] = MetadataPii.DROP
    """What is archived of its personal data: `drop` leaves out all that may be some."""
    recheck: Switch = False
    """Hash what is archived again before it is skipped, instead of comparing sizes only."""
    refresh: Switch = False
    """Fetch again what is archived; other content is kept beside the old, under a new name."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_policy(never_raw=self.never_raw, require_raw=self.require_raw)
        return self

    def deleted_before(self, now: datetime) -> datetime | None:
        """What began before this is deleted by the vendor, as contracted; None: nobody said."""
        return None if self.retention is None else now - self.retention


class LimitSettings(Section):
    """What a run may use."""

    concurrency: Annotated[PositiveInt, Field(le=1024), no_truth_value] = 16
    """Recordings fetched at a time."""
    processes: Annotated[PositiveInt, Field(le=64), no_truth_value] = 1
    """Processes that fetch; more than 1 where a fast line leaves cores idle. Folders only."""
    requests_per_second: Amount | None = None
    """At most so many requests in any one second; as many as the server takes when null."""
    adaptive: Switch = True
    """Learn from refusals, failures and latency how much the server takes, and stay below it."""
    max_recording_bytes: Size = 2 * 1024**3
    """A longer body is refused."""
    min_free_bytes: SizeOrZero = 1024**3
    """A run does not start, and stops, when less than this is free where the archive lies."""
    wait: Duration = timedelta()
    """How long to wait for another run that holds the archive."""
    max_failures: Count | None = None
    """The run stops when so many recordings have failed; never when null."""
    deadline: Duration | None = None
    """The run stops after so long, such as `6h`; never when null."""


class RetrySettings(Section):
    """How transient failures are retried. Times in seconds."""

    attempts: Count = 6
    """Requests for one recording at most, the first one included."""
    max_delay: Amount = 60
    """Longest back-off between two attempts."""
    max_retry_after: CountOrZero = 300
    """Longest wait that the server may ask for; the run ends when it asks for more."""
    max_outage: Amount = 120
    """How long the server may be away, or answer nothing but failures, before the run ends."""


class LogSettings(Section):
    """Logs go to standard error."""

    format: Annotated[Literal["console", "json"], lower_case] = "console"
    level: Annotated[Literal["debug", "info", "warning", "error"], lower_case] = "info"


class Settings(Section):
    """How to export: the whole config."""

    api: ApiSettings = ApiSettings()
    credentials: Annotated[tuple[CredentialSettings, ...], Field(min_length=1)] = (
        CredentialSettings(api_key_env=DEFAULT_KEY_VARIABLE),
    )
    """The first that matches a conversation's account and project is used."""
    output: OutputSettings = OutputSettings()
    object_store: ObjectStoreSettings = ObjectStoreSettings()
    export: ExportSettings = ExportSettings()
    policies: tuple[PolicySettings, ...] = ()
    """The first that matches an account and project holds there, beside what `export` says."""
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        output = self.output
        if self.limits.processes > 1 and any(
            is_store(url) for url in (output.url, output.raw_url) if url
        ):
            raise RuleError(
                f"found {self.limits.processes}, expected 1: several processes write archives in"
                " folders only",
                key="limits.processes",
                hint="Leave it out: a store is waited for longer than this machine works.",
            )
        return self

    def policy_of(self, account_id: str, project_id: str) -> Policy:
        """What holds in a project: an entry of `policies` adds to `export`, and loosens nothing."""
        export = self.export
        for each in self.policies:
            if each.account_id in (None, account_id) and each.project_id in (None, project_id):
                return Policy(
                    export.never_raw or each.never_raw,
                    export.require_raw or each.require_raw,
                    each.enough_identical or export.enough_identical,
                )
        return Policy(export.never_raw, export.require_raw, export.enough_identical)
