"""What the settings forbid, and what they want to have proven. Pure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from exporter.errors import ManifestError, PolicyError
from exporter.model import PiiAccessState, Redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from exporter.model import Conversation
    from exporter.pii_access import Finding
    from exporter.plan import Choice

_NAMED: Final = 10
MEANING: Final = (
    "files asked for as raw are most likely the redacted ones: to a key without PII access the API"
    " answers with redacted audio and says nothing"
)
UNKNOWN: Final = (
    "nothing speaks against the raw recordings, and nothing proves them: the proof is a redacted"
    " counterpart that differs"
)
REMEDY: Final = (
    "ask the account's administrator for a role with PII access for this key, then fetch again what"
    " was asked for as raw (--refresh); if few of your calls hold personal data, raise"
    " export.enough_identical"
)


class Policy(Struct, frozen=True):
    """What holds in a project.

    Attributes:
        never_raw: no raw recording is asked for.
        require_raw: the run fails when what was asked for as raw seems to be redacted.
        enough_identical: conversations that must be the same before that is suspected.
    """

    never_raw: bool
    require_raw: bool
    enough_identical: int


def without_raw(
    conversations: Iterable[Conversation],
    choice: Choice,
    is_forbidden: Callable[[str, str], bool],
) -> Iterator[Conversation]:
    """The same conversations, as long as none of them asks for raw recordings where none may be.

    Reads to the end even so, to say how many there are; nothing may be done before that.

    Args:
        conversations: of the manifest.
        choice: what is exported where the manifest does not say.
        is_forbidden: whether an (account, project) is one of `never_raw`.

    Raises:
        ManifestError: after the last one, if any asks for raw.
    """
    named: list[str] = []
    count = 0
    for one in conversations:
        asks_for_raw = Redaction.RAW in (one.redaction or choice.redaction)
        if asks_for_raw and is_forbidden(one.account_id, one.project_id):
            count += 1
            if len(named) < _NAMED:
                place = f"{one.location}: " if one.location else ""
                named.append(f"{place}{one.account_id}/{one.project_id}/{one.conversation_id}")
        yield one
    if count:
        entries = "1 entry asks" if count == 1 else f"{count:,} entries ask"
        more = [f"and {count - _NAMED:,} more"] if count > _NAMED else []
        raise ManifestError(
            f"never_raw is set, and {entries} for raw recordings:\n  "
            + "\n  ".join([*named, *more]),
            hint="Nothing was asked for. Take raw out of `redaction` there, or out of"
            " export.redaction where an entry does not say; or do without never_raw, which"
            " stands in `export` or in `policies`.",
        )


def raw_unproven(
    findings: Mapping[tuple[str, str], Finding], asked: Collection[tuple[str, str]]
) -> PolicyError | None:
    """What `require_raw` says of a run; None where nothing speaks against its raw recordings.

    Args:
        findings: about each (account, project).
        asked: those that raw recordings were asked for and have to be proven.
    """
    broken = sorted(
        project for project in asked if findings[project].state is PiiAccessState.SUSPECTED_MISSING
    )
    if not broken:
        return None
    names = ["/".join(project) for project in islice(broken, _NAMED)]
    more = f" and {len(broken) - _NAMED:,} more" if len(broken) > _NAMED else ""
    return PolicyError(
        f"require_raw is set, and the recordings asked for as raw seem to be redacted in"
        f" {', '.join(names)}{more}",
        hint="What came is archived, and marked in the results. Next: " + REMEDY + ".",
    )
