"""Fixtures that several files of tests share."""

from tests.archives import archive, run
from tests.checkups import calls

__all__ = ["archive", "calls", "run"]
