"""`exporter sandbox`: from the words on the command line to a serving sandbox."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from exporter.errors import UsageError
from exporter.sandbox import Codec, HeaderStyle, RedactionStyle
from exporter.sandbox.scenario import ScenarioError
from exporter.sandbox.serve import parse_call_seconds, serve
from exporter.sandbox.world import Framing

if TYPE_CHECKING:
    from pathlib import Path

Word = TypeVar("Word", bound=StrEnum)


def sandbox(
    *,
    host: str,
    port: int,
    scenario: Path | None,
    requests_per_second: float | None,
    burst: int | None,
    max_concurrent: int | None,
    latency: float | None,
    call_seconds: str | None,
    codec: str | None,
    sample_rate: int | None,
    header_style: str | None,
    framing: str | None,
    redaction: str | None,
    comfort_noise: float | None,
    pii_share: float | None,
    pii_access: bool,
    clock_skew: float,
    allow_any_address: bool,
) -> None:
    """Serve until interrupted.

    Raises:
        UsageError: a flag or the scenario file is wrong, or the address is not to be had.
    """
    try:
        asyncio.run(
            serve(
                host=host,
                port=port,
                scenario=scenario,
                requests_per_second=requests_per_second,
                burst=burst,
                max_concurrent=max_concurrent,
                latency=latency,
                call_seconds=parse_call_seconds(call_seconds) if call_seconds else None,
                codec=_word("--codec", Codec, codec),
                sample_rate=sample_rate,
                header_style=_word("--header-style", HeaderStyle, header_style),
                framing=_word("--framing", Framing, framing),
                redaction=_word("--redaction", RedactionStyle, redaction),
                comfort_noise_dbfs=comfort_noise,
                pii_share=pii_share,
                pii_access=pii_access,
                clock_skew=clock_skew,
                allow_any_address=allow_any_address,
                announce=_announce,
            )
        )
    except OverflowError:
        raise UsageError(f"--port: found {port}, expected 0 to 65535") from None
    except (ScenarioError, ValueError) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            hint="Choose another --port; 0 takes any free one.",
        ) from None


def _announce(base_url: str) -> None:
    """The address on standard output, for programs; what to do with it on standard error."""
    print(base_url, flush=True)  # noqa: T201
    if sys.stderr.isatty():
        print(  # noqa: T201
            f"The sandbox serves until Ctrl-C. In another terminal:\n"
            f"  POLYAI_API_KEY=sandbox-key exporter run MANIFEST --base-url {base_url}",
            file=sys.stderr,
        )


def _word(flag: str, kind: type[Word], text: str | None) -> Word | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{flag}: found {text!r}, expected one of: {', '.join(kind)}") from None
