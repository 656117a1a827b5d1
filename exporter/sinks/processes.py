"""Which machine this is, and whether a process of it lives."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def machine() -> str:
    """Tells one boot of one kernel from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return f"{os.uname().nodename} {uuid.getnode():x}"


def name_space() -> str | None:
    """The name space that our process's number belongs to; containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    """Whether a process of our name space is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
