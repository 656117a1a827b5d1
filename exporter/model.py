"""The words of the domain as values: frozen and comparable.

They are structs, not dataclasses, for a run over a million recordings makes several millions of
them, and a frozen dataclass takes ten times as long to make. None can be part of a cycle, so the
garbage collector need not look at them.

A *conversation* is (account, project, conversation id). A *variant* is direction x redaction.
A *recording* is one variant of one conversation: the unit of work and of the results.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.json import Encoder

from exporter.errors import ErrorKind, Location

Piece = bytes | bytearray | memoryview
"""A part of a body, or of a file."""

if TYPE_CHECKING:
    from exporter.errors import FetchError


_encode = Encoder().encode


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z`; microseconds where there are any.

    By msgspec, which takes a tenth of the time of `isoformat`: a million recordings have three
    times each.
    """
    return _encode(moment.astimezone(UTC))[1:-1].decode()


class Direction(StrEnum):
    """Which side of the call is heard."""

    COMBINED = "combined"  # both sides mixed
    USER = "user"  # the caller only
    AGENT = "agent"  # the agent only


class Redaction(StrEnum):
    """Whether personally identifiable information (PII) is muted, as asked for."""

    REDACTED = "redacted"
    RAW = "raw"


class Surface(StrEnum):
    """Which of the vendor's two API families serves the recordings."""

    PLATFORM_V3 = "platform-v3"
    AGENTS_V1 = "agents-v1"


class Status(StrEnum):
    """How a recording ended in a run."""

    EXPORTED = "exported"
    SKIPPED = "skipped"  # archived before
    PENDING = "pending"  # the API has none yet, and may have one later
    NOT_FOUND = "not_found"
    GONE = "gone"
    FAILED = "failed"
    CANCELLED = "cancelled"  # the run stopped first


class Order(StrEnum):
    """Which recordings are fetched first."""

    MANIFEST = "manifest"  # as they are named
    OLDEST_FIRST = "oldest-first"  # those whose call began first; without a start last


class Variant(Struct, frozen=True, order=True, gc=False):
    """Direction x redaction."""

    direction: Direction
    redaction: Redaction


class Conversation(Struct, frozen=True, gc=False):
    """One entry of a manifest, with its defaults filled in.

    Attributes:
        account_id: as the API writes it.
        project_id: as the API writes it.
        conversation_id: as the API writes it.
        started_at: aware time, or None when not known.
        directions: distinct, in the order asked for; None when the manifest does not say: the
            config's choice applies.
        redaction: likewise.
        in_progress: the listing said that the call has not ended yet.
        location: where the manifest names it, for messages.
    """

    account_id: str
    project_id: str
    conversation_id: str
    started_at: datetime | None = None
    directions: tuple[Direction, ...] | None = None
    redaction: tuple[Redaction, ...] | None = None
    in_progress: bool = False
    location: Location | None = None

    def __str__(self) -> str:
        """For people: `account/project/conversation`."""
        return f"{self.account_id}/{self.project_id}/{self.conversation_id}"


