"""Which API key goes with which project. Keys live here and in the request header, nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.settings import CredentialSettings

# Visible ASCII: what may stand in an HTTP header without being misread.
_MAX_KEY = 4096
_KEY = re.compile(rf"[\x21-\x7e]{{1,{_MAX_KEY}}}")
_QUOTES = "\"'`"
_KEY_HINT = "It must be the key alone, without spaces, quotes or line breaks inside."


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key and the name under which people know it.

    Attributes:
        name: where the key came from, such as `POLYAI_API_KEY`; for messages.
        key: the secret; left out of `repr`.
    """

    name: str
    key: str = field(repr=False)


class Credentials:
    """Finds the credential of a project; reads each key once, when it is first needed."""

    def __init__(
        self, entries: Sequence[CredentialSettings], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._entries = entries
        self._environ = environ
        self._found: dict[tuple[str, str], Credential] = {}
        self._read: dict[int, Credential] = {}

    def of(self, account_id: str, project_id: str) -> Credential:
        """The credential for a project: the first entry that matches.

        Raises:
            ConfigError: no entry matches, or the key cannot be read.
        """
        project = account_id, project_id
        if project not in self._found:
            self._found[project] = self._look_up(account_id, project_id)
        return self._found[project]

    def covers(self, project: tuple[str, str]) -> bool:
        """Whether there is a key for an (account, project)."""
        try:
            self.of(*project)
        except ConfigError:
            return False
        return True

    def readable(self) -> list[Credential]:
        """Every credential that can be read, whatever it is for: no log may show its key."""
        found = []
        for position, entry in enumerate(self._entries):
            with contextlib.suppress(ConfigError):
                if position not in self._read:
                    self._read[position] = self._load(entry, "any project")
                found.append(self._read[position])
        return found

    def require(self, projects: Iterable[tuple[str, str]]) -> list[Credential]:
        """The credentials of all these projects, so that a missing key is known beforehand."""
        return [self.of(*project) for project in projects]

    def _look_up(self, account_id: str, project_id: str) -> Credential:
        for position, entry in enumerate(self._entries):
            if entry.account_id in (None, account_id) and entry.project_id in (None, project_id):
                if position not in self._read:
                    self._read[position] = self._load(entry, f"{account_id}/{project_id}")
                return self._read[position]
        raise ConfigError(
            f"no entry of `credentials` matches {account_id}/{project_id}",
            hint="Add one with this account_id and project_id, or one without them for all.",
        )

    def _load(self, entry: CredentialSettings, needed_for: str) -> Credential:
        if entry.api_key_env is not None:
            name = entry.api_key_env
            text = self._environ.get(name)
            if text is None:
                raise ConfigError(
                    f"no API key for {needed_for}: the environment variable {name} is not set",
                    hint=f"export {name}=…, or name another variable or a file in `credentials`.",
                )
        else:
            name = str(entry.api_key_file)
            text = _read_key_file(name, needed_for)
        key = text.strip()
        if not _KEY.fullmatch(key) or key[0] in _QUOTES or key[-1] in _QUOTES:
            raise ConfigError(f"the API key in {name} {_what_is_wrong(key)}", hint=_KEY_HINT)
        return Credential(name, key)


def _what_is_wrong(key: str) -> str:
    """In words that do not repeat the key."""
    if not key:
        return "is empty"
    if not key.isascii():
        return "has a character that is not ASCII"
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return "stands in quotes"
    return f"is longer than {_MAX_KEY} characters" if len(key) > _MAX_KEY else "is not one word"


def _read_key_file(name: str, needed_for: str) -> str:
    try:
        with open(name, "rb") as file:  # noqa: PTH123 (the name is text everywhere else)
            # A little more than a key may have, so that a longer one is seen to be too long.
            data = file.read(2 * _MAX_KEY)
    except OSError as error:
        raise ConfigError(
            f"no API key for {needed_for}: cannot read {name}: {error.strerror or error}",
            hint="Check api_key_file in `credentials`, and who may read that file.",
        ) from None
    # Latin-1 takes every byte: whether it is a key is judged afterwards, without an exception that
    # would carry the bytes around.
    return data.decode("latin-1")
