"""Where things of this user lie, outside of any archive."""

from __future__ import annotations

import os
from pathlib import Path


def user_state_dir() -> Path:
    """The folder for what is to outlast a run, by the XDG rules; it may not exist."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 (never raises)
    return Path(home) / "exporter"
