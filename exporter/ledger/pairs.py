"""What compared pairs showed: raw and redacted of one direction. Everything in batches.

A row speaks of two files by their hashes. It counts only while these are the hashes of the latest
versions on record (the view `proofs`): a recording that was fetched anew is compared anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from exporter.ledger import rows
from exporter.ledger.database import Database
from exporter.model import Proof, Recording, Redaction, RedactionEvidence
from exporter.pii_access import PairCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from exporter.model import Archived, Direction

NO_COUNTERPART: Final = Proof(RedactionEvidence.UNPAIRED)


@dataclass(frozen=True, slots=True)
class Pair:
    """Raw and redacted of one direction, both archived.

    Attributes:
        conversation: the ledger's number for it.
        recording: what was asked for as raw.
        raw: what came.
        redacted: its counterpart.
    """

    conversation: int
    recording: Recording
    raw: Archived
    redacted: Archived


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair and what it shows.

    Attributes:
        credential: name of the key of its project.
    """

    pair: Pair
    proof: Proof
    credential: str


class Pairs(Database):
    """The compared pairs of the ledger."""

    _run = 0  # the run that is told or under way

    def record_pairs(self, compared: Sequence[Compared], now: datetime) -> None:
        """Enter what pairs show; the manifests of their partitions are to tell it."""
        with self._transaction():
            for one in compared:
                pair = one.pair
                self._db.execute(
                    "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        pair.conversation,
                        pair.recording.direction,
                        bytes.fromhex(pair.raw.sha256),
                        bytes.fromhex(pair.redacted.sha256),
                        one.proof.evidence,
                        json.dumps(one.proof.muted_spans),
                        one.credential,
                        self._run,
                        rows.timestamp(now),
                    ),
                )
                self._db.execute(
                    "UPDATE partitions SET changes = changes + 1 WHERE id IN"
                    " (SELECT partition FROM recordings WHERE conversation = ?"
                    " AND variant IN (?, ?))",
                    (pair.conversation, *_variants(pair.recording.direction)),
                )

    def _learn_proofs(self, told: Iterable[tuple[int, Recording, Archived]]) -> None:
        """Enter what a partition's manifest says of pairs, where nothing else is known."""
        for conversation, recording, archived in told:
            # Both rows of a pair tell the same, and one is enough: the last in the document, so
            # that both recordings have been entered.
            if archived.proof is None or recording.redaction is Redaction.RAW:
                continue
            self._db.execute(
                "INSERT OR IGNORE INTO pairs SELECT a.conversation, ?, a.sha256, b.sha256, ?, ?,"
                " NULL, NULL, NULL FROM recordings a JOIN recordings b USING (conversation)"
                " WHERE a.conversation = ? AND a.variant = ? AND b.variant = ? AND b.sha256 = ?"
                # Where another raw file lies elsewhere, this may speak of that one.
                " AND NOT EXISTS (SELECT 1 FROM also_held h WHERE h.conversation = a.conversation"
                "  AND h.variant = a.variant AND h.sha256 <> a.sha256)"
                " ORDER BY a.version DESC LIMIT 1",
                (
                    recording.direction,
                    archived.proof.evidence,
                    json.dumps(archived.proof.muted_spans),
                    conversation,
                    *_variants(recording.direction),
                    bytes.fromhex(archived.sha256),
                ),
            )

    def pair_counts(
        self, account_id: str, project_id: str, credential: str | None = None
    ) -> tuple[PairCounts, PairCounts]:
        """Conversations whose raw audio came in this run, and those of earlier runs, as compared.

        Args:
            account_id: whose.
            project_id: whose.
            credential: only what was fetched with the key of this name; None: with any.
        """
        found = self._db.execute(
            "SELECT is_new, sum(confirmed), sum(identical) FROM ("
            " SELECT o.seq IS NOT NULL AS is_new, max(q.evidence = 'confirmed') AS confirmed,"
            " min(q.evidence = 'identical') AS identical"
            " FROM projects p JOIN conversations c"
            " ON c.folded_project = p.folded AND c.project = p.id"
            " JOIN proofs q ON q.conversation = c.id LEFT JOIN outcomes o"
            " ON o.conversation = c.id AND o.variant = q.direction || '.raw'"
            " AND o.status = 'exported'"
            " WHERE p.account_id = ? AND p.project_id = ? AND q.evidence <> 'unpaired'"
            " AND (? IS NULL OR q.credential = ?)"
            " GROUP BY c.id, is_new) GROUP BY is_new",
            (account_id, project_id, credential, credential),
        )
        counts = {bool(row[0]): PairCounts(row[1], row[2]) for row in found}
        return counts.get(True, PairCounts()), counts.get(False, PairCounts())

    def _with_proofs(self, held: Sequence[tuple[int, Recording, Archived]]) -> list[Archived]:
        """The same recordings, each with what it and its counterpart show.

        Args:
            held: with the numbers of their conversations.
        """
        # Most archives hold no pairs, and then no more than this is to be asked.
        if not held or not self._db.execute("SELECT EXISTS (SELECT 1 FROM pairs)").fetchone()[0]:
            return [archived for _, _, archived in held]
        proofs: dict[tuple[int, str, str], Proof] = {}
        for number, direction, raw, redacted, evidence, spans in self._db.execute(
            "SELECT q.conversation, q.direction, q.raw_sha256, q.redacted_sha256, q.evidence,"
            " q.muted_spans FROM json_each(?) j CROSS JOIN proofs q ON q.conversation = j.value",
            (json.dumps(sorted({number for number, _, _ in held})),),
        ):
            shown = rows.to_proof(evidence, spans)
            for variant, digest in zip(_variants(direction), (raw, redacted), strict=True):
                proofs[number, variant, digest.hex()] = shown
        return [
            replace(archived, proof=proof)
            if (proof := proofs.get((number, rows.variant_name(recording), archived.sha256)))
            else archived
            for number, recording, archived in held
        ]


def _variants(direction: Direction | str) -> tuple[str, str]:
    """Names of the raw and the redacted variant."""
    return f"{direction}.{Redaction.RAW}", f"{direction}.{Redaction.REDACTED}"
