"""An archive in an object store: Amazon S3 and what speaks its language, Google's, Azure's.

An object appears whole or not at all, and what the store has confirmed is durable: so there are no
temporary names, and nothing to sweep. Calls block in threads of ours: `obstore`'s own coroutines
touch Python from other threads while the process ends, which aborts it now and then.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from exporter.address import StoreKind
from exporter.errors import DestinationError
from exporter.sinks.base import AlreadyExistsError, ChangedMeanwhileError, Entry
from exporter.sinks.object_hold import PROBE_PATH, ObjectHold, read_holder
from exporter.sinks.object_upload import LARGE, ObjectUpload, PartsWriter, StagedObject
from exporter.sinks.requests import Requests
from exporter.sinks.room import Room
from exporter.sinks.signs_of_life import SignsOfLife
from exporter.sinks.store_client import connect
from exporter.sinks.store_documents import READ_SIZE, Documents, put
from exporter.sinks.store_errors import translated
from exporter.sinks.store_listing import Sizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence

    from obstore import Attributes, GetResult, ObjectMeta

    from exporter.address import StoreAddress
    from exporter.model import Piece
    from exporter.sinks.base import Holder, Known
    from exporter.sinks.store_options import StoreOptions

CHECKSUM: Final = "sha256"  # the metadata that tells a recording's digest
_IN_MEMORY: Final = 48 * 1024 * 1024  # of recordings of 2 MiB and more that are under way
_STAGED: Final = 16  # recordings of up to 2 MiB
_LISTED: Final = 1000  # objects that stores tell of with one request
_CREATES: Final = 3  # tries where what was in the way has gone meanwhile


class ObjectStoreSink:
    """An archive in an object store.

    Args:
        address: the archive's place.
        options: how the store is spoken to.
        run_id: marks what is set aside.

    Raises:
        ConfigError: the options cannot be used for this store.
        DestinationError: credentials or variables of the environment cannot be used.
    """

    def __init__(self, address: StoreAddress, options: StoreOptions, *, run_id: str) -> None:
        self._url = str(address)
        self._options = options
        self._run_id = run_id
        self._signs = SignsOfLife()  # of who holds the archive, if that is somebody else
        self._requests = Requests()
        self._room = Room(_IN_MEMORY)
        self._stores = connect(address, options)
        self._documents = Documents(self._stores, address.kind, self._url, options.retry_timeout)
        self._sizes = Sizes(
            self._requests,
            self._size,
            lambda folder, behind: map(_sizes_of, self._listed(folder, behind)),
            # There the library lists from the beginning, and leaves out what comes before.
            from_anywhere=address.kind is not StoreKind.AZURE,
        )

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return self._url

    async def prepare(self) -> None:
        """Prove that the bucket can be written, and that it keeps to conditions."""
        await self._requests.make(self._prepare)

    async def free_bytes(self) -> None:
        """None: stores have no end."""

    async def hold(self, holder: Holder) -> ObjectHold:
        """By an object that is written under conditions."""
        hold = ObjectHold(self._documents, holder)
        await self._requests.make(hold.take)
        return hold

    async def holder(self) -> Holder | None:
        """What the holder's object says."""
        return await self._requests.make(read_holder, self._documents, self._signs)

    @property
    def commits_at_once(self) -> int:
        """Each by itself, and in memory until then."""
        return _STAGED

    async def stage(self, path: str, *parts: Piece) -> StagedObject:
        """Nothing is asked of the store yet."""
        data = b"".join(parts)
        return StagedObject(data, lambda: self.put(path, data))

    async def put(self, path: str, data: bytes) -> str:
        """One conditional request."""
        return await self._requests.publish(self._put, path, data)

    async def begin(self, path: str) -> ObjectUpload:
        """Nothing is asked of the store yet."""
        return ObjectUpload(
            self._requests,
            self._room,
            create=lambda pieces, sha256: self._create(path, pieces, sha256),
            # Attributes are told before the parts are, so the digest cannot be among them.
            open_parts=lambda: self._parts(path),
            check_free=lambda: self._check_free(path),
        )

    async def set_aside(self, path: str) -> str:
        """Copied to `….damaged-<run id>`, then removed."""
        aside = f"{path}.damaged-{self._run_id}"

        def move() -> None:
            with translated(self._documents.name(path), missing_is_fine=True):
                self._stores.documents.copy(path, aside)  # silent until the store has done it
                self._stores.reading.delete(path)

        await self._requests.make(move)
        self._sizes.forget()
        return aside

    async def make_durable(self, paths: Iterable[str]) -> None:
        """What a store has confirmed is durable."""

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """By listing folders, where that takes fewer requests."""
        return await self._sizes.of(paths)

    async def replace(
        self, path: str, pieces: AsyncIterator[bytes], *, known: Known | None = None
    ) -> str:
        """One conditional request, for which the whole document is in memory; or parts."""
        waiting: list[bytes] = []
        parts: PartsWriter | None = None
        try:
            async for piece in pieces:
                waiting.append(piece)
                if known is None and sum(map(len, waiting)) > LARGE:
                    parts = parts or self._document_in_parts(path)
                    await self._requests.make(parts.write, b"".join(waiting))
                    waiting.clear()
            if parts is None:
                return await self._requests.make(self._replace, path, waiting, known)
            await self._requests.make(parts.write, b"".join(waiting))
            await self._requests.make(parts.finish)
        finally:
            if parts is not None:
                await self._requests.make(parts.abort)
        return await self.tag(path) or ""

    async def tag(self, path: str) -> str | None:
        """The object's ETag, or its generation."""
        return await self._requests.make(self._documents.tag, path)

    async def document(self, path: str) -> tuple[str, AsyncIterator[bytes]]:
        """One request for both."""
        found = await self._requests.make(self._opened, path)
        return self._documents.tag_of(found.meta), self._read(path, found)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Pieces of about 1 MiB."""
        async for piece in self._read(path, await self._requests.make(self._opened, path)):
            yield piece

    async def feed(self, path: str, into: Callable[[bytes], None]) -> None:
        """One thread hop for the whole object."""

        def feed() -> None:
            for piece in self._pieces(path, self._opened(path)):
                into(piece)

        await self._requests.make(feed)

    async def checksum(self, path: str) -> str | None:
        """What was noted with the object when it was written."""

        def checksum() -> str | None:
            with translated(self._documents.name(path), verb="read", missing_is_fine=True):
                found = self._stores.reading.get(path, options={"head": True})
            return found.attributes.get(CHECKSUM)

        return await self._requests.make(checksum)

    async def folders(self, path: str) -> list[str]:
        """One listing."""

        def folders() -> list[str]:
            with translated(self._documents.name(path), verb="list"):
                found = self._stores.reading.list_with_delimiter(path or None)
            return sorted(found["common_prefixes"])

        return await self._requests.make(folders)

    async def entries(self, path: str = "") -> AsyncIterator[list[Entry]]:
        """A thousand with each request."""
        pages = self._listed(path)
        while (page := await self._requests.make(next, pages, None)) is not None:
            yield [Entry(one["path"], one["size"], one["last_modified"]) for one in page]

    async def sweep(
        self,
        runs: Collection[str] | None,  # noqa: ARG002 (as every sink)
        folders: Iterable[str] | None,  # noqa: ARG002
    ) -> int:
        """None: what is half sent has no name; the bucket's lifecycle rule removes its parts."""
        return 0

    def exists(self) -> bool:
        """Whether anything is there; blocks.

        Raises:
            DestinationError: the store cannot be read.
        """
        return next(self._listed(""), None) is not None

    def _prepare(self) -> None:
        documents = self._documents
        with contextlib.suppress(ChangedMeanwhileError):
            documents.create(PROBE_PATH, _token())
        try:
            documents.create(PROBE_PATH, _token())
        except ChangedMeanwhileError:
            pass
        else:
            raise self._ignores_conditions("If-None-Match")
        tag = documents.tag(PROBE_PATH) or ""
        with contextlib.suppress(ChangedMeanwhileError):  # another run does the same just now
            documents.update(PROBE_PATH, _token(), tag)
        try:
            documents.update(PROBE_PATH, _token(), tag)
        except ChangedMeanwhileError:
            pass
        else:
            raise self._ignores_conditions("If-Match")

    def _ignores_conditions(self, condition: str) -> DestinationError:
        return DestinationError(
            f"the store of {self._url} ignores {condition}",
            hint="Nothing would keep runs from overwriting each other's files there: use a store"
            " that knows conditional writes.",
        )

    def _put(self, path: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._create(path, [data], digest)
        return digest

    def _create(self, path: str, pieces: list[bytes], sha256: str) -> None:
        for _ in range(_CREATES):
            with translated(self._documents.name(path)):
                written = put(
                    self._stores.recordings,
                    path,
                    pieces,
                    mode="create",
                    attributes=self._attributes() | {CHECKSUM: sha256},
                    tags=dict(self._options.tags),
                    retry_timeout=self._options.retry_timeout,
                )
            self._sizes.forget()
            if written is not None:
                return
            self._check_free(path)
        raise DestinationError(f"{self._documents.name(path)} comes and goes while it is written")

    def _check_free(self, path: str) -> None:
        self._sizes.forget()
        if self._documents.head(path) is None:
            return
        digest = hashlib.sha256()
        with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
            for piece in self._pieces(path, self._opened(path)):
                digest.update(piece)
            raise AlreadyExistsError(self._documents.name(path), digest.hexdigest())

    def _attributes(self) -> Attributes:
        attributes: Attributes = {"Content-Type": "audio/wav"}
        if self._options.storage_class is not None:
            attributes["Storage-Class"] = self._options.storage_class
        return attributes

    def _parts(self, path: str) -> PartsWriter:
        return PartsWriter(
            self._stores.recordings,
            path,
            self._documents.name(path),
            self._attributes(),
            dict(self._options.tags),
        )

    def _document_in_parts(self, path: str) -> PartsWriter:
        attributes: Attributes = {"Content-Type": "application/json"}
        name = self._documents.name(path)
        return PartsWriter(self._stores.documents, path, name, attributes, {})

    def _replace(self, path: str, pieces: list[bytes], known: Known | None) -> str:
        if known is None:
            return self._documents.overwrite(path, pieces)
        if known.tag is None:
            return self._documents.create(path, pieces)
        return self._documents.update(path, pieces, known.tag)

    def _size(self, path: str) -> int | None:
        meta = self._documents.head(path)
        return meta["size"] if meta else None

    def _opened(self, path: str) -> GetResult:
        """An object whose content has not been asked for yet; blocks."""
        with translated(self._documents.name(path), verb="read", missing_is_fine=True):
            return self._stores.reading.get(path)

    async def _read(self, path: str, found: GetResult) -> AsyncIterator[bytes]:
        pieces = self._pieces(path, found)
        while (piece := await self._requests.make(next, pieces, None)) is not None:
            yield piece

    def _pieces(self, path: str, found: GetResult) -> Iterator[bytes]:
        """An object's content; blocks. Whoever takes the pieces may raise what they like."""
        name = self._documents.name(path)
        with translated(name, verb="read", missing_is_fine=True):
            stream = iter(found.stream(min_chunk_size=READ_SIZE))
        while True:
            with translated(name, verb="read", missing_is_fine=True):
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def _listed(self, path: str, behind: str | None = None) -> Iterator[Sequence[ObjectMeta]]:
        """Pages of all that is in a folder and below it, behind some path; blocks."""
        with translated(self._documents.name(path), verb="list"):
            pages = self._stores.reading.list(path or None, offset=behind, chunk_size=_LISTED)
        while True:
            with translated(self._documents.name(path), verb="list"):
                page = next(pages, None)
            if page is None:
                return
            yield page


def _sizes_of(page: Sequence[ObjectMeta]) -> dict[str, int]:
    return {one["path"]: one["size"] for one in page}


def _token() -> list[bytes]:
    """A content that nothing had before: ETags of equal contents are equal."""
    return [secrets.token_hex(8).encode()]
