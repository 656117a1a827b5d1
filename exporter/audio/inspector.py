"""The walk over a WAV file's structure: is a body whole, and where does its audio lie?

`WavInspector` reads a body as it arrives and keeps no audio: behind the header a piece costs one
subtraction. It checks the container (sizes, chunks, format), not how the samples sound.

What is whole
    Every size in the header is a promise of *at least* so many bytes: a body that ends before
    it is `truncated` (two harmless exceptions: *). A RIFF size that promises *less* than came is
    forgiven where the chunks, read strictly one after another, end exactly where the body ends:
    writers get the RIFF size wrong in many ways, the `data` size hardly ever.

    ==================  ====================  ===================================================
    RIFF size           `data` size           verdict
    ==================  ====================  ===================================================
    real                real                  both must be kept
    unknown, too small  real                  `data` decides; the chunks must end with the body
    real                unknown               audio runs to the end of the RIFF
    unknown             unknown               streamed: audio runs to the end of the body
    ends at `data`      0, bytes follow       streamed: its writer never came back to the header
    real                0, nothing follows    whole and empty: 0.0 seconds
    unknown             0, nothing follows    truncated: so looks a stream cut behind its header
    8 too large (*)     real, kept            whole: the writer counted the RIFF's own header
    ==================  ====================  ===================================================

    *Unknown* is what writers to a pipe leave: 0, about 2^31 (sox, GStreamer, arecord), about 2^32
    (ffmpeg); also rounded down to whole frames, so a window of sizes is meant, not one.
    The pad byte of an odd chunk may be missing (*), unless the RIFF size counts it.

    Behind the end, whatever is no chunk, or a second file, is a `size_mismatch`. A streamed file
    that ends inside a frame was cut: `truncated`; one that ends between two frames cannot be told
    from a whole one, there only HTTP's length protects; what its writer put behind the audio (a
    pad byte, GStreamer's 12 byte LIST) counts as audio. In a sized file whole frames count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.audio.encodings import EXTENSIBLE_BYTES, FMT, parse_fmt
from exporter.audio.headers import (
    CHUNK_HEADER,
    DS64,
    FILE_HEADER,
    FILE_IDS,
    SIZE_IS_IN_DS64,
    USUAL_BYTES,
    is_chunk_name,
    is_placeholder,
    usual_header,
)
from exporter.audio.lookalikes import SNIFFED_BYTES, printable, say_what_it_is
from exporter.audio.verdicts import malformed, size_mismatch
from exporter.errors import ErrorKind, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.audio.encodings import Encoding
    from exporter.model import AudioFormat

_MAX_CHUNKS: Final = 1000  # a hostile body of empty chunks would cost a step for every 8 bytes
_ENDLESS: Final = 1 << 62  # bytes: more than any body


class AudioPlace(NamedTuple):
    """Where the audio of a WAV file lies and how it is stored.

    Attributes:
        start: of the first byte of audio, counted from the first of the body.
        end: one past the last; None for audio that runs to the end of the body.
        codec: as in `AudioFormat`.
        sample_rate: frames a second.
        channels: samples a frame.
        frame_bytes: bytes a frame; of a compressed codec, a block.
    """

    start: int
    end: int | None
    codec: str
    sample_rate: int
    channels: int
    frame_bytes: int


class WavInspector:
    """Checks the structure of one WAV file, fed in pieces of any size; holds no audio.

    Feed it every byte of the body in order, then call `finish`. After it has raised it is spent.

    Args:
        max_bytes: refuse a file that is larger, or will be by its header; None for no limit.
    """

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self._max_bytes = _ENDLESS if max_bytes is None else max_bytes
        self._received = 0
        # Reading: pass over `_skip` bytes, then hold `_need` bytes and give them to `_read`
        # (a plain function: a bound method would make each inspector a reference cycle).
        self._skip = 0
        self._held = bytearray()
        self._need = FILE_HEADER.size
        self._read: Callable[[WavInspector, bytes, int], None] = WavInspector._read_file_header
        # Found so far; None is unknown. Positions count from the first byte of the body.
        self._riff_end: int | None = None
        self._is_64_bit = False  # RF64, BW64: sizes may stand in a ds64 chunk
        self._ds64_data_size: int | None = None
        self._format: Encoding | None = None
        self._chunks = 0
        self._chunk_start = 0  # of the last chunk's header
        self._chunk_end = 0  # of the last chunk's content, with the pad byte if it came
        self._data_start: int | None = None
        self._data_end: int | None = None  # stays None for audio that runs to the end of the body
        self._may_be_empty = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the body; inside the audio any size costs the same.

        Args:
            data: the piece (a memoryview of single bytes); nothing of the audio is kept.

        Raises:
            FetchError: as soon as the file is known to be no good: `not_audio`,
                `malformed_audio`, `unsupported_audio`, `size_mismatch` or `too_large`.
        """
        size = len(data)
        self._received += size
        if self._received > self._max_bytes:
            raise self._too_large(self._received)
        if size <= self._skip:
            self._skip -= size
        elif self._received > size or not self._take_usual(data, size):
            self._walk(data, size)

    @property
    def place(self) -> AudioPlace | None:
        """Where the audio lies, as soon as the header has told; None before."""
        if self._data_start is None or self._format is None:
            return None
        found = self._format
        return AudioPlace(
            self._data_start,
            self._data_end,
            found.codec,
            found.sample_rate,
            found.channels,
            found.block_align,
        )

    def finish(self) -> AudioFormat:
        """The body has ended: judge it.

        Returns:
            What the file holds; the duration (seconds) is that of the audio that arrived.

        Raises:
            FetchError: the file is not whole (`truncated`), something stands behind its end
                (`size_mismatch`), or it is no readable WAV file (`not_audio`, `malformed_audio`).
        """
        start, end = self._data_start, self._data_end
        if start is None:
            self._check_start()
        if start is None or end is not None:
            self._check_end()
        if start is None or self._format is None:
            raise malformed(f"the WAV file of {self._received:,} bytes has no data chunk")
        if end is None:
            end = self._received
            self._check_stream(end - start, self._format.block_align)
        return self._format.describe(end - start)

    def _take_usual(self, data: bytes | bytearray | memoryview, size: int) -> bool:
        """Do at once what `_walk` does, to a first piece that is as most are; else False."""
        if size < USUAL_BYTES or (header := usual_header(data)) is None:
            return False
        riff_size, fmt, audio_size = header
        end = USUAL_BYTES + audio_size
        if not size <= end <= self._max_bytes:
            return False
        self._riff_end = CHUNK_HEADER.size + riff_size
        self._format = parse_fmt(fmt)
        self._chunks = 2
        self._chunk_start = USUAL_BYTES - CHUNK_HEADER.size
        self._data_start = USUAL_BYTES
        self._data_end = self._chunk_end = end
        self._pass_over(end - size)
        return True

    def _walk(self, data: bytes | bytearray | memoryview, size: int) -> None:
        """Give each reader the bytes that it needs; a reader says what comes next."""
        before = self._received - size
        at = 0
        while True:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
            if at == size:
                return
            taken = bytes(data[at : at + self._need - len(self._held)])
            at += len(taken)
            if self._held or len(taken) < self._need:
                self._held += taken
                if len(self._held) < self._need:
                    return
                taken = bytes(self._held)
                self._held.clear()
            self._read(self, taken, before + at)

    def _expect(self, need: int, read: Callable[[WavInspector, bytes, int], None]) -> None:
        self._need = need
        self._read = read

    def _pass_over(self, count: int) -> None:
        self._skip = count
        if (self._chunk_end - self._chunk_start) % 2:
            self._expect(1, WavInspector._read_pad)
        else:
            self._expect(CHUNK_HEADER.size, WavInspector._read_chunk_header)

    def _read_file_header(self, taken: bytes, position: int) -> None:
        magic, size, form = FILE_HEADER.unpack(taken)
        if magic not in FILE_IDS or form != b"WAVE":
            # No good, but a little more of it tells people what it is instead.
            self._held += taken
            self._expect(SNIFFED_BYTES, WavInspector._refuse_foreign)
            return
        if magic == b"RIFX":
            raise FetchError(
                ErrorKind.UNSUPPORTED_AUDIO, "a big-endian WAV file (RIFX) cannot be checked"
            )
        self._is_64_bit = magic != b"RIFF"
        if size and not is_placeholder(size):
            self._riff_end = CHUNK_HEADER.size + size
        self._chunk_end = position
        self._expect(CHUNK_HEADER.size, WavInspector._read_chunk_header)

    def _refuse_foreign(self, taken: bytes, _position: int) -> None:
        raise FetchError(ErrorKind.NOT_AUDIO, say_what_it_is(taken))

    def _read_chunk_header(self, taken: bytes, position: int) -> None:
        name, size = CHUNK_HEADER.unpack(taken)
        self._chunk_start = position - CHUNK_HEADER.size
        self._chunk_end = position + size
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS:
            raise malformed(f"more than {_MAX_CHUNKS:,} chunks")
        if name in FILE_IDS or not is_chunk_name(name):
            raise self._no_chunk(name)
        if name == b"data":
            self._start_data(position, size)
        elif name == b"fmt ":
            if self._format is not None:
                raise malformed(f"a second fmt chunk at byte {self._chunk_start:,}")
            if size < FMT.size:
                raise malformed(f"a fmt chunk of {size} bytes, {FMT.size} are needed")
            self._expect(min(size, EXTENSIBLE_BYTES), WavInspector._read_fmt)
        elif name == b"ds64" and self._is_64_bit and self._ds64_data_size is None:
            if size < DS64.size:
                raise malformed(f"a ds64 chunk of {size} bytes, {DS64.size} are needed")
            self._expect(DS64.size, WavInspector._read_ds64)
        else:
            self._pass_over(size)

    def _read_fmt(self, taken: bytes, position: int) -> None:
        self._format = parse_fmt(taken)
        self._pass_over(self._chunk_end - position)

    def _read_ds64(self, taken: bytes, position: int) -> None:
        riff_size, self._ds64_data_size = DS64.unpack(taken)
        if self._riff_end is None and 0 < riff_size < _ENDLESS:
            self._riff_end = CHUNK_HEADER.size + riff_size
        self._pass_over(self._chunk_end - position)

    def _read_pad(self, taken: bytes, _position: int) -> None:
        self._expect(CHUNK_HEADER.size, WavInspector._read_chunk_header)
        # Some writers leave the pad byte out: then this is the first letter of the next name.
        if is_chunk_name(taken):
            self._held += taken
        else:
            self._chunk_end += 1

    def _start_data(self, position: int, size: int) -> None:
        if self._format is None:
            raise malformed(f"no fmt chunk before the data chunk at byte {self._chunk_start:,}")
        if self._data_start is not None:
            raise malformed(f"a second data chunk at byte {self._chunk_start:,}")
        self._data_start = position
        is_unknown = is_placeholder(size)
        if self._is_64_bit and size == SIZE_IS_IN_DS64:
            if self._ds64_data_size is None:
                raise malformed("no ds64 chunk before the data chunk of a 64-bit WAV file")
            size = self._ds64_data_size
            is_unknown = size >= _ENDLESS
        riff_end = self._riff_end
        if (is_unknown or not size) and (riff_end is None or riff_end <= position):
            self._may_be_empty = not size and riff_end is not None
            self._skip = _ENDLESS
            return
        end = riff_end if is_unknown and riff_end is not None else position + size
        if end > self._max_bytes:
            raise self._too_large(end)
        self._data_end = self._chunk_end = end
        self._pass_over(end - position)

    def _no_chunk(self, name: bytes) -> FetchError:
        start, riff_end = self._chunk_start, self._riff_end
        found = f"{printable(name)!r} at byte {start:,}"
        has_ended = name in FILE_IDS or riff_end is None or start >= riff_end
        if self._data_start is not None and has_ended:
            return size_mismatch(f"the WAV file has ended, but more follows: {found}")
        return malformed(f"a chunk was expected, found {found}")

    def _too_large(self, size: int) -> FetchError:
        return FetchError(
            ErrorKind.TOO_LARGE,
            f"at least {size:,} bytes, a recording may have {self._max_bytes:,}",
        )

    def _truncated(self, promised: int) -> FetchError:
        return FetchError(
            ErrorKind.TRUNCATED,
            f"the body ends after {self._received:,} bytes,"
            f" its WAV header promises at least {max(promised, self._riff_end or 0):,}",
        )

    def _check_start(self) -> None:
        """Refuse what ended before it was told from something else."""
        if not self._received:
            raise FetchError(ErrorKind.NOT_AUDIO, "the body is empty")
        head = bytes(self._held)
        is_wav_so_far = any(name.startswith(head[:4]) for name in FILE_IDS)
        if self._received < FILE_HEADER.size and is_wav_so_far:
            raise self._truncated(FILE_HEADER.size)
        if self._received < FILE_HEADER.size or self._read is WavInspector._refuse_foreign:
            self._refuse_foreign(head, self._received)

    def _check_end(self) -> None:
        """Refuse a body that does not end where the sizes in it say."""
        received, riff_end, chunk_start = self._received, self._riff_end, self._chunk_start
        if received == self._chunk_end == riff_end:
            return
        if received < self._chunk_end:
            if received == riff_end:
                raise malformed(
                    f"the chunk at byte {chunk_start:,} should end at byte {self._chunk_end:,},"
                    f" but the RIFF, like the body, ends at byte {riff_end:,}"
                )
            is_behind_audio = self._data_start is not None and chunk_start > self._data_start
            if riff_end is not None and riff_end <= chunk_start and is_behind_audio:
                raise size_mismatch(
                    f"the WAV file has ended at byte {chunk_start:,}, more bytes follow"
                )
            raise self._truncated(self._chunk_end)
        rest = received - self._chunk_end
        if rest and (riff_end is None or received < riff_end):
            raise self._truncated(self._chunk_end + CHUNK_HEADER.size)
        if rest:
            raise size_mismatch(
                f"the WAV file has ended at byte {self._chunk_end:,}, {rest} more bytes follow"
            )
        if riff_end is None and self._data_start is None:
            raise self._truncated(received + CHUNK_HEADER.size)
        missing = 0 if riff_end is None else riff_end - received
        counts_own_header = missing == CHUNK_HEADER.size and self._data_start is not None
        if missing > 0 and not counts_own_header:
            raise self._truncated(received + missing)

    def _check_stream(self, audio_bytes: int, block_align: int) -> None:
        """Refuse a streamed file that shows that it was cut."""
        found = f"the body ends after {self._received:,} bytes"
        if not audio_bytes and not self._may_be_empty:
            raise FetchError(
                ErrorKind.TRUNCATED, f"{found}, with the header of a streamed WAV file: no audio"
            )
        rest = audio_bytes % block_align
        is_pad_byte = rest == 1 and audio_bytes % 2 == 0
        if rest and not is_pad_byte:
            raise FetchError(
                ErrorKind.TRUNCATED, f"{found}, inside a frame: {rest} of {block_align} bytes"
            )


def inspect(data: bytes | bytearray | memoryview) -> AudioFormat:
    """Check a whole file at once.

    Args:
        data: every byte of the file.

    Returns:
        What the file holds.

    Raises:
        FetchError: as `WavInspector.feed` and `WavInspector.finish` do.
    """
    inspector = WavInspector()
    inspector.feed(data)
    return inspector.finish()
