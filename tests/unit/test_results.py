"""The results document: what is rendered is what the schema promises."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ErrorKind
from exporter.model import (
    Archived,
    AudioFormat,
    Direction,
    ErrorInfo,
    Outcome,
    PiiAccessState,
    Recording,
    Redaction,
    Status,
    Surface,
)
from exporter.results import (
    ManifestInfo,
    PiiAccess,
    Result,
    Results,
    RunInfo,
    RunStatus,
    Summary,
    render,
    results_schema,
    timestamp,
    to_result,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START = datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC)
RECORDING = Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW, START)
ARCHIVED = Archived(
    "acme/shop/2026-05-21/CA1/user.raw.wav",
    320044,
    "ab" * 32,
    AudioFormat("pcm_s16le", 8000, 1, 16, 20.0),
    START + timedelta(hours=8),
    "corr-1",
)
ERROR = ErrorInfo(ErrorKind.RECORDING_NOT_FOUND, "no recording", 404, "NOT_FOUND", "corr-2")
COUNTS = {str(status): 0 for status in Status}


def validator() -> jsonschema.Draft202012Validator:
    schema = results_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def run_info(**changes: Any) -> RunInfo:
    run = RunInfo(
        id="20261122T060300Z-4f2a",
        started_at=timestamp(START),
        finished_at=timestamp(START),
        exporter_version="1.0.0",
        status=RunStatus.COMPLETE,
        exit_code=0,
        manifest=ManifestInfo(path="calls.yaml", sha256="cd" * 32),
        archive="archive",
        surface=Surface.PLATFORM_V3,
        config={"limits": {"concurrency": 16}},
    )
    return msgspec.structs.replace(run, **changes)


def summary(**changes: Any) -> Summary:
    numbers = dict.fromkeys(("conversations", "requested", "duplicates", "bytes"), 0)
    numbers |= dict.fromkeys(("requests", "retries", "rate_limited", "carried_over"), 0)
    access = PiiAccess(account_id="acme", project_id="shop", state=PiiAccessState.UNKNOWN)
    filled: dict[str, Any] = {
        **numbers,
        **COUNTS,
        "audio_seconds": 0.0,
        "elapsed_seconds": 1.25,
        "expiring": None,
        "expired": None,
        "errors": {},
        "pii_access": [access],
        "metadata": None,
        **changes,
    }
    return Summary(**filled)


def rendered(
    pages: list[list[Result]], run: RunInfo | None = None, numbers: Summary | None = None
) -> bytes:
    async def given_pages() -> AsyncIterator[list[Result]]:
        for page in pages:
            yield page

    async def collect() -> bytes:
        pieces = [
            piece async for piece in render(run or run_info(), numbers or summary(), given_pages())
        ]
        return b"".join(pieces)

    return asyncio.run(collect())


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Status.EXPORTED, ARCHIVED, attempts=2),
        Outcome(Status.SKIPPED, ARCHIVED),
        *(Outcome(Status.FAILED, error=ErrorInfo(kind, "why"), attempts=1) for kind in ErrorKind),
        *(Outcome(status, error=ERROR, attempts=1) for status in Status),
        Outcome(Status.CANCELLED),
    ],
)
def test_every_outcome_fits_the_schema(outcome: Outcome) -> None:
    """A document with any outcome that a recording can have is what the schema promises."""
    document = json.loads(rendered([[to_result(RECORDING, outcome)]]))
    validator().validate(document)


def test_a_row_has_exactly_the_fields_of_the_interface() -> None:
    """An exported recording is told in full, by the names that users rely on."""
    row = json.loads(rendered([[to_result(RECORDING, Outcome(Status.EXPORTED, ARCHIVED))]]))
    assert row["results"] == [
        {
            "account_id": "acme",
            "project_id": "shop",
            "conversation_id": "CA1",
            "started_at": "2026-05-21T22:14:03Z",
            "direction": "user",
            "redaction": "raw",
            "status": "exported",
            "path": "acme/shop/2026-05-21/CA1/user.raw.wav",
            "bytes": 320044,
            "sha256": "ab" * 32,
            "audio": {
                "codec": "pcm_s16le",
                "sample_rate": 8000,
                "channels": 1,
                "bits_per_sample": 16,
                "duration_seconds": 20.0,
            },
            "redaction_evidence": None,
            "muted_spans": None,
            "attempts": 0,
            "fetched_at": "2026-05-22T06:14:03Z",
            "correlation_id": "corr-1",
            "error": None,
        }
    ]


def test_a_failure_tells_its_error_and_no_file() -> None:
    """A recording that is not there names why, and what the vendor's support asks for."""
    unknown_start = Recording("acme", "shop", "CA1", Direction.USER, Redaction.RAW)
    row = to_result(unknown_start, Outcome(Status.NOT_FOUND, error=ERROR, attempts=1))
    told = msgspec.to_builtins(row)
    assert told["error"] == {
        "kind": "recording_not_found",
        "http_status": 404,
        "code": "NOT_FOUND",
        "message": "no recording",
        "correlation_id": "corr-2",
    }
    assert told["correlation_id"] == "corr-2"
    empty = ("started_at", "path", "bytes", "sha256", "audio", "fetched_at")
    assert [told[name] for name in empty] == [None] * 6


