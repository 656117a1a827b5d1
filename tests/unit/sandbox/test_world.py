"""The world: who may hear what, and which error each wrong request gets."""

import json

import pytest

from exporter.sandbox import (
    AudioSettings,
    Conversation,
    Key,
    State,
    Surface,
    World,
    answers,
)

SHORT = AudioSettings(seconds=(0.2, 0.4), pii_share=1.0)
WORLD = World(
    keys=(
        Key(name="all", secret="s-all"),
        Key(name="blind", secret="s-blind", pii_access=False),
        Key(name="old", secret="s-old", expired=True),
        Key(name="a-only", secret="s-a", scope=frozenset({("ws-1", "A")})),
        Key(name="ws-2", secret="s-2", scope=frozenset({("ws-2", "*")})),
    ),
    projects=frozenset({("ws-1", "A"), ("ws-1", "B"), ("ws-2", "C")}),
    conversations=(
        Conversation(account="ws-1", project="A", id="CA-gone", state=State.GONE),
        Conversation(account="ws-1", project="A", id="CA-late", late_after=2),
        Conversation(account="ws-1", project="A", id="CA-long", seconds=3.0),
    ),
    audio=SHORT,
)

AUDIO = "/v3/ws-1/A/conversations/CA1/audio"
INVALID = "CONVERSATIONS_VALIDATION_FAILED"
NO_RECORDING = "CONVERSATIONS_RECORDING_NOT_FOUND"


def ask(
    path: str = AUDIO,
    query: str = "",
    secret: str = "s-all",  # noqa: S107
    *,
    world: World = WORLD,
    attempt: int = 1,
) -> answers.Answer:
    asked = answers.understand(path, query, secret, world)
    assert asked is not None
    return answers.audio(asked, world, attempt=attempt, now=0.0, correlation_id="id-1")


@pytest.mark.parametrize(
    ("path", "query", "secret", "status", "code"),
    [
        (AUDIO, "", "", 401, "AUTH_USER_UNAUTHORISED"),
        (AUDIO, "", "nobody", 401, "AUTH_USER_NOT_FOUND"),
        (AUDIO, "", "s-old", 401, "AUTH_USER_INVALID_TOKEN"),
        ("/v3/ws-1/B/conversations/CA1/audio", "", "s-a", 403, "USER_ACCESS_FORBIDDEN"),
        ("/v3/ws-2/C/conversations/CA1/audio", "", "s-a", 403, "ACCOUNT_INSUFFICIENT_PERMISSIONS"),
        ("/v3/ws-9/A/conversations/CA1/audio", "", "s-all", 404, "ACCOUNT_NOT_FOUND"),
        ("/v3/ws-1/C/conversations/CA1/audio", "", "s-all", 404, "PROJECT_NOT_FOUND"),
        ("/v1/agents/Z/conversations/CA1/audio", "", "s-all", 404, "PROJECT_NOT_FOUND"),
        (AUDIO, "direction=both", "s-all", 400, INVALID),
        (AUDIO, "redacted=TRUE", "s-all", 400, INVALID),
        ("/v3/ws-1/A/conversations/-CA/audio", "", "s-all", 400, INVALID),
        ("/v3/ws-1/A/conversations/CA-gone/audio", "", "s-all", 410, "GONE"),
        ("/v3/ws-1/A/conversations/unknown-1/audio", "", "s-all", 404, "CONVERSATIONS_NOT_FOUND"),
        ("/v3/ws-1/A/conversations/text-1/audio", "", "s-all", 404, NO_RECORDING),
        ("/v3/ws-1/A/conversations/no-recording-1/audio", "", "s-all", 404, NO_RECORDING),
        ("/v3/ws-1/A/conversations/gone-1/audio", "", "s-all", 410, "GONE"),
    ],
)
def test_errors(path: str, query: str, secret: str, status: int, code: str) -> None:
    """Each wrong request gets the documented status, code and envelope."""
    answer = ask(path, query, secret)
    assert (answer.status, answer.code) == (status, code)
    body = json.loads(answer.body)
    assert body == {
        "success": False,
        "error": body["error_message"],
        "error_id": "id-1",
        "error_code": code,
        "error_message": body["error"],
        "data": None,
    }
    assert answer.headers["X-PolyAI-Correlation-Id"] == "id-1"


