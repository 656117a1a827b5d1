"""`exporter demo`: the whole job against the sandbox, with nothing to prepare."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Console
from rich.tree import Tree

from exporter import log
from exporter.bars import ProgressBar
from exporter.checking import DIFFERENT, check
from exporter.credentials import Credentials
from exporter.errors import UsageError
from exporter.export import export
from exporter.findings import Findings
from exporter.job import Job
from exporter.loader import open_manifest
from exporter.progress import print_report, size
from exporter.sandbox import AudioSettings, Sandbox, World
from exporter.settings import DEFAULT_KEY_VARIABLE, load_settings
from exporter.spool import Spool
from exporter.stopping import Stop
from exporter.verify import Scope

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.differences import Tally
    from exporter.job import Report
    from exporter.settings import Settings

_KEY = "sandbox-key"
_ANOTHER = "Choose another folder with --folder."

_MANIFEST = """\
# What to export. Made by `exporter demo`; yours will look the same.
version: 1
defaults:
  account_id: acme
  directions: [combined, user, agent]
  redaction: [redacted, raw]
conversations:
"""
_CALLS = (
    ("support", "2026-05-20T09:14:03Z"),
    ("support", "2026-05-20T16:40:51Z"),
    ("support", "2026-05-21T08:02:17Z"),
    ("support", "2026-05-21T22:14:03Z"),
    ("support", "2026-05-22T06:59:30+02:00"),
    ("bookings", "2026-05-20T11:30:00Z"),
    ("bookings", "2026-05-21T11:31:12Z"),
    ("bookings", "2026-05-21T19:05:44Z"),
    ("bookings", "2026-05-22T12:00:09Z"),
    ("billing", "2026-05-21T10:20:30Z"),
    ("billing", "2026-05-22T10:20:31Z"),
    ("billing", "2026-05-22T17:45:00-05:00"),
)


def demo(folder: Path) -> int:
    """Export, export again, verify; returns the exit code.

    Raises:
        ExporterError: the folder cannot be used.
    """
    manifest = folder / "manifest.yaml"
    try:
        if folder.exists() and not manifest.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} holds something else than a demo", hint=_ANOTHER)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        manifest.write_text(_manifest())
    except OSError as error:
        raise UsageError(f"cannot work in {folder}: {error.strerror}", hint=_ANOTHER) from None
    log.configure(json=False, level="warning", redactor=log.Redactor([_KEY]))
    return asyncio.run(_demo(folder / "archive", manifest))


def _manifest() -> str:
    entries = [
        f"  - {{project_id: {project}, id: CA{position:04}, started_at: {started_at}}}\n"
        for position, (project, started_at) in enumerate(_CALLS, start=1)
    ]
    return _MANIFEST + "".join(entries)


async def _demo(archive: Path, manifest: Path) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    world = World(audio=AudioSettings(seconds=(15, 180)))
    async with Sandbox(world=world) as sandbox:
        console.print(f"sandbox: an imitation of the API at {sandbox.base_url}")
        settings = load_settings(
            manifest_config=None,
            environ={
                "EXPORTER_API__BASE_URL": sandbox.base_url,
                "EXPORTER_OUTPUT__URL": str(archive),
                "EXPORTER_LIMITS__MIN_FREE_BYTES": "100MiB",
            },
        )
        console.print(f"manifest: {manifest} ({len(_CALLS)} conversations, all six variants)\n")
        with ProgressBar() as bar:
            report = await _export(manifest, settings, bar)
        print_report(report)
        console.print("\nThe same again: what is archived is skipped.")
        asked_before = len(sandbox.requests)
        again = await _export(manifest, settings, None)
        console.print(
            f"{again.summary.skipped} skipped, {again.summary.exported} exported,"
            f" {len(sandbox.requests) - asked_before} requests\n"
        )
    tally = await _verify(archive)
    console.print(_tree(archive))
    console.print(
        f"\n{tally.ok} files read back as recorded, {tally.differences} differ"
        f" (exporter verify {archive})"
    )
    console.print(f"recordings: {archive}\nresults:    {report.results_path}", markup=False)
    return max(report.run.exit_code, again.run.exit_code, DIFFERENT if tally.differences else 0)


async def _export(manifest: Path, settings: Settings, bar: ProgressBar | None) -> Report:
    with open_manifest(str(manifest)) as opened, Spool() as spool:
        spool.fill(opened.conversations())
        job = Job(
            spool=spool,
            manifest_path=opened.source,
            manifest_sha256=opened.sha256,
            settings=settings,
            credentials=Credentials(settings.credentials, {DEFAULT_KEY_VARIABLE: _KEY}),
        )
        return await export(job, Stop(), bar)


async def _verify(archive: Path) -> Tally:
    """Read everything back, as `exporter verify` does."""
    findings = Findings()
    try:
        await check(str(archive), findings, Scope())
        return findings.tally()
    finally:
        findings.close()


def _tree(archive: Path) -> Tree:
    """Folders of the archive with what is in them."""
    tree = Tree(str(archive))
    for account in sorted(archive.iterdir()):
        branch = tree.add(account.name)
        for project in sorted(account.iterdir()):
            if not project.is_dir():
                branch.add(project.name)
                continue
            twig = branch.add(project.name)
            for date in sorted(project.iterdir()):
                sounds = sorted(date.rglob("*.wav"))
                total = sum(sound.stat().st_size for sound in sounds)
                about = f"  {len(sounds)} recordings, {size(total)}" if sounds else ""
                twig.add(f"{date.name}{about}")
    return tree
