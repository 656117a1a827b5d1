"""What is wrong with a manifest or a config: as many mistakes at once as a person wants to read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from exporter.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 10  # are told


class Mistakes:
    """Gathers errors that do not keep a reader from understanding the rest."""

    def __init__(self) -> None:
        self._found: list[UsageError] = []

    def add(self, error: UsageError) -> None:
        """One more, after which reading goes on.

        Raises:
            UsageError: it is one too many.
        """
        self._found.append(error)
        if len(self._found) > MOST:
            raise error

    @contextmanager
    def told(self) -> Iterator[None]:
        """What was gathered is told together with an error that ends the reading.

        Raises:
            UsageError: the first mistake, with the others in `also`.
        """
        try:
            yield
        except UsageError as error:
            if error not in self._found:
                self._found.append(error)
            if (first := self._all()) is not error:
                raise first from error
            raise

    def check(self) -> None:
        """Go on only if nothing was wrong until here.

        Raises:
            UsageError: the first mistake, with the others in `also`.
        """
        if self._found:
            raise self._all()

    def _all(self) -> UsageError:
        first, *others = self._found[:MOST]
        first.also = tuple(others)
        first.has_more = len(self._found) > MOST
        return first
