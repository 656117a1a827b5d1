"""Fixtures that several files of tests share."""

from tests.ledgers import open_ledger

__all__ = ["open_ledger"]
