"""Manifests with several mistakes: each is told, with its place, and where reading ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests import HEAD, loaded, refusal

unhurried = settings(deadline=None)

WRONG_YAML = f"""{HEAD}  - {{id: CA1, started_at: 2026-05-21}}
  - {{idd: CA2, deep: [[1, {{a: &late CA9}}], *late], id: x}}
  - CA3
  - {{id: CA4, directions: [user, [agent]], redaction: raw}}
  - {{id: CA5, redaction: {{raw: true}}}}
  - [CA6]
  - {{id: , started_at: 2026-05-21T22:14:03Z}}
  - {{[a, b]: c}}
  - !!python/object:os.system {{id: CA7}}
  - {{id: *late}}
  - {{id: CA8, directions: both}}
"""
WRONG_YAML_LINES = [4, 5, 7, 8, 9, 10, 11, 12, 14]
WRONG_LINES = """\
{"id": "CA1"}
{"id": "CA2", "account_id": "a", "project_id": "p"}

{"id": "CA3", "account_id": "a", "project_id": "p", "project_id": "q"}
[]
{"id": "CA4
"""
WRONG_ROWS = "id,account_id,project_id,started_at\nCA1,a,p,now\nCA2,a\n\nCA3,a,p,\n,a,p,\n"
SEVERAL = {
    "yaml": (WRONG_YAML, WRONG_YAML_LINES),
    "jsonl": (WRONG_LINES, [1, 4, 5, 6]),
    "csv": (WRONG_ROWS, [2, 3, 6]),
}


@pytest.mark.parametrize("form", SEVERAL)
def test_several_mistakes_are_told_at_once(form: str) -> None:
    """Each entry that is wrong is told with its place; those between them are understood."""
    content, lines = SEVERAL[form]
    error = refusal(content, form)
    told = [one.location.line for one in (error, *error.also) if one.location]
    assert told == lines
    assert not error.has_more


@pytest.mark.parametrize("form", SEVERAL)
def test_ten_mistakes_are_enough(form: str) -> None:
    """Then reading ends, and the message says that there are more."""
    wrong = {
        "yaml": f"{HEAD}" + "  - {id: C/A}\n" * 10,
        "jsonl": '{"id": 1}\n' * 10,
        "csv": "id,account_id,project_id\n" + "C/A,a,p\n" * 10,
    }[form]
    error = refusal(wrong, form)
    assert len(error.also) == 9
    assert not error.has_more
    entry = wrong.splitlines()[-1]
    error = refusal(f"{wrong}{entry}\n{entry}\n", form)
    assert len(error.also) == 9
    assert error.has_more


def test_mistakes_are_told_with_what_ends_the_reading() -> None:
    """Text that is no YAML ends it; what was wrong before is told first."""
    error = refusal(f"{HEAD}  - {{id: C/A}}\n  - {{id: CA1\n  - CA2\n")
    assert [one.location.line for one in (error, *error.also) if one.location] == [4, 5]
    assert "'C/A'" in error.message


def test_wrong_queries_are_told_with_wrong_entries() -> None:
    """Of queries before and behind the entries alike; queries alone need no entries."""
    query = "  - {account_id: a, project_id: p, from: soon, to: today}\n"
    before = f"version: 1\ndiscover:\n{query}{query}"
    entries = "conversations:\n  - {id: CA1, account_id: a, project_id: p}\n  - CA2\n"
    assert len(refusal(before).also) == 1
    error = refusal(before + entries)
    assert [one.location.line for one in (error, *error.also) if one.location] == [3, 4, 7]
    error = refusal(f"version: 1\n{entries}discover:\n{query}")
    assert [one.location.line for one in (error, *error.also) if one.location] == [4, 6]


def test_a_wrong_entry_is_not_read_for_ever() -> None:
    """What has brackets without end is given up, however it goes on."""
    error = refusal(f"{HEAD}  - {{strange: {'[' * 20_000}")
    assert "unknown key 'strange'" in error.message
    assert len(error.also) == 1


@unhurried
@given(
    st.lists(
        st.sampled_from(
            [
                "CA1",
                "{id: CA1}",
                "{id: [CA1]}",
                "{x: {y: [1, {z: 2}]}, id: CA1}",
                "{id: CA1, directions: [{a: b}, user]}",
                "{id: CA1, directions: [user, *no]}",
                "{? {a: b} : c, id: CA1}",
                "[[CA1]]",
                "!!set {id: CA1}",
                "*no",
                "{id: CA1, id: CA2}",
                "{id: CA1, redaction: !!seq {raw: 1}}",
            ]
        ),
        max_size=10,
    )
)
def test_every_wrong_entry_and_no_right_one_is_told(entries: list[str]) -> None:
    """Whatever is wrong with an entry, the next one begins where it begins."""
    wrong = [
        number for number, entry in enumerate(entries, start=4) if entry not in {"CA1", "{id: CA1}"}
    ]
    content = HEAD.replace("conversations:\n", "conversations:") + (
        "\n" + "".join(f"  - {entry}\n" for entry in entries) if entries else " []\n"
    )
    if not wrong:
        assert len(loaded(content)) == len(entries)
        return
    error = refusal(content)
    assert [one.location.line for one in (error, *error.also) if one.location] == wrong
