"""What the two policies about raw recordings say of a manifest and of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import Location, ManifestError
from exporter.model import Conversation, Direction, PiiAccessState, Redaction
from exporter.pii_access import Finding
from exporter.plan import Choice
from exporter.policy import raw_unproven, without_raw

RAW, REDACTED = Redaction.RAW, Redaction.REDACTED
REDACTED_ONLY = Choice((Direction.COMBINED,), (REDACTED,))
variants = st.none() | st.sampled_from([(RAW,), (REDACTED,), (REDACTED, RAW)])


def conversation(number: int, redaction: tuple[Redaction, ...] | None) -> Conversation:
    place = Location("job.yaml", number + 1, 3)
    return Conversation("a", "p", f"CA{number:03}", redaction=redaction, location=place)


def everywhere(*_: str) -> bool:
    return True


@given(st.lists(variants, max_size=30), st.sampled_from([(REDACTED,), (REDACTED, RAW)]))
def test_never_raw(asked: list[tuple[Redaction, ...] | None], default: tuple[Redaction]) -> None:
    """A manifest passes if nothing in it is raw; else the first ten are named, and all counted."""
    conversations = [conversation(number, each) for number, each in enumerate(asked)]
    raw = [number for number, each in enumerate(asked) if RAW in (each or default)]
    checked = without_raw(conversations, Choice((Direction.COMBINED,), default), everywhere)
    if not raw:
        assert list(checked) == conversations
        return
    with pytest.raises(ManifestError) as caught:
        list(checked)
    lines = str(caught.value).splitlines()
    assert [line.strip() for line in lines[1:11]] == [
        f"job.yaml:{number + 1}:3: a/p/CA{number:03}" for number in raw[:10]
    ]
    more = [f"and {len(raw) - 10} more"] if len(raw) > 10 else []
    assert [line.strip() for line in lines[11:]] == more
    assert f" {len(raw)} entr" in lines[0]


def test_never_raw_without_places() -> None:
    """An entry whose place is not known is named by its identifiers."""
    with pytest.raises(ManifestError, match="1 entry asks for raw recordings:\n  a/p/CA1"):
        list(
            without_raw(
                [Conversation("a", "p", "CA1", redaction=(RAW,))], REDACTED_ONLY, everywhere
            )
        )


def test_never_raw_in_one_project() -> None:
    """Elsewhere raw may be asked for; the entries of that project alone are named."""
    asked = [Conversation("a", project, "CA1", redaction=(RAW,)) for project in ("p", "q")]

    def forbidden(*project: str) -> bool:
        return project == ("a", "q")

    assert list(without_raw(asked[:1], REDACTED_ONLY, forbidden)) == asked[:1]
    with pytest.raises(ManifestError, match=r"1 entry asks for raw recordings:\n  a/q/CA1$"):
        list(without_raw(asked, REDACTED_ONLY, forbidden))


def test_require_raw() -> None:
    """Only suspected projects that raw was asked for break the policy; they are named."""
    states = dict(zip("abc", PiiAccessState, strict=True))
    findings = {("acme", name): Finding(state, "because") for name, state in states.items()}
    suspected = next(key for key in findings if findings[key].state == "suspected_missing")
    assert raw_unproven(findings, set(findings) - {suspected}) is None
    assert raw_unproven(findings, []) is None
    broken = raw_unproven(findings, findings)
    assert broken is not None
    assert broken.exit_code == 7
    assert "/".join(suspected) in broken.message
