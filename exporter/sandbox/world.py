"""The world that the sandbox serves: keys, accounts, projects, conversations.

By default nothing needs to be set up: every account, project and well-formed conversation id
exists, and some prefixes of conversation ids make a conversation special (`special_ids`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from exporter.sandbox.calls import AudioSettings, Call
from exporter.sandbox.history import Happening, History

_CONVERSATION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}\Z")
_LATE_ID: Final = re.compile(r"late-(\d{1,6})-")

EVERYTHING: Final = "*"
"""In a key's scope: any account, or any project."""


class Framing(StrEnum):
    """How the end of a body is told."""

    LENGTH = "length"  # Content-Length
    CHUNKED = "chunked"  # Transfer-Encoding: chunked
    CLOSE = "close"  # not at all: the connection closes


class State(StrEnum):
    """What the API knows of a conversation."""

    RECORDED = "recorded"
    NO_RECORDING = "no-recording"  # not processed yet, or past retention
    TEXT = "text"  # a chat: there never was a recording
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key.

    Attributes:
        name: what the log of requests calls it; the secret is never shown.
        secret: the value of the `x-api-key` header.
        pii_access: without it the raw variant is silently answered with the redacted one.
        scope: (account, project) pairs that it opens, `*` for any; None opens everything.
        expired: it was valid once.
    """

    name: str
    secret: str = field(repr=False)
    pii_access: bool = True
    scope: frozenset[tuple[str, str]] | None = None
    expired: bool = False

    def opens(self, account: str, project: str) -> bool:
        """Whether it may read this project."""
        return self.scope is None or any(
            known_account in {account, EVERYTHING} and known_project in {project, EVERYTHING}
            for known_account, known_project in self.scope
        )

    def knows(self, account: str) -> bool:
        """Whether it may read anything in this account."""
        return self.scope is None or any(known in {account, EVERYTHING} for known, _ in self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation, as far as it differs from an ordinary recorded call.

    Attributes:
        account: where it is.
        project: where it is.
        id: its id.
        state: what the API knows of it.
        late_after: requests for each of its recordings that find nothing, before it appears.
        seconds: its length, where the world's audio settings should not decide.
    """

    account: str
    project: str
    id: str
    state: State = State.RECORDED
    late_after: int = 0
    seconds: float | None = None


DEFAULT_KEYS: Final = (
    Key(name="full", secret="sandbox-key"),  # noqa: S106
    Key(name="no-pii", secret="sandbox-key-no-pii", pii_access=False),  # noqa: S106
    Key(name="expired", secret="sandbox-key-expired", expired=True),  # noqa: S106
    Key(name="no-access", secret="sandbox-key-no-access", scope=frozenset()),  # noqa: S106
)
"""Keys of the default world; none of them opens anything but a sandbox."""


_MOST_MET: Final = 10_000  # projects whose account is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that exists.

    Attributes:
        keys: the keys that are known.
        projects: (account, project) pairs that exist; None: all do.
        conversations: special ones.
        closed: only the listed conversations exist.
        special_ids: ids with a telling prefix are special: `no-recording-`, `text-`, `gone-`,
            `unknown-`, and `late-N-`, whose recordings appear after N requests each.
        default_account: the account of an agent, where neither `projects` nor an earlier request
            tells: the agents-v1 surface names no account.
        histories: what the list of conversations tells; the first that is for a project decides.
        audio: how calls sound.
        framing: how the end of a recording is told.
        list_framing: how the end of a page of the list is told.
    """

    keys: tuple[Key, ...] = DEFAULT_KEYS
    projects: frozenset[tuple[str, str]] | None = None
    conversations: tuple[Conversation, ...] = ()
    closed: bool = False
    special_ids: bool = True
    default_account: str = "sandbox"
    audio: AudioSettings = field(default_factory=AudioSettings)
    framing: Framing = Framing.LENGTH
    list_framing: Framing = Framing.CHUNKED
    histories: tuple[History, ...] = (History(),)
    _listed: dict[tuple[str, str, str], Conversation] = field(init=False, repr=False, compare=False)
    _owners: dict[str, Key] = field(init=False, repr=False, compare=False)
    _met: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        # A frozen value may still look things up quickly.
        listed = {(found.account, found.project, found.id): found for found in self.conversations}
        object.__setattr__(self, "_listed", listed)
        object.__setattr__(self, "_owners", {key.secret: key for key in self.keys})
        histories = tuple(
            each if each.seconds else replace(each, seconds=self.audio.seconds)
            for each in self.histories
        )
        object.__setattr__(self, "histories", histories)

    def key(self, secret: str) -> Key | None:
        """The key with this secret."""
        return self._owners.get(secret)

    def has_account(self, account: str) -> bool:
        """Whether the account exists."""
        return self.projects is None or any(account == known for known, _ in self.projects)

    def has_project(self, account: str, project: str) -> bool:
        """Whether the project exists in that account."""
        return self.projects is None or (account, project) in self.projects

    def meet(self, account: str, project: str) -> None:
        """A request named them together: so the agent of that name belongs to that account."""
        if project in self._met or len(self._met) < _MOST_MET:
            self._met[project] = account

    def account_of(self, agent: str) -> str | None:
        """The account that an agent (a project, on the other surface) belongs to."""
        if self.projects is None:
            return self._met.get(agent, self.default_account)
        return min(
            (account for account, project in self.projects if project == agent), default=None
        )

    def history(self, account: str, project: str) -> History | None:
        """The conversations that a project had."""
        return next((each for each in self.histories if each.is_of(account, project)), None)

    def happening(self, account: str, project: str, conversation: str) -> Happening | None:
        """The conversation of a project's history that has this id."""
        if (account, project, conversation) in self._listed:
            return None
        history = self.history(account, project)
        return history.find(account, project, conversation) if history else None

    def conversation(self, account: str, project: str, conversation: str) -> Conversation:
        """What is known of a conversation; one that does not exist is `State.UNKNOWN`."""
        if listed := self._listed.get((account, project, conversation)):
            return listed
        state, late_after = State.RECORDED, 0
        happened = self.happening(account, project, conversation)
        if happened is None and self.closed:
            state = State.UNKNOWN
        elif self.special_ids:
            state, late_after = _told_by(conversation)
        return Conversation(
            account=account,
            project=project,
            id=conversation,
            state=state,
            late_after=late_after,
            seconds=happened.seconds if happened else None,
        )

    def call(self, account: str, project: str, conversation: str) -> Call:
        """The call of a recorded conversation: what the server sends, without asking it."""
        seconds = self.conversation(account, project, conversation).seconds
        return Call.of(account, project, conversation, self.audio, seconds=seconds)


def is_well_formed(conversation: str) -> bool:
    """Whether a conversation can have this id at all."""
    return _CONVERSATION_ID.match(conversation) is not None


def _told_by(conversation: str) -> tuple[State, int]:
    """What an id with a telling prefix says: the state, and requests before it appears."""
    if late := _LATE_ID.match(conversation):
        return State.RECORDED, int(late[1])
    told = (state for state in State if conversation.startswith(f"{state}-"))
    return next(told, State.RECORDED), 0
