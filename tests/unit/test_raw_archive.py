"""Archives that stand within another one's name space, and the notes that tie them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.archive import check_free
from exporter.errors import ArchiveBusyError, DestinationError
from exporter.model import Direction, Recording, Redaction, mounted, split_mount
from exporter.raw_archive import NOTE_PATH, find_archives, read_note
from exporter.settings import LimitSettings, OutputSettings, Settings
from exporter.sinks.local import LocalSink
from exporter.sinks.mounted import MountedSink, parts_of, shown

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20260101T000000Z-0001"


def local(folder: Path) -> LocalSink:
    return LocalSink(folder, run_id=RUN, dir_mode=0o700, file_mode=0o600)


@pytest.fixture
async def sink(tmp_path: Path) -> MountedSink:
    opened = MountedSink(local(tmp_path / "main"), {"_raw": local(tmp_path / "raw")})
    await opened.prepare()
    return opened


@pytest.mark.parametrize("path", ["", "a/p/x.wav", "_exporter/runs"])
@pytest.mark.parametrize("mount", ["", "_raw", "_raw2"])
def test_a_path_knows_its_archive(mount: str, path: str) -> None:
    """What was put together is taken apart again."""
    assert split_mount(mounted(mount, path)) == (mount, path)


async def test_paths_lead_to_their_archives(sink: MountedSink, tmp_path: Path) -> None:
    """Everything that names a file reaches the one archive, and answers in the other's words."""
    await sink.put("a/p/d/C/x.wav", b"1")
    await sink.put("_raw/a/p/d/C/x.wav", b"22")
    assert (tmp_path / "main/a/p/d/C/x.wav").read_bytes() == b"1"
    assert (tmp_path / "raw/a/p/d/C/x.wav").read_bytes() == b"22"
    await sink.make_durable(["a/p/d/C/x.wav", "_raw/a/p/d/C/x.wav"])
    wanted = ["_raw/a/p/d/C/x.wav", "a/p/d/C/x.wav", "_raw/none.wav", "a/p/d/C/x.wav"]
    assert await sink.sizes(wanted) == [2, 1, None, 1]
    assert await sink.folders("_raw/a") == ["_raw/a/p"]
    assert await sink.folders("") == ["_raw", "a"]
    found = {each.path async for batch in sink.entries() for each in batch}
    assert found == {"a/p/d/C/x.wav", "_raw/a/p/d/C/x.wav"}
    found = {each.path async for batch in sink.entries("_raw/a/p") for each in batch}
    assert found == {"_raw/a/p/d/C/x.wav"}
    aside = await sink.set_aside("_raw/a/p/d/C/x.wav")
    assert aside == f"_raw/a/p/d/C/x.wav.damaged-{RUN}"
    assert shown(sink, aside) == f"{tmp_path}/raw/a/p/d/C/x.wav.damaged-{RUN}"
    assert shown(sink, "a/p/d/C/x.wav") == "a/p/d/C/x.wav"


async def test_sweeping_looks_into_every_archive(sink: MountedSink, tmp_path: Path) -> None:
    """The top and the program's own folder are each archive's; others are those that are named."""
    dead = "20260101T000000Z-0002"
    paths = [
        f"{archive}/{folder}.x.{dead}.part"
        for archive in ("main", "raw")
        for folder in ("", "_exporter/", "a/p/")
    ]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert await sink.sweep({dead}, ["", "_exporter"]) == 4
    assert await sink.sweep({dead}, ["_raw/a/p"]) == 1
    assert [path for path in paths if (tmp_path / path).exists()] == [f"main/a/p/.x.{dead}.part"]
    assert await sink.sweep(None, None) == 1


class Full(LocalSink):
    """A folder on a disk of which nothing is left."""

    async def free_bytes(self) -> int:
        return 0


