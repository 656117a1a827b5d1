"""The errors of this package, in its few forms."""

from __future__ import annotations

from exporter.errors import ErrorKind, FetchError


def malformed(message: str) -> FetchError:
    """A WAV file whose structure is broken."""
    return FetchError(ErrorKind.MALFORMED_AUDIO, f"malformed WAV file: {message}")


def unsupported(encoding: str) -> FetchError:
    """A WAV file of which nothing can be claimed."""
    return FetchError(
        ErrorKind.UNSUPPORTED_AUDIO, f"a WAV file in an encoding that cannot be checked: {encoding}"
    )


def size_mismatch(message: str) -> FetchError:
    """A WAV file that ends before the body does."""
    return FetchError(ErrorKind.SIZE_MISMATCH, message)
