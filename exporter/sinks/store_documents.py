"""Single objects, written under conditions; blocks, for any thread.

A store may have done what it was asked for when the connection broke before it could say so. Then
the request is made again, and its condition tells: what is there now is ours, or somebody else's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from obstore import exceptions
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from exporter.address import StoreKind
from exporter.sinks.base import ChangedMeanwhileError
from exporter.sinks.store_client import SIGN_RETRIES
from exporter.sinks.store_errors import (
    FOREIGN,
    is_condition,
    is_conflict,
    is_missing,
    is_no_answer,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from obstore import Attributes, ObjectMeta, PutMode, PutResult, UpdateVersion

    from exporter.sinks.store_client import Store, Stores

READ_SIZE: Final = 1024 * 1024
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read.

    Attributes:
        content: all of it.
        tag: changes whenever the document does.
        modified: when it was last written, by the store's clock.
    """

    content: bytes
    tag: str
    modified: datetime


class Documents:
    """Objects that are read and written whole.

    Args:
        stores: where they are.
        kind: of the store.
        url: of the archive, for messages.
        retry_timeout: how long to try again where the store did not answer.
    """

    def __init__(self, stores: Stores, kind: StoreKind, url: str, retry_timeout: timedelta) -> None:
        self._stores = stores
        self._kind = kind
        self._url = url
        self._retry_timeout = retry_timeout
        self._is_hurried = False

    def hurried(self) -> Documents:
        """The same for signs of life, which are given up after some seconds."""
        timeout = min(SIGN_RETRIES, self._retry_timeout)
        twin = Documents(self._stores, self._kind, self._url, timeout)
        twin._is_hurried = True
        return twin

    @property
    def _reading(self) -> Store:
        return self._stores.signs if self._is_hurried else self._stores.reading

    @property
    def _writing(self) -> Store:
        return self._stores.signs if self._is_hurried else self._stores.documents

    def name(self, path: str) -> str:
        """An object or a folder, as people name it."""
        return f"{self._url}/{path}" if path else self._url

    def head(self, path: str) -> ObjectMeta | None:
        """What the store knows of an object; None where there is none.

        Raises:
            DestinationError: the store cannot be read.
        """
        with (
            contextlib.suppress(FileNotFoundError),
            translated(self.name(path), verb="read", missing_is_fine=True),
        ):
            return self._reading.head(path)
        return None

    def tag(self, path: str) -> str | None:
        """Changes whenever the object does; None where there is none."""
        meta = self.head(path)
        return self.tag_of(meta) if meta else None

    def tag_of(self, meta: ObjectMeta | PutResult) -> str:
        """Google's store compares generations, the others ETags."""
        tag = meta["version"] if self._kind is StoreKind.GOOGLE else meta["e_tag"]
        return tag or ""

    def read(self, path: str) -> Document | None:
        """A small document; None where there is none.

        Raises:
            DestinationError: the store cannot be read.
        """
        with (
            contextlib.suppress(FileNotFoundError),
            translated(self.name(path), verb="read", missing_is_fine=True),
        ):
            found = self._reading.get(path)
            content = bytes(found.bytes())
            return Document(content, self.tag_of(found.meta), found.meta["last_modified"])
        return None

    def create(self, path: str, pieces: Sequence[bytes]) -> str:
        """Write what is not there yet; returns its tag.

        Raises:
            ChangedMeanwhileError: it is there.
            DestinationError: the store cannot be written.
        """
        return self._put(path, pieces, "create")

    def update(self, path: str, pieces: Sequence[bytes], tag: str) -> str:
        """Write over the document that has this tag; returns the new one's.

        Raises:
            ChangedMeanwhileError: another one is there, or none.
            DestinationError: the store cannot be written.
        """
        version: UpdateVersion = (
            {"version": tag} if self._kind is StoreKind.GOOGLE else {"e_tag": tag}
        )
        return self._put(path, pieces, version)

    def overwrite(self, path: str, pieces: Sequence[bytes]) -> str:
        """Write, whatever is there; returns the tag.

        Raises:
            DestinationError: the store cannot be written.
        """
        return self._put(path, pieces, "overwrite")

    def _put(self, path: str, pieces: Sequence[bytes], mode: PutMode) -> str:
        with translated(self.name(path)):
            written = put(
                self._writing,
                path,
                pieces,
                mode=mode,
                attributes={"Content-Type": _JSON},
                retry_timeout=self._retry_timeout,
            )
        if written is None:
            raise ChangedMeanwhileError(path)
        return self.tag_of(written)


def put(
    store: Store,
    path: str,
    pieces: Sequence[bytes],
    *,
    mode: PutMode,
    attributes: Attributes,
    retry_timeout: timedelta,
    tags: dict[str, str] | None = None,
) -> PutResult | None:
    """One object in one request; None where the condition was not met.

    Raises:
        Exception: one of `FOREIGN`.
    """

    def once() -> PutResult | None:
        more: dict[str, Any] = {"tags": tags} if tags else {}
        try:
            # Not joined: so the pieces are in memory once only.
            return store.put(
                path, list(pieces), mode=mode, attributes=attributes, use_multipart=False, **more
            )
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            if mode == "overwrite" or not is_condition(error):
                raise
            return None
        except FOREIGN as error:
            if isinstance(mode, dict) and is_missing(error):
                return None
            raise

    return answered(once, retry_timeout)


def answered(request: Callable[[], PutResult | None], timeout: timedelta) -> PutResult | None:
    """Make a request again which `obstore` does not, though nothing speaks against it.

    Its answer got lost, or somebody else was just writing the same object.

    Raises:
        Exception: one of `FOREIGN`.
    """
    tries = Retrying(
        retry=retry_if_exception(lambda error: is_no_answer(error) or is_conflict(error)),
        stop=stop_after_delay(timeout),
        wait=wait_random_exponential(0.2, max=10),
        reraise=True,
    )
    return tries(request)