async def test_a_full_raw_archive_is_named(tmp_path: Path) -> None:
    """Free space counts in each archive, and the message says in which it is missing."""
    full = Full(tmp_path / "raw", run_id=RUN, dir_mode=0o700, file_mode=0o600)
    sink = MountedSink(local(tmp_path / "main"), {"_raw": full})
    await sink.prepare()
    assert await sink.free_bytes() == 0
    assert len(parts_of(sink)) == 2
    settings = Settings(limits=LimitSettings(min_free_bytes=1))
    with pytest.raises(DestinationError, match=f"0 MiB are free at {tmp_path}/raw,"):
        await check_free(sink, settings)


def settings_for(folder: Path, raw_url: str | None) -> Settings:
    return Settings(
        output=OutputSettings.model_validate({"url": str(folder / "main"), "raw_url": raw_url})
    )


async def test_nothing_is_noted_for_one_archive_alone(tmp_path: Path) -> None:
    """Without an archive for raw recordings there is no note, and the sink is the archive's own."""
    opened = await find_archives(settings_for(tmp_path, None), RUN, prepare=True)
    await opened.remember()
    assert isinstance(opened.sink, LocalSink)
    assert await read_note(opened.sink) is None


async def test_runs_that_disagree_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Of two that find new places at the same time, the second notices, and notes nothing."""
    first, second = [
        await find_archives(settings_for(tmp_path, str(tmp_path / name)), RUN, prepare=True)
        for name in ("raw1", "raw2")
    ]
    await first.remember()
    with pytest.raises(ArchiveBusyError, match="another run changed meanwhile"):
        await second.remember()
    note = await read_note(local(tmp_path / "main"))
    assert note
    assert [one.url for one in note.raw_archives] == [str(tmp_path / "raw1")]


async def test_a_crash_between_the_two_notes_does_no_harm(tmp_path: Path) -> None:
    """The raw archive has its identifier already; the next run notes the same."""
    settings = settings_for(tmp_path, str(tmp_path / "raw"))
    await (await find_archives(settings, RUN, prepare=True)).remember()
    theirs = await read_note(local(tmp_path / "raw"))
    (tmp_path / "main" / NOTE_PATH).unlink()
    await (await find_archives(settings, RUN, prepare=True)).remember()
    note = await read_note(local(tmp_path / "main"))
    assert note
    assert theirs
    assert [one.id for one in note.raw_archives] == [theirs.id]
    assert await read_note(local(tmp_path / "raw")) == theirs


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"{", "cannot be read"), (b'{"schema_version": 2}', "was written by a newer exporter")],
)
async def test_a_note_that_cannot_be_read(tmp_path: Path, text: bytes, message: str) -> None:
    """Then nobody knows where raw recordings lie, and the run does not begin."""
    file = tmp_path / "main" / NOTE_PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    with pytest.raises(DestinationError, match=message):
        await find_archives(settings_for(tmp_path, None), RUN)


def recording(redaction: Redaction) -> Recording:
    return Recording("a", "p", "CA1", Direction.USER, redaction)


async def test_the_layout_puts_raw_recordings_elsewhere(tmp_path: Path) -> None:
    """New paths lead to the archive of now; what may lie there already is looked for in all."""
    before = settings_for(tmp_path, str(tmp_path / "raw"))
    await (await find_archives(before, RUN, prepare=True)).remember()
    layout = (await find_archives(settings_for(tmp_path, str(tmp_path / "more")), RUN)).layout
    redacted, raw = recording(Redaction.REDACTED), recording(Redaction.RAW)
    assert layout.path(redacted) == "a/p/undated/CA1/user.redacted.wav"
    assert layout.path(raw) == "_raw2/a/p/undated/CA1/user.raw.wav"
    for one in (redacted, raw):
        assert sorted(layout.partitions(one)) == [
            f"{mount}a/p/undated" for mount in ("_raw/", "_raw2/", "")
        ]
    assert layout.projects(raw)[-1] == "a/p"
    old = "_raw/a/p/2026-01-01/CA1/user.raw.wav"
    assert layout.beside(old, raw) == "_raw2/a/p/2026-01-01/CA1/user.raw.wav"
