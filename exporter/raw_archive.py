"""Where raw recordings lie, if not in the archive itself: finds these archives, and remembers them.

Both sides keep a note, `_exporter/archives.json`. The main archive's tells where its raw recordings
go and have ever gone; the other's says whose they are, and has an identifier, by which it is known
again wherever it is moved to, and by which an empty mount point is known not to be it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from exporter.archive import canonical, layout_of, open_sink, sink_at
from exporter.errors import ArchiveBusyError, ConfigError, DestinationError
from exporter.layout import RESERVED
from exporter.model import RAW_MOUNT
from exporter.sinks.mounted import MountedSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.layout import Layout
    from exporter.settings import Settings
    from exporter.sinks.base import Sink

NOTE_PATH: Final = f"{RESERVED}/archives.json"
_SCHEMA_VERSION: Final = 1

_log = structlog.get_logger()


class RawArchive(msgspec.Struct, frozen=True):
    """An archive for raw recordings, as the main one knows it.

    Attributes:
        mount: what its paths begin with in the main archive's ledger.
        id: what it says of itself.
        url: where it was last.
    """

    mount: str
    id: str
    url: str


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an archive notes of those that it belongs together with.

    Attributes:
        id: of an archive for raw recordings.
        holds_raw_of: the main archive of such a one.
        raw_goes_to: mount of the archive that raw recordings go to; empty: into this one.
        raw_archives: all that raw recordings ever went to.
    """

    schema_version: int = 0
    id: str = ""
    holds_raw_of: str = ""
    raw_goes_to: str = ""
    raw_archives: tuple[RawArchive, ...] = ()


@dataclass(frozen=True, slots=True)
class Archives:
    """An archive, and those that its raw recordings lie in.

    Attributes:
        sink: all of them as one.
        layout: where recordings go, and may lie.
        settings: as they were given; `raw_url` says where raw recordings go.
    """

    sink: Sink
    layout: Layout
    settings: Settings
    _main: Sink
    _raw: Sink | None
    _found: Note | None
    _wanted: Note

    async def remember(self) -> None:
        """Note where raw recordings go, if that is news; call it while holding the archives.

        Raises:
            ArchiveBusyError: another run noted something else meanwhile.
            DestinationError: a note cannot be written.
        """
        if await read_note(self._main) != self._found:
            raise ArchiveBusyError(
                f"another run changed meanwhile where raw recordings of {self._main.url} go",
                hint="Run again.",
            )
        if self._wanted == (self._found or Note()):
            return
        # The other side first: an archive that is known has its identifier.
        if self._raw is not None:
            (current,) = (
                one for one in self._wanted.raw_archives if one.mount == self._wanted.raw_goes_to
            )
            theirs = await read_note(self._raw) or Note()
            await _write(
                self._raw,
                msgspec.structs.replace(theirs, id=current.id, holds_raw_of=_place(self._main)),
            )
            _log.info("archive.raw_goes_to", archive=self._main.url, raw_archive=current.url)
        await _write(self._main, self._wanted)


async def find_archives(settings: Settings, run_id: str, *, prepare: bool = False) -> Archives:
    """Open the archive and those of its raw recordings.

    Args:
        settings: name the archive, and perhaps where raw recordings go.
        run_id: marks temporary files.
        prepare: create them where needed, and prove that they can be written.

    Raises:
        ConfigError: raw recordings cannot go where the settings want them.
        DestinationError: an archive cannot be read or written, or is not the one that it was.
    """
    main = open_sink(settings, run_id)
    if prepare:
        await main.prepare()
    found = await read_note(main)
    note, sinks = await _raw_archives(settings, run_id, found or Note())
    if prepare:
        for sink in sinks.values():
            await sink.prepare()
    raw = sinks.get(note.raw_goes_to)
    layout = replace(layout_of(settings), raw_mount=note.raw_goes_to, mounts=tuple(sinks))
    return Archives(
        MountedSink(main, sinks) if sinks else main,
        layout,
        _with_raw_url(settings, raw.url if raw else None),
        main,
        raw,
        found,
        note,
    )