@given(st.lists(st.integers(0, 4), max_size=6))
def test_pages_become_one_list_in_their_order(sizes: list[int]) -> None:
    """However the rows are paged, empty pages among them, the document lists all of them once."""
    numbers = iter(range(100))
    pages = [
        [
            to_result(
                Recording("a", "p", f"CA{next(numbers)}", Direction.USER, Redaction.RAW),
                Outcome(Status.CANCELLED),
            )
            for _ in range(size)
        ]
        for size in sizes
    ]
    text = rendered(pages)
    document = msgspec.json.decode(text, type=Results)
    assert document.results == [row for page in pages for row in page]
    assert document.run == run_info()
    assert document.summary == summary()


def test_no_results_are_an_empty_list() -> None:
    """A run that was asked for nothing leaves a whole document."""
    document = json.loads(rendered([]))
    validator().validate(document)
    assert document["results"] == []
    assert document["schema_version"] == 1


def test_the_document_is_readable_and_streams() -> None:
    """The head is indented for people, and every recording is one line for `grep` and `less`."""
    rows = [to_result(RECORDING, Outcome(Status.CANCELLED)) for _ in range(3)]
    lines = rendered([rows[:2], rows[2:]]).decode().splitlines()
    assert lines[:2] == ["{", ' "schema_version": 1,']
    assert sum('"conversation_id"' in line for line in lines) == 3


def test_file_names_that_are_not_utf8_do_not_lose_the_results() -> None:
    """A manifest whose name holds a byte of another encoding is named as far as JSON can."""
    strange = b"calls-\xff.yaml".decode("utf-8", "surrogateescape")
    run = run_info(manifest=ManifestInfo(path=strange, sha256=None), config={"files": [strange]})
    document = json.loads(rendered([], run=run))
    assert document["run"]["manifest"]["path"] == "calls-?.yaml"
    assert document["run"]["config"] == {"files": ["calls-?.yaml"]}


def test_the_sum_has_one_term_for_each_status() -> None:
    """Each status has its count in the summary, so that their sum can be what was requested."""
    names = set(Summary.__struct_fields__)
    assert {status.value for status in Status} <= names
    assert "requested" in names


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema_version",), 2),
        (("run", "status"), "done"),
        (("run", "surface"), "platform-v4"),
        (("run", "manifest", "sha256"), "AB" * 32),
        (("summary", "failed"), -1),
        (("summary", "pii_access", 0, "state"), "maybe"),
        (("results", 0, "error", "kind"), "misfortune"),
        (("results", 0, "status"), "lost"),
        (("results", 0, "direction"), "both"),
        (("results", 0, "attempts"), None),
    ],
)
def test_the_schema_refuses_what_is_outside_its_sets(
    place: tuple[str | int, ...], value: object
) -> None:
    """Kinds of error, statuses and variants are closed sets: a reader can know them all."""
    row = to_result(RECORDING, Outcome(Status.FAILED, error=ERROR, attempts=1))
    document = json.loads(rendered([[row]]))
    node: Any = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    assert list(validator().iter_errors(document))


def test_the_schema_names_every_kind_of_error() -> None:
    """The documented set of kinds is the set that the program uses."""
    assert set(results_schema()["$defs"]["ErrorKind"]["enum"]) == set(ErrorKind)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 5, 21, 22, 14, 3, tzinfo=UTC), "2026-05-21T22:14:03Z"),
        (datetime(2026, 5, 21, 22, 14, 3, 999, tzinfo=UTC), "2026-05-21T22:14:03Z"),
        (datetime(2026, 5, 21, 22, 14, 3, 120999, tzinfo=UTC), "2026-05-21T22:14:03.120Z"),
        (
            datetime(2026, 5, 22, 0, 14, 3, tzinfo=timezone(timedelta(hours=2))),
            "2026-05-21T22:14:03Z",
        ),
    ],
)
def test_timestamps(moment: datetime, text: str) -> None:
    """Times are UTC with a `Z`, to the millisecond where there is one."""
    assert timestamp(moment) == text


@given(st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)))  # noqa: DTZ001
def test_timestamps_can_be_read_back(moment: datetime) -> None:
    """Whatever the instant, its text is it, cut to the millisecond."""
    back = datetime.fromisoformat(timestamp(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
