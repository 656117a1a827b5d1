"""`python -m exporter`."""

from __future__ import annotations

import gc
import sys

# Objects made before the collector looks for cycles: nearly none of what a run makes is part of
# one, and looking through all that was imported took a twentieth of a run's time.
_YOUNG, _OLDER, _OLDEST = 20_000, 20, 20


def main() -> None:
    """Run the command line."""
    gc.set_threshold(_YOUNG, _OLDER, _OLDEST)
    try:
        from exporter.cli import app  # noqa: PLC0415

        app()
    except KeyboardInterrupt:  # before the command itself could take care of it
        sys.exit(130)


if __name__ == "__main__":
    main()
