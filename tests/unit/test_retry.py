"""Decisions about errors: which class, how long to wait, when there is no point any more."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import CredentialsRefusedError, ErrorKind, FetchError, HostError
from exporter.model import Direction, ErrorInfo, Recording, Redaction
from exporter.retry import (
    CLASSES,
    ErrorClass,
    RetryPolicy,
    backoff,
    parse_retry_after,
    with_retries,
)
from exporter.trust import Host, Refusals

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)
TRAFFIC = Path(__file__).parents[2] / "docs" / "traffic.md"


def test_every_kind_has_a_class() -> None:
    """No error is left to chance."""
    assert set(CLASSES) == set(ErrorKind)


def test_the_documentation_has_the_same_table() -> None:
    """`docs/traffic.md` puts every kind into the class that the program puts it into."""
    rows = re.findall(r"^\| (\w+) \| ((?:`\w+`(?:, )?)+) \|$", TRAFFIC.read_text(), re.MULTILINE)
    documented = {kind: name for name, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert documented == {kind.value: found.value for kind, found in CLASSES.items()}


@given(seconds=st.integers(0, 10**12))
def test_retry_after_in_seconds(seconds: int) -> None:
    """A number is a number of seconds, however large."""
    assert parse_retry_after(f" {seconds} ", DATE) == seconds


@given(
    wait=st.integers(-(10**6), 10**6), skew=st.timedeltas(timedelta(days=-400), timedelta(days=400))
)
def test_retry_after_as_a_date_is_by_the_servers_clock(wait: int, skew: timedelta) -> None:
    """However wrong the server's clock is, the difference of its two dates counts."""
    server_now = (NOW + skew).replace(microsecond=0)
    until = format_datetime(server_now + timedelta(seconds=wait), usegmt=True)
    found = parse_retry_after(until, format_datetime(server_now, usegmt=True), now=NOW)
    assert found == max(0, wait)


def test_without_a_date_header_our_own_clock_has_to_do() -> None:
    """Better than no wait at all."""
    assert parse_retry_after("Fri, 15 Jan 2027 08:01:30 GMT", "", now=NOW) == 90


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} \d{1,9} .*"))
def test_retry_after_never_breaks(value: str) -> None:
    """No value of the header, however odd, is more than no answer."""
    found = parse_retry_after(value, DATE)
    assert found is None or found >= 0


def failing(*kinds: ErrorKind) -> tuple[list[int], list[float], RetryPolicy, object]:
    left = list(kinds)
    asked: list[int] = []
    slept: list[float] = []

    async def attempt() -> str:
        asked.append(len(asked) + 1)
        if left:
            raise FetchError(left.pop(0), "no")
        return "yes"

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    policy = RetryPolicy(attempts=3, max_delay=8, sleep=sleep, chance=lambda: 1.0)
    return asked, slept, policy, attempt


def run(policy: RetryPolicy, attempt: object) -> str:
    return asyncio.run(with_retries(attempt, policy))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [k for k, c in CLASSES.items() if c is ErrorClass.TRANSIENT])
def test_transient_errors_are_tried_again_so_often(kind: ErrorKind) -> None:
    """Two failures are survived; the third of three attempts is the last."""
    asked, _, policy, attempt = failing(kind, kind)
    assert run(policy, attempt) == "yes"
    assert len(asked) == 3
    asked, _, policy, attempt = failing(kind, kind, kind)
    with pytest.raises(FetchError):
        run(policy, attempt)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "kind", [k for k, c in CLASSES.items() if c in (ErrorClass.PERMANENT, ErrorClass.FATAL)]
)
def test_permanent_errors_are_not_tried_again(kind: ErrorKind) -> None:
    """The same request would fail again."""
    asked, _, policy, attempt = failing(kind)
    with pytest.raises(FetchError):
        run(policy, attempt)
    assert len(asked) == 1


def test_what_did_not_reach_the_server_does_not_count() -> None:
    """Twenty failures to connect leave all three attempts."""
    kinds = [ErrorKind.CONNECT] * 20 + [ErrorKind.SERVER_ERROR] * 2
    asked, _, policy, attempt = failing(*kinds)
    assert run(policy, attempt) == "yes"
    assert len(asked) == 23


def test_the_back_off_doubles_up_to_its_longest() -> None:
    """With chance at its worst: half a second, one, two, four, eight, eight."""
    _, slept, policy, attempt = failing(*[ErrorKind.DNS] * 6)
    run(policy, attempt)
    assert slept == [0.5, 1, 2, 4, 8, 8]
    assert backoff(10_000, 60) == 60


@pytest.mark.parametrize("kind", [ErrorKind.RATE_LIMITED])
def test_the_throttle_waits_for_what_the_server_asks(kind: ErrorKind) -> None:
    """One wait is enough: the recording itself does not sleep besides."""
    _, slept, policy, attempt = failing(kind)
    run(policy, attempt)
    assert slept == [0]


# Keys and hosts.


