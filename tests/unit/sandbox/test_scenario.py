"""Scenario files: what they can say, and how they say what is wrong."""

import re
from pathlib import Path

import pytest

from exporter.sandbox import (
    AudioSettings,
    Bandwidth,
    Codec,
    Cut,
    Damage,
    Direction,
    Dribble,
    Framing,
    Gzip,
    Limits,
    Match,
    Payload,
    Redirect,
    Reset,
    Respond,
    RetryAfterStyle,
    Rule,
    Scenario,
    ScenarioError,
    Stall,
    State,
    Times,
    WrongBody,
    WrongType,
    load_scenario,
    parse_scenario,
)

MANUAL = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")

RULES = [
    ("respond: 503", Respond(503)),
    (
        "respond: {status: 429, retry_after: 2, retry_after_style: date}",
        Respond(429, retry_after=2.0, retry_after_style=RetryAfterStyle.DATE),
    ),
    (
        "respond: {status: 502, body: Bad, content_type: text/plain, headers: {X-Via: gw}}",
        Respond(502, body="Bad", content_type="text/plain", headers={"X-Via": "gw"}),
    ),
    (
        "respond: {status: 403, code: EXTERNAL_USER_FORBIDDEN, message: No.}",
        Respond(403, code="EXTERNAL_USER_FORBIDDEN", message="No."),
    ),
    ("wrong_type: html", WrongType()),
    ("wrong_type: {body: json, content_type: audio/wav}", WrongType(Payload.JSON, "audio/wav")),
    ("wrong_body: {damage: trailing, amount: 7}", WrongBody(Damage.TRAILING, 7)),
    ("redirect: http://127.0.0.1:9/", Redirect("http://127.0.0.1:9/")),
    ("gzip:", Gzip()),
    ("reset:", Reset()),
    ("reset: 4000", Reset(4000)),
    ("cut: {after_bytes: 10, framing: close}", Cut(10, Framing.CLOSE)),
    ("stall: {after_bytes: null, seconds: 30}", Stall(None, 30.0)),
    ("dribble: {piece: 100, every: 0.5}", Dribble(100, 0.5)),
    ("bandwidth: 64000", Bandwidth(64000)),
]


@pytest.mark.parametrize(("text", "action"), RULES)
def test_actions(text: str, action: object) -> None:
    """Every action can be written, in full or in short."""
    assert parse_scenario(f"rules:\n  - {text}\n").rules == (Rule(action=action),)  # type: ignore[arg-type]


def test_match_and_delay() -> None:
    """A rule says whom it is for, and may only make them wait."""
    text = """
    version: 1
    rules:
      - match: {conversation: CA0*, account: ws-1, direction: user, redacted: false,
                attempts: 1..2, requests: 3.., probability: 0.5, seed: 7}
        delay: 1.5
    """
    match = Match(
        conversation="CA0*",
        account="ws-1",
        direction=Direction.USER,
        redacted=False,
        attempts=Times(1, 2),
        requests=Times(3),
        probability=0.5,
        seed=7,
    )
    assert parse_scenario(text).rules == (Rule(match=match, delay=1.5),)


def test_world_and_limits() -> None:
    """Keys, projects, conversations, audio and limits can be described as well."""
    scenario = parse_scenario(
        """
        limits: {requests_per_second: 5, burst: 2, retry_after: date}
        world:
          keys: [{name: mine, secret: s, pii_access: false, scope: [[ws-1, "*"]]}]
          projects: [[ws-1, P]]
          conversations: [{account: ws-1, project: P, id: CA1, state: gone}]
          audio: {seconds: [0.5, 2], codec: mulaw}
          framing: chunked
        """
    )
    assert scenario.limits == Limits(
        requests_per_second=5.0, burst=2, retry_after=RetryAfterStyle.DATE
    )
    world = scenario.world
    key = world.key("s")
    assert key is not None
    assert not key.pii_access
    assert key.opens("ws-1", "P")
    assert not key.opens("ws-2", "P")
    assert world.projects == frozenset({("ws-1", "P")})
    assert world.conversation("ws-1", "P", "CA1").state is State.GONE
    assert world.audio == AudioSettings(seconds=(0.5, 2.0), codec=Codec.MULAW)
    assert world.framing is Framing.CHUNKED


def test_empty_file() -> None:
    """An empty file is a scenario in which nothing goes wrong."""
    assert parse_scenario("") == Scenario()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n- respnd: 5", r"s:2:3: unknown key 'respnd'; did you mean 'respond'\?"),
        ("rules:\n- match: {probabilty: 1}", r"s:2:11: .*did you mean 'probability'\?"),
        ("world: {xyz: 1}", r"s:1:9: unknown key 'xyz'; known are keys, projects"),
        ("rules: [{respond: {}}]", "s:1:19: missing: status"),
        ("rules: [{respond: 99}]", "s:1:19: status is between 200 and 599, not 99"),
        ("rules: [{respond: many}]", "s:1:19: expected a whole number, found 'many'"),
        ("rules: [{cut: 1, reset: 2}]", "s:1:18: one action a rule"),
        ("rules: [{cut: -1}]", "s:1:15: after_bytes is at least 0, not -1"),
        ('rules: [{redirect: "a\\nb"}]', "s:1:20: not fit for an HTTP header"),
        ("rules: 5", "s:1:8: expected a list, found '5'"),
        ("rules: [{match: [1]}]", "s:1:17: expected a mapping, found a list"),
        ("rules: [{match: {attempts: often}}]", "s:1:28: expected a count such as"),
        ("rules: [{match: {redacted: maybe}}]", "s:1:28: expected true or false, found 'maybe'"),
        ("rules: [{match: {conversation: [a]}}]", "s:1:32: expected text, found a list"),
        ("rules: [{delay: 1, delay: 2}]", "s:1:20: 'delay' is here twice"),
        ("limits: {burst: 0}", "s:1:9: burst is at least 1"),
        ("world: {audio: {codec: mp3}}", "s:1:24: expected one of pcm, mulaw, alaw, found 'mp3'"),
        ("world: {audio: {seconds: [1, 2, 3]}}", "s:1:26: expected a list of 2, found 3"),
        ("version: 2", "s:1:1: expected version 1, found 2"),
        ("just text", "s:1:1: expected a mapping, found 'just text'"),
        ("rules: [", "s:1:9: "),
        ("a: &a [*a]", "s:1:8: aliases are not supported"),
        ("[" * 100, "nested too deeply"),
        ("version: !!python/name:os.system x", "s:1:10: expected a whole number"),
        ("version: " + "9" * 5000, "expected a whole number"),
        ("version: \0", "s: unacceptable character"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    """Whatever is wrong is told with line, column, what was found and what was expected."""
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(text, source="s")


def test_load(tmp_path: Path) -> None:
    """A scenario is read from a file, a byte order mark or not."""
    path = tmp_path / "faults.yaml"
    path.write_text("rules: [{respond: 500}]", encoding="utf-8-sig")
    assert load_scenario(path).rules == (Rule(action=Respond(500)),)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"\xff", "not UTF-8"), (b" " * 5_000_000, "larger")],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A file that is missing, binary or huge is told by name and not with a traceback."""
    path = tmp_path / "faults.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError, match=f"faults.yaml: .*{message}"):
        load_scenario(path)


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL))
def test_examples_in_the_manual(example: str) -> None:
    """Whoever copies an example from the manual gets a scenario that works."""
    assert parse_scenario(example) != Scenario()
