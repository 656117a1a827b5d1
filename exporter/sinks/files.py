"""New files of a local archive: a temporary name first, then the final one, then never another."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from exporter.sinks.base import AlreadyExistsError
from exporter.sinks.filesystem import as_ours, printable, translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sinks.filesystem import FileSystem
    from exporter.sinks.folders import Folders


class Files:
    """Opens, names and removes them; blocks, for any thread.

    Plain text and plain system calls: what a small file costs here is what a small file costs.

    Args:
        run_id: marks temporary names.
        mode: permissions of new files.
        system: does it.
        folders: makes the folders.
        check_root: raises where the archive is not what the run began with.
    """

    def __init__(
        self,
        run_id: str,
        *,
        mode: int,
        system: FileSystem,
        folders: Folders,
        check_root: Callable[[], None],
    ) -> None:
        self._run_id = run_id
        self._mode = mode
        self._system = system
        self._folders = folders
        self._check_root = check_root

    def open(self, final: str) -> tuple[int, str]:
        """A new file's descriptor and temporary name; its folder is made where it is missing.

        Raises:
            DestinationError: the archive cannot be written.
        """
        folder, _, name = final.rpartition("/")
        temporary = f"{folder}/.{name}.{self._run_id}.part"
        try:
            self._folders.expect(folder)
            return self._system.create(temporary, self._mode), temporary
        except FileNotFoundError:
            self._check_root()
            self._folders.make(folder)
        except OSError as error:
            raise as_ours(error, temporary) from None
        with translated(temporary):
            return self._system.create(temporary, self._mode), temporary

    def name(self, temporary: str, final: str) -> None:
        """Give a file its name without ever replacing another file.

        Raises:
            AlreadyExistsError: there is one of that name.
            DestinationError: the archive cannot be written.
        """
        try:
            self._system.name_finally(temporary, final)
        except FileExistsError:
            raise AlreadyExistsError(printable(final), _digest(final)) from None
        except OSError as error:
            raise as_ours(error, final) from None

    def remove(self, temporary: str) -> None:
        """Remove what got no name, if it is there."""
        with contextlib.suppress(OSError):
            self._system.unlink(temporary)


def _digest(path: str) -> str:
    with translated(path, verb="read"), open(path, "rb") as file:  # noqa: PTH123 (plain text)
        return hashlib.file_digest(file, "sha256").hexdigest()
