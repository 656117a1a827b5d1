"""What a partition holds, as a document: `manifest.json` in the partition's folder. Pure: no I/O.

It says what lies there and nothing of how it came there, in an order that depends on nothing else:
two archives with equal recordings have equal manifests, byte for byte. When a recording was
fetched, and with which correlation id, is told by the results of the run that fetched it
(`_exporter/runs/`) and by the ledger.
"""

from __future__ import annotations

from datetime import datetime
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import msgspec

from exporter.layout import PARTITION_MANIFEST
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    KeptMetadata,
    MetadataPii,
    Proof,
    Recording,
    Redaction,
    RedactionEvidence,
    mounted,
    split_mount,
)
from exporter.results import (
    AudioInfo,
    Count,
    Sha256,
    Time,
    timestamp,
    to_audio,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCHEMA_VERSION: Final = 1
_METADATA_HEAD: Final = b'"metadata": ['
_MAX_UNSTREAMED: Final = 64 * 1024 * 1024  # bytes of a manifest that somebody formatted anew


class UnreadablePartitionError(Exception):
    """A partition's manifest is damaged, or not one."""


class NewerPartitionError(Exception):
    """A partition's manifest is of a newer version than this program knows."""


class HeldRecording(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the partition.

    `version` is 1; more where the API's recording was seen to differ from the one archived before,
    which is kept. `redaction_evidence` and `muted_spans` are null where no comparison was made.
    """

    conversation_id: str
    started_at: Time | None
    direction: Direction
    redaction: Redaction
    version: Annotated[int, msgspec.Meta(ge=1)]
    path: str
    bytes: Count
    sha256: Sha256
    audio: AudioInfo
    redaction_evidence: RedactionEvidence | None
    muted_spans: list[tuple[float, float]] | None


class HeldMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The description of one conversation.

    `pii` says what was done about personal data, `final` whether the call had ended.
    """

    conversation_id: str
    path: str
    bytes: Count
    sha256: Sha256
    pii: MetadataPii
    final: bool


class PartitionManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one account, project and date hold in the archive.

    `metadata` is there only where conversations are described.
    """

    schema_version: int
    account_id: str
    project_id: str
    date: str
    recordings: list[HeldRecording]
    metadata: list[HeldMetadata] | msgspec.UnsetType = msgspec.UNSET


class _Head(msgspec.Struct, frozen=True):
    schema_version: int
    account_id: str
    project_id: str
    date: str


def manifest_path(folder: str) -> str:
    """Where a partition's manifest lies."""
    return f"{folder}/{PARTITION_MANIFEST}"


async def render(
    account_id: str,
    project_id: str,
    date: str,
    pages: AsyncIterator[list[tuple[Recording, Archived]]],
    described: AsyncIterator[list[tuple[str, KeptMetadata]]],
) -> AsyncIterator[bytes]:
    """The whole document in pieces: a readable head, then one line a recording or description."""
    head = _Head(SCHEMA_VERSION, account_id, project_id, date)
    text = msgspec.json.format(msgspec.json.encode(head), indent=1)
    yield text.removesuffix(b"\n}") + b',\n "recordings": ['
    separator = b"\n  "
    encode = msgspec.json.Encoder().encode
    async for page in pages:
        lines = [encode(_to_row(*held)) for held in page]
        if lines:
            yield separator + b",\n  ".join(lines)
            separator = b",\n  "
    separator = b"\n ],\n " + _METADATA_HEAD + b"\n  "
    async for told in described:
        yield separator + b",\n  ".join(encode(_to_metadata_row(*one)) for one in told)
        separator = b",\n  "
    yield b"\n ]\n}\n"


def _to_metadata_row(conversation_id: str, kept: KeptMetadata) -> HeldMetadata:
    return HeldMetadata(
        conversation_id=conversation_id,
        path=kept.path,
        bytes=kept.size,
        sha256=kept.sha256,
        pii=kept.pii,
        final=kept.is_final,
    )


def _to_row(recording: Recording, archived: Archived) -> HeldRecording:
    proof = archived.proof
    return HeldRecording(
        conversation_id=recording.conversation_id,
        started_at=timestamp(recording.started_at) if recording.started_at else None,
        direction=recording.direction,
        redaction=recording.redaction,
        version=archived.version,
        path=archived.own_path,
        bytes=archived.size,
        sha256=archived.sha256,
        audio=to_audio(archived.audio),
        redaction_evidence=proof.evidence if proof else None,
        muted_spans=list(proof.muted_spans) if proof and proof.is_comparison else None,
    )


class PartitionReader:
    """Reads a manifest; in constant memory if it is formatted as we write it.

    Args:
        document: the whole of it, to be read from its beginning.
        folder: the partition's, mount included; no manifest speaks of files elsewhere.

    Attributes:
        account_id: as the manifest says, like the next two.

    Raises:
        UnreadablePartitionError: it is damaged, or not a partition's manifest.
        NewerPartitionError: a newer version of this program wrote it.
    """

    def __init__(self, document: IO[bytes], folder: str) -> None:
        self._document = document
        self._mount, self._folder = split_mount(folder)
        self._decode = msgspec.json.Decoder(HeldRecording).decode
        self._whole: PartitionManifest | None = None
        try:
            head = self._read_head()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadablePartitionError(str(error)) from None
        self.account_id = head.account_id
        self.project_id = head.project_id
        self.date = head.date

    def _read_head(self) -> _Head | PartitionManifest:
        lines = []
        for line in self._document:
            lines.append(line)
            if line.rstrip().endswith(b"["):
                break
        if self._is_as_we_write_it():
            head = msgspec.json.decode(b"".join(lines) + b"]}", type=_Head)
            _check_version(head.schema_version)
            return head
        # Somebody formatted it anew, or it is something else.
        text = b"".join(lines) + self._document.read(_MAX_UNSTREAMED)
        if len(text) > _MAX_UNSTREAMED:
            raise UnreadablePartitionError(f"{len(text):,} bytes and more in an unknown format")
        _check_version(msgspec.json.decode(text, type=_Head).schema_version)
        self._whole = msgspec.json.decode(text, type=PartitionManifest)
        return self._whole

    def _is_as_we_write_it(self) -> bool:
        """Behind the head comes a whole row, or the end of no rows."""
        position = self._document.tell()
        line = self._document.readline().strip()
        self._document.seek(position)
        return line in {b"]", b"],"} or (line.startswith(b"{") and line.endswith((b"}", b"},")))

    def __iter__(self) -> Iterator[tuple[Recording, Archived]]:
        """Everything that the partition holds.

        Raises:
            UnreadablePartitionError: the manifest is damaged.
        """
        try:
            for row in self._rows():
                yield self._to_held(row)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise UnreadablePartitionError(str(error)) from None

    def _rows(self) -> Iterator[HeldRecording]:
        if self._whole is not None:
            yield from self._whole.recordings
            return
        for is_metadata, line in self._lines():
            if not is_metadata:
                yield self._decode(line)

    def _lines(self) -> Iterator[tuple[bool, bytes]]:
        """Each row as it is written, and whether it is a description's."""
        is_metadata = ended = False
        for line in self._document:
            text = line.strip()
            if ended and text == b"}":
                return
            if text == b"]":
                ended = True
            elif text == b"],":
                is_metadata = True
            elif not (is_metadata and text == _METADATA_HEAD):
                yield is_metadata, text.removesuffix(b",")
        raise UnreadablePartitionError("it ends too early")

    def metadata(self) -> Iterator[tuple[str, KeptMetadata]]:
        """The descriptions, by conversation id; instead of iterating, for it reads to the end.

        Raises:
            UnreadablePartitionError: the manifest is damaged.
        """
        try:
            for row in self._metadata_rows():
                self._check_place(row.path)
                yield (
                    row.conversation_id,
                    KeptMetadata(row.path, row.bytes, row.sha256, row.pii, row.final),
                )
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise UnreadablePartitionError(str(error)) from None

    def _metadata_rows(self) -> Iterator[HeldMetadata]:
        if self._whole is not None:
            yield from self._whole.metadata or ()
            return
        decode = msgspec.json.Decoder(HeldMetadata).decode
        for is_metadata, line in self._lines():
            if is_metadata:
                yield decode(line)

    def _check_place(self, path: str) -> None:
        parts = path.removeprefix(f"{self._folder}/").split("/")
        if not path.startswith(f"{self._folder}/") or {"", ".", ".."} & set(parts):
            raise UnreadablePartitionError(f"it speaks of a file elsewhere: {path!r}")

    def _to_held(self, row: HeldRecording) -> tuple[Recording, Archived]:
        self._check_place(row.path)
        recording = Recording(
            self.account_id,
            self.project_id,
            row.conversation_id,
            row.direction,
            row.redaction,
            datetime.fromisoformat(row.started_at) if row.started_at else None,
        )
        audio = AudioFormat(
            row.audio.codec,
            row.audio.sample_rate,
            row.audio.channels,
            row.audio.bits_per_sample,
            row.audio.duration_seconds,
        )
        return recording, Archived(
            mounted(self._mount, row.path),
            row.bytes,
            row.sha256,
            audio,
            None,
            None,
            row.version,
            _to_proof(row),
        )


def _to_proof(row: HeldRecording) -> Proof | None:
    if row.redaction_evidence is None:
        return None
    return Proof(row.redaction_evidence, tuple(row.muted_spans or ()))


def _check_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise NewerPartitionError(f"schema version {version}")


def partition_schema() -> dict[str, Any]:
    """JSON Schema of the document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "exporter partition",
        **msgspec.json.schema(PartitionManifest),
    }