def recording(number: int, project: str = "P") -> Recording:
    return Recording("ws", project, f"CA{number}", Direction.COMBINED, Redaction.REDACTED)


def error(kind: ErrorKind, code: str | None = None) -> ErrorInfo:
    return ErrorInfo(kind, "no", 400, code)


def refusals(*projects: str) -> Refusals:
    return Refusals({("ws", project): "KEY" for project in projects})


def test_a_second_recording_proves_a_refusal() -> None:
    """The same recording twice proves nothing."""
    known = refusals("P")
    for number in (1, 1):
        known.note(recording(number), error(ErrorKind.UNAUTHORIZED))
        assert known.verdict(recording(3)) is None
        assert known.fatal() is None
    known.note(recording(2), error(ErrorKind.UNAUTHORIZED))
    assert known.verdict(recording(3)) is not None
    assert isinstance(known.fatal(), CredentialsRefusedError)


def test_one_project_refused_does_not_end_the_run() -> None:
    """With one key for two projects, a 403 in one says nothing of the other."""
    known = refusals("P", "Q")
    for number in (1, 2):
        known.note(recording(number), error(ErrorKind.FORBIDDEN))
    assert known.verdict(recording(3)) is not None
    assert known.verdict(recording(3, "Q")) is None
    assert known.fatal() is None
    for number in (1, 2):
        known.note(recording(number, "Q"), error(ErrorKind.FORBIDDEN))
    assert known.fatal() is not None


def test_a_key_that_expires_in_the_middle_of_a_run_ends_it() -> None:
    """It worked before; two refusals since its last success prove that it is over."""
    known = refusals("P")
    known.note(recording(1), error(ErrorKind.UNAUTHORIZED))
    known.note_accepted(recording(2))
    known.note(recording(3), error(ErrorKind.UNAUTHORIZED))
    assert known.fatal() is None
    known.note(recording(4), error(ErrorKind.UNAUTHORIZED))
    assert known.fatal() is not None


def test_the_last_recording_alone_proves_nothing_where_others_worked() -> None:
    """At the end one refusal is proof only if nothing was ever accepted."""
    known = refusals("P")
    known.note_accepted(recording(1))
    known.note(recording(2), error(ErrorKind.FORBIDDEN))
    assert known.fatal(at_the_end=True) is None


class Time:
    now = 0.0


def host(time: Time, max_outage: float = 120) -> Host:
    return Host(max_outage=max_outage, max_delay=60, clock=lambda: time.now, chance=lambda: 1.0)


def test_half_a_minute_without_name_resolution_is_survived_with_few_questions() -> None:
    """Seven scouts in 30 seconds, and no reason to give up."""
    time = Time()
    known = host(time)
    scouts = 0
    while time.now < 30:
        scouts += 1
        delay = known.note_failure(error(ErrorKind.DNS), time.now)
        assert known.fatal() is None
        time.now += delay
    assert scouts <= 7
    known.note_answer()
    assert known.note_failure(error(ErrorKind.DNS), time.now) == 0.5


def test_a_host_that_stays_away_ends_the_run() -> None:
    """After `max_outage`, not a second later, with the reason and what to check."""
    time = Time()
    known = host(time)
    while known.fatal() is None:
        time.now += known.note_failure(error(ErrorKind.DNS), time.now)
        assert time.now <= 120
    fatal = known.fatal()
    assert isinstance(fatal, HostError)
    assert "could not be reached for 120 seconds" in fatal.message
    assert "api.region" in fatal.hint


def test_failures_under_way_together_are_one_round() -> None:
    """A hundred workers that fail at once do not make the pause a hundred times longer."""
    time = Time()
    known = host(time)
    delays = [known.note_failure(error(ErrorKind.CONNECT), 0.0) for _ in range(100)]
    assert delays == [0.5] + [0.0] * 99


def test_failures_of_one_recording_do_not_pause_the_others() -> None:
    """A server that answers others in between is well."""
    known = host(Time())
    for _ in range(100):
        assert known.note_failure(error(ErrorKind.SERVER_ERROR), 0.0) == 0
        known.note_answer()


def test_one_answer_of_the_api_proves_the_host() -> None:
    """After that a stranger's answer is about one recording only."""
    known = host(Time())
    known.note_answer(is_the_api=True)
    for number in range(10):
        known.note_stranger(recording(number), error(ErrorKind.WRONG_HOST))
    assert known.fatal() is None


@pytest.mark.parametrize(
    ("kind", "word"), [(ErrorKind.WRONG_HOST, "region"), (ErrorKind.CERTIFICATE, "api.ca_file")]
)
def test_three_strangers_prove_the_wrong_host(kind: ErrorKind, word: str) -> None:
    """Three recordings met something that is not the API, and the API never answered."""
    known = host(Time())
    for number in range(3):
        assert known.fatal() is None
        known.note_stranger(recording(number), error(kind))
    fatal = known.fatal()
    assert isinstance(fatal, HostError)
    assert word in fatal.hint
