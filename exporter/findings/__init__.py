"""What `verify` finds: records and files side by side in a temporary database.

So an archive of any size takes the same memory, and comparing the two is one query. `records` has
what is on record and what is there, `choosing` compares the two and says what is read back, and
what is looked at again, `verdict` tells what came of it.
"""

from exporter.findings.verdict import (
    DIRECTIONS_TOLERANCE_SECONDS,
    DIRECTIONS_TOLERANCE_SHARE,
    REDACTION_TOLERANCE_SECONDS,
    Findings,
)

__all__ = [
    "DIRECTIONS_TOLERANCE_SECONDS",
    "DIRECTIONS_TOLERANCE_SHARE",
    "REDACTION_TOLERANCE_SECONDS",
    "Findings",
]
