"""How the interpreter uses memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_BLOCKS = 200
_COUNT_FAULTS = f"""
import os, resource, tempfile
from exporter.memory import settle_memory

settle_memory()
file = tempfile.TemporaryFile()
file.write(bytes(64 << 10))
file.flush()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({_BLOCKS}):
    os.pread(file.fileno(), 256 << 10, 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other ways")
def test_large_blocks_are_used_again() -> None:
    """Blocks that shrink to what was read do not come anew from the operating system."""
    counted = subprocess.run(
        [sys.executable, "-c", _COUNT_FAULTS], check=True, capture_output=True, text=True
    )
    assert int(counted.stdout) < 5 * _BLOCKS  # of 16 pages each, unless pages are larger
