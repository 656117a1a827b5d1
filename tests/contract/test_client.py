"""The client against the sandbox, and against servers that the sandbox is too polite to be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from exporter.errors import FetchError, PolicyError
from exporter.model import Direction, Recording, Redaction, Surface
from exporter.sandbox import (
    AudioSettings,
    Framing,
    Match,
    Respond,
    Rule,
    Sandbox,
    Times,
    World,
)
from tests.clients import (
    KEY,
    RECORDING,
    WAV,
    WORLD,
    Raw,
    client_of,
    failure,
    fetch,
    fetched,
    without_key,
)

pytestmark = pytest.mark.usefixtures("no_proxies")


# What is asked.


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("redaction", Redaction)
@pytest.mark.parametrize(
    ("surface", "path"),
    [
        (Surface.PLATFORM_V3, "/v3/acme/shop/conversations/CA1/audio"),
        (Surface.AGENTS_V1, "/v1/agents/shop/conversations/CA1/audio"),
    ],
)
async def test_requests(
    direction: Direction, redaction: Redaction, surface: Surface, path: str
) -> None:
    """Each variant is asked for by name, in both families, with the headers that are documented."""
    recording = Recording("acme", "shop", "CA1", direction, redaction)
    async with Sandbox(world=World(keys=WORLD.keys, default_account="acme")) as sandbox:
        heard = await fetch(sandbox.base_url, recording, surface=surface)
        (request,) = sandbox.requests
        call = sandbox.world.call("acme", "shop", "CA1")
    redacted = redaction is Redaction.REDACTED
    assert heard.body == call.wav(str(direction), redacted)
    assert (request.path, request.surface, request.key) == (path, surface, "full")
    assert request.query == f"direction={direction}&redacted={str(redacted).lower()}"
    assert request.headers["Accept"] == "audio/wav"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("exporter/")
    assert "Content-Type" not in request.headers
    assert heard.correlation_id == request.correlation_id is not None


@pytest.mark.parametrize("surface", Surface)
async def test_identifiers_are_quoted(surface: Surface) -> None:
    """Characters that mean something in an address arrive as what they are."""
    recording = Recording("a:b", "p@=+", "c:@=+._-", Direction.USER, Redaction.RAW)
    async with Sandbox(world=World(keys=WORLD.keys, default_account="a:b")) as sandbox:
        await fetch(f"{sandbox.base_url}", recording, surface=surface)
        (request,) = sandbox.requests
    assert (request.account, request.project) == ("a:b", "p@=+")
    assert request.conversation == "c:@=+._-"
    assert request.path.endswith("/p%40%3D%2B/conversations/c%3A%40%3D%2B._-/audio")


async def test_a_path_prefix_is_kept() -> None:
    """Behind a gateway the API may live below a path."""
    async with Raw(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        await failure(f"{server.origin}/poly/ai")
    assert server.requests[0].startswith(b"GET /poly/ai/v3/acme/shop/conversations/CA1/audio?")


@pytest.mark.parametrize("framing", Framing)
async def test_bodies(framing: Framing) -> None:
    """A recording arrives whole, however its end is told; its length is known where it was said."""
    world = World(keys=WORLD.keys, audio=WORLD.audio, framing=framing)
    async with Sandbox(world=world) as sandbox:
        heard = await fetch(sandbox.base_url)
    assert heard.body == WAV
    assert heard.content_length == (len(WAV) if framing is Framing.LENGTH else None)


async def test_outside_of_its_context() -> None:
    """A client that was not entered says so instead of leaking connections."""
    client = client_of("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="context manager"):
        await fetched(client)
    await client.__aexit__(None, None, None)


# Connections.


async def test_connections_are_used_again() -> None:
    """After whole bodies, and after errors that were read, the same connection goes on."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 4\r\n\r\nRIFF"
    error = b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"
    async with Raw(whole, error, whole) as server, client_of(server.origin) as client:
        assert (await fetched(client)).body == b"RIFF"
        with pytest.raises(FetchError):
            await fetched(client)
        assert (await fetched(client)).body == b"RIFF"
    assert server.connections == 1


async def test_a_body_that_is_left_early_is_not_read_by_the_next() -> None:
    """Who stops in the middle of a body costs a connection, never a wrong recording."""
    world = World(keys=WORLD.keys, audio=AudioSettings(seconds=(60, 60)))
    async with Sandbox(world=world) as sandbox, client_of(sandbox.base_url) as client:
        async with client.open(RECORDING, KEY) as body:
            assert bytes(await anext(body.chunks())).startswith(b"RIFF")
        assert (await fetched(client)).body == world.call("acme", "shop", "CA1").wav(redacted=True)


async def test_cookies_are_not_kept() -> None:
    """What a server wants remembered is forgotten."""
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\nRIFF"
    async with Raw(answer, answer) as server, client_of(server.origin) as client:
        await fetched(client)
        await fetched(client)
    assert b"cookie" not in server.requests[1].lower()


# The sandbox's limits, as a client meets them.


async def test_a_rate_limit_passes() -> None:
    """A 429 says how long to wait, and the recording comes when the limit is over."""
    scenario = [Rule(match=Match(attempts=Times(1, 1)), action=Respond(429, retry_after=3))]
    async with (
        Sandbox(world=WORLD, scenario=scenario) as sandbox,
        client_of(sandbox.base_url) as client,
    ):
        with pytest.raises(FetchError) as caught:
            await fetched(client)
        assert without_key(caught.value).retry_after == 3
        assert (await fetched(client)).body == WAV


async def test_never_raw_sends_no_request_for_raw() -> None:
    """Whatever asks for it, no request for raw audio leaves for a project where none may."""
    raw = replace(RECORDING, redaction=Redaction.RAW)
    forbidden = RECORDING.account_id, RECORDING.project_id
    async with Sandbox(world=WORLD) as sandbox:
        async with client_of(
            sandbox.base_url, never_raw=lambda *project: project == forbidden
        ) as client:
            with pytest.raises(PolicyError, match="a request for raw audio was about to be sent"):
                await fetched(client, raw)
            assert not sandbox.requests
            await fetched(client, replace(RECORDING, redaction=Redaction.REDACTED))
            await fetched(client, replace(raw, project_id="another"))
        assert [request.redacted for request in sandbox.requests] == [True, False]
