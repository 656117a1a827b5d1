"""`python -m exporter`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from exporter.cli import app  # noqa: PLC0415

    app()


if __name__ == "__main__":
    main()
