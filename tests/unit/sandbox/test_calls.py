"""Calls: deterministic, believable, and three directions and two redactions that fit together."""

import io
import math
import statistics
import wave
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.sandbox import AudioSettings, Call, Codec, Direction, HeaderStyle, voice

SHORT = AudioSettings(seconds=(0.2, 2.0))
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)


def samples(call: Call, direction: str, *, redacted: bool = False) -> list[int]:
    values = array("h")
    values.frombytes(call.samples(direction, redacted))
    return values.tolist()


@given(conversation=IDS, redacted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_combined_is_the_mix(conversation: str, redacted: bool) -> None:
    """Combined is the saturating sum of user and agent, sample by sample, redacted or not."""
    call = Call.of("ws-1", "P", conversation, SHORT)
    user, agent, combined = (
        samples(call, side, redacted=redacted) for side in ("user", "agent", "combined")
    )
    assert combined == [max(-32768, min(32767, a + b)) for a, b in zip(user, agent, strict=True)]


def test_mixing_saturates() -> None:
    """When both shout at once the mix is clipped, as on a real line, and does not wrap around."""
    loud, louder = array("h", [30000, -30000]), array("h", [10000, -10000])
    assert voice.mix(loud, louder).tolist() == [32767, -32768]
    call = Call.of("ws-1", "P", "CA1", seconds=120)
    assert max(samples(call, "combined")) == 32767


@given(conversation=IDS, direction=st.sampled_from(Direction))
@settings(max_examples=25, deadline=None)
def test_redaction_mutes_private_spans_only(conversation: str, direction: Direction) -> None:
    """Redacted audio is as long as raw audio, silent in the private spans, the same elsewhere."""
    call = Call.of("ws-1", "P", conversation, SHORT)
    raw = samples(call, direction)
    for first, last in call.pii_frames:
        assert any(raw[first:last])
        raw[first:last] = [0] * (last - first)
    assert samples(call, direction, redacted=True) == raw


def test_most_calls_have_something_private() -> None:
    """About three calls in four have private spans, so both kinds turn up in any export."""
    calls = [Call.of("ws-1", "P", f"CA{number}", SHORT) for number in range(400)]
    assert 0.65 < statistics.mean(bool(call.pii_spans) for call in calls) < 0.85


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_private_share_can_be_set(share: float, expected: bool) -> None:
    """A test that needs private spans, or none, can have them in every call."""
    wanted = AudioSettings(seconds=(0.2, 2.0), pii_share=share)
    assert all(bool(Call.of("a", "p", f"CA{n}", wanted).pii_spans) is expected for n in range(50))


def test_same_identifiers_same_bytes() -> None:
    """A call depends on its identifiers alone, so a test can work out what a server sent."""
    first, second = (
        Call.of("ws-1", "P", "CA1", SHORT).wav("user", redacted=True) for _ in range(2)
    )
    assert first == second


def test_bytes_are_the_same_in_every_process() -> None:
    """No randomised hash or seed of the process leaks in: the bytes are known beforehand."""
    call = Call.of("ws-1", "P", "CA1", SHORT)
    assert (call.frames, call.samples()[:8].hex()) == (2241, "0100f8fff9ff0000")


def test_every_recording_is_different() -> None:
    """No two calls and no two directions share their bytes, so a mixed-up file cannot go unseen."""
    places = [("ws-1", "P"), ("ws-1", "Q"), ("ws-2", "P")]
    files = {
        Call.of(account, project, f"CA{number}", SHORT).wav(direction)
        for account, project in places
        for number in range(100)
        for direction in Direction
    }
    assert len(files) == 3 * 100 * 3


def test_lengths_are_believable() -> None:
    """Calls last from tens of seconds to minutes, the median nearer to the short end."""
    seconds = sorted(Call.of("ws-1", "P", f"CA{number}").duration for number in range(300))
    assert 20 <= seconds[0] <= seconds[-1] <= 600
    assert 80 < statistics.median(seconds) < 150
    assert statistics.mean(seconds) > statistics.median(seconds)


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 100])
def test_tiny_calls(frames: int) -> None:
    """Even a call of one sample is exactly as long as was asked for."""
    call = Call.of("a", "p", "c", AudioSettings(pii_share=1.0), seconds=frames / 8000)
    assert {
        len(call.samples(side, redacted)) for side in Direction for redacted in (True, False)
    } == {2 * frames}


def test_speech_is_louder_than_the_line() -> None:
    """Both sides talk at times and leave only faint noise at others."""
    call = Call.of("ws-1", "P", "CA1", seconds=30)
    for side in ("user", "agent"):
        heard = samples(call, side)
        windows = [heard[start : start + 800] for start in range(0, len(heard), 800)]
        loudness = [
            math.sqrt(statistics.fmean(value * value for value in part)) for part in windows
        ]
        assert max(loudness) > 1000
        assert min(loudness) < 10


def test_standard_library_reads_it() -> None:
    """The standard library's independent reader agrees about rate, width, channels and length."""
    call = Call.of("ws-1", "P", "CA1", AudioSettings(seconds=(1, 1), sample_rate=16000))
    with wave.open(io.BytesIO(call.wav())) as reader:
        assert reader.getparams()[:4] == (1, 2, 16000, 16000)
        assert reader.readframes(16000) == call.samples()


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("style", HeaderStyle)
def test_codec_and_header_change_the_file_not_the_call(codec: Codec, style: HeaderStyle) -> None:
    """The same call in any encoding and header style has the same length and private spans."""
    plain = Call.of("ws-1", "P", "CA1", AudioSettings(pii_share=1.0), seconds=0.5)
    stored = AudioSettings(pii_share=1.0, codec=codec, header_style=style)
    call = Call.of("ws-1", "P", "CA1", stored, seconds=0.5)
    assert (call.frames, call.pii_frames) == (plain.frames, plain.pii_frames)
    width = 2 if codec is Codec.PCM else 1
    assert len(call.samples()) == call.frames * width
    assert call.samples() in call.wav()


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": (0, 1)}, {"seconds": (2, 1)}, {"pii_share": 1.5}, {"sample_rate": 0}],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    """Settings that make no sense are refused at once, not when the first call is made."""
    with pytest.raises(ValueError, match="not"):
        AudioSettings(**wrong)  # type: ignore[arg-type]


def test_unknown_direction_is_refused() -> None:
    """A direction that does not exist is an error rather than some other side."""
    with pytest.raises(ValueError, match="sideways"):
        Call.of("a", "p", "c", SHORT).wav("sideways")