@pytest.mark.parametrize(
    ("secret", "query", "redacted"),
    [
        ("s-all", "redacted=false", False),
        ("s-all", "", False),
        ("s-all", "redacted=true", True),
        ("s-blind", "redacted=false", True),
        ("s-blind", "", True),
        ("s-blind", "redacted=true", True),
    ],
)
def test_redaction_follows_the_key(secret: str, query: str, redacted: bool) -> None:
    """Raw audio asked for without PII access comes redacted, with status 200 and not a word."""
    answer = ask(query=query, secret=secret)
    assert answer.status == 200
    assert answer.body == WORLD.call("ws-1", "A", "CA1").wav("combined", redacted)
    assert "redact" not in str(answer.headers).lower()


@pytest.mark.parametrize("direction", ["combined", "user", "agent"])
def test_both_surfaces_serve_the_same_recording(direction: str) -> None:
    """The two API families differ in their paths, not in what they deliver."""
    v3 = ask(query=f"direction={direction}")
    v1 = ask("/v1/agents/A/conversations/CA1/audio", f"direction={direction}")
    assert v3.body == v1.body == WORLD.call("ws-1", "A", "CA1").wav(direction)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v3/ws-1/A/conversations/CA1",
        "/v3/ws-1/A/conversations/CA1/audio/",
        "/v2/ws-1/A/conversations/CA1/audio",
        "/v1/agents/A/B/conversations/CA1/audio",
    ],
)
def test_other_paths_are_not_the_api(path: str) -> None:
    """A path that the API does not have is answered as a wrong host would: without an envelope."""
    assert answers.understand(path, "", "s-all", WORLD) is None
    answer = answers.not_the_api()
    assert (answer.status, answer.headers) == (404, {"Content-Type": "text/html"})


def test_late_recordings_appear() -> None:
    """A recording that is not processed yet is missing for N requests and there from then on."""
    path = "/v3/ws-1/A/conversations/CA-late/audio"
    assert [ask(path, attempt=attempt).status for attempt in (1, 2, 3, 4)] == [404, 404, 200, 200]
    by_id = "/v3/ws-1/A/conversations/late-1-x/audio"
    assert [ask(by_id, attempt=attempt).status for attempt in (1, 2)] == [404, 200]


def test_scopes() -> None:
    """A key opens the projects of its scope, and `*` stands for any."""
    assert ask(secret="s-a").status == 200
    assert ask("/v3/ws-2/C/conversations/CA1/audio", secret="s-2").status == 200


def test_length_of_one_conversation() -> None:
    """A listed conversation may have a length of its own."""
    assert WORLD.call("ws-1", "A", "CA-long").duration == 3.0


def test_closed_world() -> None:
    """In a closed world only listed conversations exist, whatever their ids say."""
    listed = Conversation(account="ws", project="P", id="CA1")
    world = World(conversations=(listed,), closed=True, audio=SHORT)
    found = ask("/v3/ws/P/conversations/CA1/audio", secret="sandbox-key", world=world)
    other = ask("/v3/ws/P/conversations/CA2/audio", secret="sandbox-key", world=world)
    assert (found.status, other.status) == (200, 404)


def test_special_ids_can_be_ordinary() -> None:
    """Telling prefixes can be switched off, for those whose real ids begin so."""
    world = World(special_ids=False, audio=SHORT)
    answer = ask("/v3/ws/P/conversations/gone-1/audio", secret="sandbox-key", world=world)
    assert answer.status == 200


def test_default_world_takes_anything() -> None:
    """Without any set-up every account and project exists, and an agent has an account."""
    world = World(audio=SHORT)
    v3 = ask("/v3/sandbox/P/conversations/CA1/audio", secret="sandbox-key", world=world)
    v1 = ask("/v1/agents/P/conversations/CA1/audio", secret="sandbox-key", world=world)
    assert v3.body == v1.body
    refused = ask("/v3/any/P/conversations/CA1/audio", secret="sandbox-key-no-access", world=world)
    assert refused.status == 403


def test_identifiers_are_decoded() -> None:
    """Percent-encoded identifiers in a path mean what they stand for."""
    path = "/v3/ws%2D1/A/conversations/CA%3A1/audio"
    asked = answers.understand(path, "", "s-all", WORLD)
    assert asked is not None
    assert (asked.surface, asked.account, asked.conversation) == (
        Surface.PLATFORM_V3,
        "ws-1",
        "CA:1",
    )


def test_keys_hide_their_secret() -> None:
    """Printing a key, or a world of them, does not print its secret."""
    assert "s-all" not in repr(WORLD)
