"""Which pairs of raw and redacted recordings a run is to compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.ledger import rows
from exporter.ledger.finds import Windows
from exporter.ledger.pairs import Pair
from exporter.model import Redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTION = "substr(outcomes.variant, 1, instr(outcomes.variant, '.') - 1)"
_COMPLETE = (
    "seq IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM outcomes w"  # noqa: S608 (constants)
    " WHERE w.conversation = outcomes.conversation AND w.status IS NULL"
    f" AND w.variant IN ({_DIRECTION} || '.raw', {_DIRECTION} || '.redacted'))"
)


class Comparing(Windows):
    """What is archived, and can be compared."""

    def pairs_to_compare(self, after: int, limit: int) -> tuple[int | None, list[Pair]]:
        """Pairs of which the run archived or skipped a half, and that nobody has compared.

        Args:
            after: where the last page ended; 0 at first.
            limit: recordings to take, halves of pairs.

        Returns:
            Where this page ended, None when there are no more, and its pairs.
        """
        return self._pairs("seq > ? AND status IN ('exported', 'skipped')", after, limit)

    def pairs_among(self, numbers: Sequence[int]) -> list[Pair]:
        """Of these recordings the pairs that the run fetches no half of any more.

        Args:
            numbers: as the ledger numbers what the run has archived.
        """
        return self._pairs(_COMPLETE, json.dumps(list(numbers)), len(numbers))[1]

    def _pairs(self, which: str, chosen_by: int | str, limit: int) -> tuple[int | None, list[Pair]]:
        found = self._db.execute(
            f"SELECT o.seq, o.conversation, {rows.RECORDING_COLUMNS} FROM ("  # noqa: S608 (constants)
            f" SELECT *, {_DIRECTION} AS direction FROM outcomes WHERE {which}) o"
            " CROSS JOIN conversations c ON c.id = o.conversation"
            " CROSS JOIN projects p ON p.id = c.project"
            " WHERE EXISTS (SELECT 1 FROM recordings r"
            "  WHERE r.conversation = o.conversation AND r.variant = o.direction || '.raw')"
            " AND EXISTS (SELECT 1 FROM recordings r"
            "  WHERE r.conversation = o.conversation AND r.variant = o.direction || '.redacted')"
            " AND NOT EXISTS (SELECT 1 FROM proofs q"
            "  WHERE q.conversation = o.conversation AND q.direction = o.direction)"
            " ORDER BY o.seq LIMIT ?",
            (chosen_by, limit),
        ).fetchall()
        if not found:
            return None, []
        held = self._archived({row[1] for row in found})
        pairs: dict[tuple[int, str], Pair] = {}  # both halves may have been asked for
        for _, number, *columns in found:
            recording = replace(rows.to_recording(columns), redaction=Redaction.RAW)
            counterpart = replace(recording, redaction=Redaction.REDACTED)
            raw, redacted = (
                held[number, rows.variant_name(each)] for each in (recording, counterpart)
            )
            pairs[number, recording.direction] = Pair(number, recording, raw, redacted)
        return found[-1][0], list(pairs.values())
