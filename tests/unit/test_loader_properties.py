"""Whatever is in a manifest: formats agree, nothing crashes, memory does not grow."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter
from exporter.errors import ManifestError
from exporter.loader import ManifestFormat
from exporter.model import Conversation, Direction, Redaction
from tests.manifests import (
    expected,
    loaded,
)

# A busy machine is no failure.
unhurried = settings(deadline=None)


# Properties.

ALPHANUMERIC = "ABCXYZabcxyz0123456789"
IDENTIFIERS = st.builds(
    str.__add__,
    st.sampled_from(ALPHANUMERIC),
    st.text(ALPHANUMERIC + "._:@=+-", max_size=30),
) | st.sampled_from(["null", "true", "no", "1e5", "0x1F", "007", "1:30", "2026-05-21", "3.14"])
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1970, 1, 3), datetime(2999, 12, 28), timezones=OFFSETS)  # noqa: DTZ001


def words(kind: type[Direction | Redaction]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([member.value for member in kind]), min_size=1, max_size=4)


ENTRIES = st.fixed_dictionaries(
    {"id": IDENTIFIERS, "account_id": IDENTIFIERS, "project_id": IDENTIFIERS},
    optional={
        "started_at": TIMES,
        "directions": words(Direction),
        "redaction": words(Redaction),
    },
)


def without_place(conversations: list[Conversation]) -> list[Conversation]:
    return [
        Conversation(
            c.account_id, c.project_id, c.conversation_id, c.started_at, c.directions, c.redaction
        )
        for c in conversations
    ]


def as_yaml(entries: list[dict[str, Any]]) -> str:
    head = "version: 1\n"
    return head + yaml.safe_dump({"conversations": entries})


def as_jsonl(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry, default=datetime.isoformat) + "\n" for entry in entries)


def as_csv(entries: list[dict[str, Any]]) -> str:
    table = io.StringIO()
    columns = ["started_at", "id", "redaction", "account_id", "project_id", "directions"]
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    for entry in entries:
        writer.writerow(
            {
                key: "|".join(value)
                if isinstance(value, list)
                else value.isoformat()
                if isinstance(value, datetime)
                else value
                for key, value in entry.items()
            }
        )
    return table.getvalue()


WRITERS = {"yaml": as_yaml, "jsonl": as_jsonl, "csv": as_csv}


@given(st.lists(ENTRIES, min_size=1, max_size=8))
@unhurried
def test_every_format_says_the_same(entries: list[dict[str, Any]]) -> None:
    """Any right entries, written by the usual writers, load alike from YAML, JSON lines and CSV."""
    wanted = [expected(entry) for entry in entries]
    for form, write in WRITERS.items():
        assert without_place(loaded(write(entries), form)) == wanted


def assert_loaded_or_refused(content: bytes, form: str) -> None:
    try:
        loaded(content, form)
    except ManifestError as error:
        assert str(error).isprintable()  # noqa: PT017 - either end is right


@given(st.binary(max_size=300), st.sampled_from(ManifestFormat))
@unhurried
def test_arbitrary_bytes_are_loaded_or_refused(content: bytes, form: str) -> None:
    """No input makes anything but conversations or a manifest error."""
    assert_loaded_or_refused(content, form)


PIECES = st.sampled_from(
    [
        *(b"\n", b"\r", b"\t", b"  ", b"- ", b": ", b",", b"|", b"#", b"\\", b"---\n"),
        *(b"{", b"}", b"[", b"]", b'"', b"'", b"&a ", b"*a", b"!!", b"<<"),
        *(b"\0", b"\xff", b"\xc3", b"id", b"null", b"1"),
    ]
)


@given(
    st.lists(ENTRIES, min_size=1, max_size=3),
    st.sampled_from(list(WRITERS)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 6), PIECES), min_size=1, max_size=4),
)
@unhurried
def test_damaged_manifests_are_loaded_or_refused(
    entries: list[dict[str, Any]], form: str, damages: list[tuple[int, int, bytes]]
) -> None:
    """A right manifest with a few wounds loads or is refused, but breaks nothing."""
    content = WRITERS[form](entries).encode()
    for place, length, piece in damages:
        start = place % (len(content) + 1)
        content = content[:start] + piece + content[start + length :]
    assert_loaded_or_refused(content, form)


# Memory.

MEASURE_PEAK = """
import resource, sys
from exporter.loader import open_manifest

class Generated:
    '''A manifest that is made while it is read.'''
    def __init__(self, head, entry, count):
        self.head, self.entry, self.left, self.number = head, entry, count, 0
    def read(self, size):
        if self.head:
            head, self.head = self.head, ""
            return head.encode()
        count = min(500, self.left)
        self.left -= count
        self.number += count
        first = self.number - count
        return "".join(self.entry.format(n) for n in range(first, self.number)).encode()

def load(form, count):
    with open_manifest("-", format=form, stdin=Generated(*MANIFESTS[form], count)) as manifest:
        assert sum(1 for _ in manifest.conversations()) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

TIME = "2026-05-21T22:14:03Z"
MANIFESTS = {
    "yaml": ("version: 1\\ndefaults: {account_id: a, project_id: p}\\nconversations:\\n",
             "- id: CA{0:032x}\\n  started_at: " + TIME + "\\n  directions: &d [user]\\n"),
    "jsonl": ("", '{{"id": "CA{0:032x}", "account_id": "a{0}", "project_id": "p"}}\\n'),
    "csv": ("id,account_id,project_id\\n", "CA{0:032x},a{0},p\\n"),
}
form = sys.argv[1]
few, many = load(form, 10_000), load(form, 100_000)
print(many - few)
"""


@pytest.mark.parametrize("form", list(ManifestFormat))
def test_memory_does_not_grow_with_the_number_of_conversations(form: str) -> None:
    """100,000 conversations need no more memory than 10,000: at most two megabytes of noise."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE_PEAK, form],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(exporter.__file__).parents[1],
    )
    assert int(done.stdout) < 2 * 1024 * 1024