async def _raw_archives(
    settings: Settings, run_id: str, note: Note
) -> tuple[Note, dict[str, Sink]]:
    """The note as the settings want it, and the archives that it names, by their mounts."""
    sinks: dict[str, Sink] = {}

    async def opened(url: str) -> tuple[Sink, Note]:
        output = settings.output
        sink = sink_at(
            url,
            run_id=run_id,
            dir_mode=output.raw_dir_mode or output.dir_mode,
            file_mode=output.raw_file_mode or output.file_mode,
            store=settings.object_store,
        )
        return sink, await read_note(sink) or Note()

    raw_url = settings.output.raw_url
    if raw_url is not None:
        if canonical(raw_url) == canonical(settings.output.url):
            note = msgspec.structs.replace(note, raw_goes_to="")
        else:
            _refuse_nested(settings.output.url, raw_url)
            sink, theirs = await opened(raw_url)
            note = _with_current(note, canonical(raw_url), theirs)
            sinks[note.raw_goes_to] = sink
    for one in note.raw_archives:
        if one.mount not in sinks:
            sinks[one.mount], theirs = await opened(one.url)
            if theirs.id != one.id:
                raise _lost(one)
    return note, sinks


async def read_note(sink: Sink) -> Note | None:
    """What an archive notes; None where it notes nothing.

    Raises:
        DestinationError: the note cannot be read.
    """
    try:
        text = b"".join([piece async for piece in sink.read(NOTE_PATH)])
    except FileNotFoundError:
        return None
    try:
        note = msgspec.json.decode(text, type=Note)
    except msgspec.MsgspecError as error:
        raise DestinationError(
            f"{sink.url}/{NOTE_PATH} cannot be read: {error}",
            hint="It says where raw recordings lie: restore it from a backup.",
        ) from None
    if note.schema_version > _SCHEMA_VERSION:
        raise DestinationError(
            f"{sink.url}/{NOTE_PATH} was written by a newer exporter",
            hint="Upgrade exporter, or use another archive.",
        )
    return note


async def _write(sink: Sink, note: Note) -> None:
    whole = msgspec.structs.replace(note, schema_version=_SCHEMA_VERSION)

    async def pieces() -> AsyncIterator[bytes]:
        yield msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"

    await sink.replace(NOTE_PATH, pieces())


def _with_current(note: Note, url: str, theirs: Note) -> Note:
    """The note, once raw recordings go to the archive at `url`, which notes `theirs`."""
    known = {one.id: one for one in note.raw_archives}
    if theirs.id in known:  # perhaps at another place than before
        current = msgspec.structs.replace(known[theirs.id], url=url)
    else:
        for one in note.raw_archives:
            if one.url == url:
                raise _lost(one)
        count = len(note.raw_archives)
        mount = f"{RAW_MOUNT}{count + 1 if count else ''}"
        current = RawArchive(mount, theirs.id or uuid.uuid4().hex, url)
    others = (one for one in note.raw_archives if one.mount != current.mount)
    archives = sorted((*others, current), key=lambda one: (len(one.mount), one.mount))
    return msgspec.structs.replace(note, raw_goes_to=current.mount, raw_archives=tuple(archives))


def _lost(one: RawArchive) -> DestinationError:
    return DestinationError(
        f"raw recordings of this archive lie in {one.url}, and what is there now is not that"
        f" archive: {NOTE_PATH} is missing there, or another one's",
        hint="Check that the file system is mounted. If the archive was moved, name its new place"
        " as output.raw_url: it is known by that file.",
    )


def _refuse_nested(url: str, raw_url: str) -> None:
    main, raw = (f"{canonical(each)}/" for each in (url, raw_url))
    if main.startswith(raw) or raw.startswith(main):
        raise ConfigError(
            f"output.raw_url: found {raw_url!r}, which lies within output.url ({url!r}) or around"
            " it, expected an archive of its own",
            hint="Name a folder beside it. For one archive for everything, leave raw_url out.",
        )


def _place(sink: Sink) -> str:
    return canonical(sink.url)


def _with_raw_url(settings: Settings, raw_url: str | None) -> Settings:
    output = settings.output.model_copy(update={"raw_url": raw_url})
    return settings.model_copy(update={"output": output})
