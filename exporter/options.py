"""The options that several commands share: one name, one meaning, one line of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Manifest = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="What to export; - reads standard input.")
]
OptionalManifest = Annotated[
    str | None,
    typer.Argument(metavar="[MANIFEST]", help="What is to be exported; - reads standard input."),
]
ManifestFormat = Annotated[
    str | None,
    typer.Option(metavar="yaml|jsonl|csv", help="Format of MANIFEST, else by its file ending."),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="How to export (YAML).")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="ARCHIVE",
        help="The archive: a folder, or s3://…, gs://…, az://….",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The API's address, instead of a region's.")
]
Surface = Annotated[
    str | None,
    typer.Option(metavar="platform-v3|agents-v1", help="Which of the vendor's two API families."),
]
Region = Annotated[
    str | None,
    typer.Option(metavar="R", help="us-1, uk-1, euw-1; for agents-v1 us, uk, eu, studio."),
]
Rate = Annotated[float | None, typer.Option(metavar="N", help="Requests a second, at most.")]
Directions = Annotated[
    list[str] | None,
    typer.Option(metavar="LIST", help="combined, user, agent: where the manifest does not say."),
]
RedactionList = Annotated[
    list[str] | None,
    typer.Option(metavar="LIST", help="redacted, raw: where the manifest does not say."),
]
NeverRaw = Annotated[
    bool, typer.Option("--never-raw", help="Refuse a manifest that asks for raw recordings.")
]
Timezone = Annotated[
    str | None, typer.Option(metavar="TZ", help="Time zone of the dates in paths (IANA name).")
]
StateDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep the ledger here instead of in the archive."),
]
Account = Annotated[
    str | None, typer.Option(metavar="A", help="The account, as the API writes it.")
]
Project = Annotated[
    str | None, typer.Option(metavar="P", help="The project, as the API writes it.")
]
Conversation = Annotated[
    str | None, typer.Option(metavar="ID", help="Compare raw and redacted audio of this one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]
ShowProgress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Default: on a terminal.")
]
LogFormat = Annotated[
    str | None, typer.Option(metavar="console|json", help="Logs on standard error.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="debug|info|warning|error", help="The least to be logged.")
]
