"""The commands for trying things out, without an account: `sandbox`, `demo`. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.options import number, reported, whole_number


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="<int>", parser=whole_number, help="Port to listen at; 0: any free one."
        ),
    ] = 8765,
    scenario: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Faults, limits and keys (YAML).")
    ] = None,
    requests_per_second: Annotated[
        float | None,
        typer.Option(parser=number, metavar="N", help="Of each key; more is answered with 429."),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            parser=whole_number, metavar="N", help="Requests at once before the rate counts."
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="Requests under way; more get 429."),
    ] = None,
    latency: Annotated[
        float | None, typer.Option(parser=number, metavar="SECONDS", help="Before any answer.")
    ] = None,
    call_seconds: Annotated[
        str | None, typer.Option(metavar="MIN-MAX", help="How long calls last.")
    ] = None,
    codec: Annotated[str | None, typer.Option(metavar="pcm|mulaw|alaw")] = None,
    sample_rate: Annotated[int | None, typer.Option(parser=whole_number, metavar="HZ")] = None,
    header_style: Annotated[
        str | None, typer.Option(metavar="STYLE", help="normal, streamed, extensible, …")
    ] = None,
    framing: Annotated[
        str | None, typer.Option(metavar="length|chunked|close", help="How a body's end is told.")
    ] = None,
    redaction: Annotated[
        str | None,
        typer.Option(
            metavar="silence|comfort-noise|shorten", help="What stands for private turns."
        ),
    ] = None,
    comfort_noise: Annotated[
        float | None, typer.Option(parser=number, metavar="DBFS", help="Level of comfort noise.")
    ] = None,
    pii_share: Annotated[
        float | None,
        typer.Option(
            parser=number, metavar="SHARE", help="How many calls of 1 have private turns."
        ),
    ] = None,
    no_pii: Annotated[
        bool, typer.Option("--no-pii", help="No key has PII access: raw is silently redacted.")
    ] = False,
    clock_skew: Annotated[
        float,
        typer.Option(parser=number, metavar="SECONDS", help="The server's clock is so much fast."),
    ] = 0.0,
    allow_any_address: Annotated[
        bool, typer.Option("--allow-any-address", help="Listen where other machines can connect.")
    ] = False,
) -> None:
    """Serve a local imitation of the API, with faults on request, until interrupted."""
    from exporter import rehearsal

    with reported():
        rehearsal.sandbox(
            host=host,
            port=port,
            scenario=scenario,
            requests_per_second=requests_per_second,
            burst=burst,
            max_concurrent=max_concurrent,
            latency=latency,
            call_seconds=call_seconds,
            codec=codec,
            sample_rate=sample_rate,
            header_style=header_style,
            framing=framing,
            redaction=redaction,
            comfort_noise=comfort_noise,
            pii_share=pii_share,
            pii_access=not no_pii,
            clock_skew=clock_skew,
            allow_any_address=allow_any_address,
        )


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", "-o", metavar="FOLDER", help="Where to work.")
    ] = Path("demo-archive"),
) -> None:
    """Start the sandbox, export a dozen conversations from it, verify them, say where to look."""
    from exporter import demo as demonstration

    with reported():
        exit_code = demonstration.demo(folder)
    raise typer.Exit(exit_code)
