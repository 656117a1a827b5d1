"""What is known of keys, projects and the host: when there is no point in asking any further.

One refusal proves little: it may be about that one recording. When a second one meets the
same, the rest of that key, project or host is given up without asking.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from exporter.errors import (
    CredentialsRefusedError,
    ErrorKind,
    ExporterError,
    HostError,
)
from exporter.model import ErrorInfo
from exporter.retry import CLASSES, ErrorClass, backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Project = tuple[str, str]
"""Account and project."""


class Subject(Protocol):
    """What a request asks for: a recording, a page of a listing; equal ones are the same."""

    @property
    def account_id(self) -> str:
        """Whose key is needed."""

    @property
    def project_id(self) -> str:
        """Likewise."""

    def __hash__(self) -> int: ...


_KEY_KINDS = frozenset({ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN})
_SCOPED_KINDS = _KEY_KINDS | {ErrorKind.PROJECT_NOT_FOUND}
_HOST_KINDS = frozenset({ErrorKind.WRONG_HOST, ErrorKind.UNEXPECTED_STATUS, ErrorKind.CERTIFICATE})
_REFUSED_ADVICE = (
    "Check that the key is whole and not expired or rotated, that it belongs to this region and"
    " to these projects, and that its role has the permission to read recordings."
)
_HOST_ADVICE = {
    ErrorKind.WRONG_HOST: (
        "Most likely the host or the region is wrong: check api.region, api.surface and"
        " api.base_url."
    ),
    ErrorKind.UNEXPECTED_STATUS: (
        "Something between here and the API answers instead of it: check api.base_url and the"
        " proxy settings."
    ),
    ErrorKind.CERTIFICATE: (
        "Check api.base_url, this machine's clock, and api.ca_file where a company's proxy or"
        " gateway has its own certificate authority."
    ),
    ErrorKind.DNS: (
        "Check api.region and api.base_url for a misspelt host, and this machine's network."
    ),
    ErrorKind.CONNECT: (
        "Check api.base_url, this machine's network, and whether a firewall or proxy stands"
        " between."
    ),
}
_LATER = "Run again later: what is archived is skipped."


class Refusals:
    """Remembers which credentials the API refuses, so that it is not asked again and again.

    A 401 speaks of the key, a 403 or an unknown project of the key in one project.
    """

    PROOF = 2

    def __init__(self, projects: dict[Project, str]) -> None:
        """Know what there is to lose.

        Args:
            projects: every project of the manifest, and the name of its credential.
        """
        self._credentials = projects
        self._refused: defaultdict[object, dict[Subject, ErrorInfo]] = defaultdict(dict)
        self._ever_accepted = False

    def expect(self, project: Project, credential: str) -> None:
        """One more project is going to be asked for."""
        self._credentials[project] = credential

    def note(self, subject: Subject, error: ErrorInfo) -> None:
        """What the API answered to a request for this, if it was an error."""
        if error.kind in _SCOPED_KINDS:
            self._refused[self._scope(_project(subject), error.kind)][subject] = error
        elif error.code is not None:
            self.note_accepted(subject)

    def note_accepted(self, subject: Subject) -> None:
        """The API knows key and project: what spoke against them until now is void."""
        self._ever_accepted = True
        if self._refused:
            for kind in _SCOPED_KINDS:
                scope = self._scope(_project(subject), kind)
                if len(self._refused.get(scope, ())) < self.PROOF:
                    self._refused.pop(scope, None)

    def verdict(self, subject: Subject) -> ErrorInfo | None:
        """Why this need not be asked for; None when it should be."""
        if not self._refused:
            return None
        refusals = self._proven(_project(subject), _SCOPED_KINDS, self.PROOF)
        if refusals is None:
            return None
        first = next(iter(refusals.values()))
        return ErrorInfo(
            first.kind,
            f"not asked for: {first.message}",
            first.http_status,
            first.code,
            first.correlation_id,
        )

    def fatal(self, *, at_the_end: bool = False) -> ExporterError | None:
        """Why the run should end: the key of every single project is refused.

        Args:
            at_the_end: nothing is left to ask for, so one recording has to be proof enough.
        """
        if not self._refused or (at_the_end and self._ever_accepted):
            return None
        proof = 1 if at_the_end else self.PROOF
        refused = [self._proven(project, _KEY_KINDS, proof) for project in self._credentials]
        first_of = next(iter(refused), None)
        if first_of is None or None in refused:
            return None
        first = next(iter(first_of.values()))
        names = ", ".join(sorted(set(self._credentials.values())))
        return CredentialsRefusedError(
            f"the API refused the key from {names}: {first.message}"
            + (f" (correlation id {first.correlation_id})" if first.correlation_id else ""),
            hint=_REFUSED_ADVICE,
        )

    def _proven(
        self, project: Project, kinds: Iterable[ErrorKind], proof: int
    ) -> dict[Subject, ErrorInfo] | None:
        for kind in kinds:
            refusals = self._refused.get(self._scope(project, kind))
            if refusals and len(refusals) >= proof:
                return refusals
        return None

    def _scope(self, project: Project, kind: ErrorKind) -> object:
        if kind is ErrorKind.UNAUTHORIZED:
            return self._credentials.get(project)
        return project, kind


class Host:
    """Whether the API is there at all: is it the right host, and is it well?

    A host that is away or answers nothing but failures is left alone for longer and longer, by
    all workers together: one scout at a time asks whether it is back. So a short outage costs no
    recording its attempts, and a long one ends the run.
    """

    PROOF = 3
    IN_A_ROW = 5

    def __init__(
        self,
        *,
        max_outage: float,
        max_delay: float,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            max_outage: seconds that a run survives without a sign of life.
            max_delay: seconds between two scouts, at most.
            clock: seconds that never run backwards.
            chance: a number between 0 and 1.
        """
        self._max_outage = max_outage
        self._max_delay = max_delay
        self._clock = clock
        self._chance = chance
        self._is_the_api = False
        self._strangers: dict[Subject, ErrorInfo] = {}
        self._failing_since: float | None = None
        self._failures = 0
        self._rounds = 0
        self._next_round = float("-inf")
        self._outage: ExporterError | None = None

    def note_answer(self, *, is_the_api: bool = True) -> None:
        """The server answered with something other than a failure of its own.

        Args:
            is_the_api: the answer was of the API's making, not of a gateway's.
        """
        if is_the_api:
            self._is_the_api = True
            self._strangers.clear()  # never looked at again
        self._failing_since = None
        self._failures = self._rounds = 0

    def note_stranger(self, subject: Subject, error: ErrorInfo) -> None:
        """An answer that the API would not give, or a certificate that it would not show."""
        if not self._is_the_api and len(self._strangers) < self.PROOF:
            self._strangers[subject] = error

    def note_failure(self, error: ErrorInfo, sent: float) -> float:
        """A failure that may mean that the server is away or not well.

        Args:
            error: what happened.
            sent: when the request left.

        Returns:
            Seconds that everybody should leave the server alone; 0: it may be about one recording.
        """
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        away = CLASSES[error.kind] is ErrorClass.AWAY
        if not away and self._failures < self.IN_A_ROW:
            return 0.0
        lasted = now - self._failing_since
        if lasted >= self._max_outage:
            self._outage = self._outage or _outage_error(error, lasted, away=away)
            return 0.0
        if sent < self._next_round:
            return 0.0  # it was under way together with the one that began this round
        self._rounds += 1
        delay = backoff(self._rounds, self._max_delay) * (0.5 + self._chance() / 2)
        delay = min(delay, max(self._max_outage - lasted, 0.0))
        self._next_round = now + delay
        return delay

    def fatal(self, *, at_the_end: bool = False) -> ExporterError | None:
        """Why the run should end: this is not the API, or it is away.

        Args:
            at_the_end: nothing is left to ask for, so one recording has to be proof enough.
        """
        if self._outage is not None:
            return self._outage
        if self._is_the_api or len(self._strangers) < (1 if at_the_end else self.PROOF):
            return None
        first = next(iter(self._strangers.values()))
        return HostError(
            f"what answers at the configured address is not the API: {first.message}",
            hint=_HOST_ADVICE.get(first.kind, ""),
        )


def is_stranger(kind: ErrorKind) -> bool:
    """Whether an error of this kind speaks against the host."""
    return kind in _HOST_KINDS


def is_refusal(kind: ErrorKind) -> bool:
    """Whether an error of this kind speaks against the key."""
    return kind in _KEY_KINDS


def _outage_error(error: ErrorInfo, seconds: float, *, away: bool) -> ExporterError:
    trouble = "could not be reached" if away else "answered nothing but errors"
    return HostError(
        f"the server {trouble} for {seconds:.0f} seconds: {error.message}",
        hint=f"{_HOST_ADVICE.get(error.kind, '')} {_LATER}".strip(),
    )


def _project(subject: Subject) -> Project:
    return subject.account_id, subject.project_id