class Recording(Struct, frozen=True, gc=False, eq=False):
    """One variant of one conversation.

    Attributes:
        in_progress: the call had not ended when it was listed; no part of what a recording is.
    """

    account_id: str
    project_id: str
    conversation_id: str
    direction: Direction
    redaction: Redaction
    started_at: datetime | None = None
    in_progress: bool = False

    def __eq__(self, other: object) -> bool:
        """Whether it is the same recording, whatever is known of the call."""
        return isinstance(other, Recording) and self._identity == other._identity

    def __ne__(self, other: object) -> bool:
        """The contrary, which msgspec's structs do not make of `==` by themselves."""
        return not self == other

    def __hash__(self) -> int:
        """Of what it is."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return (
            self.account_id,
            self.project_id,
            self.conversation_id,
            self.direction,
            self.redaction,
            self.started_at,
        )

    def __str__(self) -> str:
        """For people: `account/project/conversation direction.redaction`."""
        return (
            f"{self.account_id}/{self.project_id}/{self.conversation_id}"
            f" {self.direction}.{self.redaction}"
        )


class AudioFormat(Struct, frozen=True, gc=False):
    """What a WAV file says of itself.

    Attributes:
        codec: ffmpeg's name: of samples `pcm_s16le`, `pcm_u8`, `pcm_s24le`, `pcm_s32le`,
            `pcm_f32le`, `pcm_f64le`, `pcm_alaw`, `pcm_mulaw`; compressed `adpcm_ms`,
            `adpcm_ima_wav`, `adpcm_g726`, `gsm_ms`, `g729`, `g723_1`.
        sample_rate: frames a second.
        channels: samples a frame.
        bits_per_sample: width of one sample as stored; of a compressed codec what the header
            says, which may be 0.
        duration_seconds: frames / sample_rate; of a compressed codec to a block.
    """

    codec: str
    sample_rate: int
    channels: int
    bits_per_sample: int
    duration_seconds: float


class RedactionEvidence(StrEnum):
    """What the comparison of the redacted and the raw recording of one direction showed."""

    CONFIRMED = "confirmed"
    IDENTICAL = "identical"
    INCONSISTENT = "inconsistent"
    UNPAIRED = "unpaired"


class PiiAccessState(StrEnum):
    """Whether a key may read raw audio, as far as the audio proves it."""

    CONFIRMED = "confirmed"
    SUSPECTED_MISSING = "suspected_missing"
    UNKNOWN = "unknown"


class Proof(Struct, frozen=True, gc=False):
    """What a recording and its counterpart (raw and redacted of one direction) show together.

    Attributes:
        evidence: the verdict.
        muted_spans: (start, end) in seconds where the redacted one is muted and the raw is not.
    """

    evidence: RedactionEvidence
    muted_spans: tuple[tuple[float, float], ...] = ()

    @property
    def is_comparison(self) -> bool:
        """Whether there were two that could be compared."""
        return self.evidence is not RedactionEvidence.UNPAIRED


RAW_MOUNT: Final = "_raw"
"""With this begins the path of what lies in another archive, for raw recordings; `_raw2` stands for
one more. No identifier begins with an underscore, so no path within an archive does."""


def mounted(mount: str, path: str) -> str:
    """A path within an archive, as it is called beside those of other archives."""
    return f"{mount}/{path}" if mount and path else mount or path


def split_mount(path: str) -> tuple[str, str]:
    """The archive that a path leads to (`""`: the main one), and the path within it."""
    if not path.startswith(RAW_MOUNT):
        return "", path
    mount, _, own = path.partition("/")
    return mount, own


class Archived(Struct, frozen=True, gc=False):
    """What the ledger knows of an archived recording: a whole, verified file.

    Attributes:
        path: relative to the archive, `/` between parts; what lies in another archive begins with
            its mount (`RAW_MOUNT`).
        size: bytes.
        sha256: hexadecimal digest of the file.
        audio: what the WAV header says.
        fetched_at: when its last byte arrived; None where only a partition's manifest told of it.
        correlation_id: of the answer that brought it; likewise.
        version: 1; more where the API's recording was seen to differ from the archived one.
        proof: what it and its counterpart show; None where nothing was compared, or nobody asked.
    """

    path: str
    size: int
    sha256: str
    audio: AudioFormat
    fetched_at: datetime | None
    correlation_id: str | None
    version: int = 1
    proof: Proof | None = None

    @property
    def own_path(self) -> str:
        """Relative to the archive that it lies in."""
        return split_mount(self.path)[1]


class MetadataPii(StrEnum):
    """What is archived of the personal data in a conversation's description."""

    DROP = "drop"  # nothing that may be any
    KEEP = "keep"  # everything, as the API gave it


class KeptMetadata(Struct, frozen=True, gc=False):
    """A conversation's description in the archive: a whole, verified file.

    Attributes:
        path: relative to the archive.
        size: bytes.
        sha256: hexadecimal digest of the file.
        pii: what was done about personal data.
        is_final: the call had ended when it was described.
        fetched_at: when; None where only a partition's manifest told of it.
    """

    path: str
    size: int
    sha256: str
    pii: MetadataPii
    is_final: bool
    fetched_at: datetime | None = None


class Drift(Struct, frozen=True, gc=False):
    """What was archived before of a recording whose content is another one now.

    Attributes:
        sha256: hexadecimal digest of what was archived before.
        path: where it lies now, relative to the archive; None: the file is gone.
    """

    sha256: str
    path: str | None


class ErrorInfo(Struct, frozen=True, gc=False):
    """Why a recording was not exported, as the results tell it."""

    kind: ErrorKind
    message: str
    http_status: int | None = None
    code: str | None = None
    correlation_id: str | None = None

    @classmethod
    def of(cls, error: FetchError) -> ErrorInfo:
        """The lasting part of an attempt's error."""
        return cls(error.kind, error.message, error.http_status, error.code, error.correlation_id)


class Outcome(Struct, frozen=True, gc=False):
    """How one recording ended in a run: an expected failure is a value, not an exception.

    Attributes:
        status: how it ended.
        archived: what lies in the archive; for `exported` and `skipped`.
        error: why not; for all others.
        attempts: requests made for it in this run.
        drift: what was archived before, where the content is another one now.
        carried_over: an earlier run had left it pending, and no entry of the manifest names it.
    """

    status: Status
    archived: Archived | None = None
    error: ErrorInfo | None = None
    attempts: int = 0
    drift: Drift | None = None
    carried_over: bool = False
