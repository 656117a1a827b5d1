"""What the archive holds, and how each run went: one SQLite file.

A run is planned into the ledger before anything is fetched. A planned recording without an outcome
counts as cancelled, so the numbers of a run add up whenever it ends, even by a loss of power.
"""

from exporter.ledger.documents import ToDescribe, Undescribed
from exporter.ledger.finds import Finds, Shrinkage
from exporter.ledger.missing import KEPT, Missing, MissingGroup, PastRun
from exporter.ledger.pairs import Compared, Pair
from exporter.ledger.rows import LeftRun, Looked, Partition, Planned, Totals
from exporter.ledger.store import Ledger
from exporter.ledger.thread import LedgerThread

__all__ = [
    "KEPT",
    "Compared",
    "Finds",
    "Ledger",
    "LedgerThread",
    "LeftRun",
    "Looked",
    "Missing",
    "MissingGroup",
    "Pair",
    "Partition",
    "PastRun",
    "Planned",
    "Shrinkage",
    "ToDescribe",
    "Totals",
    "Undescribed",
]
