"""`python -m exporter`."""

from __future__ import annotations

import sys

from exporter.memory import settle_memory
from exporter.streams import open_closed_ones, outlive_readers_of_errors


def main() -> None:
    """Run the command line."""
    open_closed_ones()
    outlive_readers_of_errors()
    settle_memory()
    try:
        from exporter.cli import app  # noqa: PLC0415

        app()
    except KeyboardInterrupt:  # before the command itself could take care of it
        sys.exit(130)


if __name__ == "__main__":
    main()
