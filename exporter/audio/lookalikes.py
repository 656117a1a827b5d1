"""What a body looks like that is no WAV file: a sentence that tells people where to look."""

from __future__ import annotations

import re
from typing import Final

SNIFFED_BYTES: Final = 64
_SHOWN_CHARACTERS: Final = 40
# Whatever might be a key, a token or a telephone number is not repeated in a message.
_PERHAPS_SECRET: Final = re.compile(r"[\w+/=-]{16,}|\+?\d[\d ()-]{4,}\d")
# The beginning, in lower case, without byte order mark and white space -> what it looks like.
_LIKENESSES: Final = (
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"<!doctype html", "HTML"),
    (b"<html", "HTML"),
    (b"<", "XML or HTML"),
    (b"\x1f\x8b", "gzip"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"riff", "a RIFF file of another type"),
    (b"id3", "MP3"),
    (b"\xff\xe3", "MP3"),
    (b"\xff\xf3", "MP3"),
    (b"\xff\xfb", "MP3"),
    (b"oggs", "Ogg"),
    (b"flac", "FLAC"),
    (b"form\x00", "AIFF"),
    (b"#!amr", "AMR"),
)


def say_what_it_is(head: bytes) -> str:
    """A sentence for people about a body that is no WAV file."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    is_text = all(byte >= 0x80 or chr(byte).isprintable() or chr(byte).isspace() for byte in head)  # noqa: PLR2004 ASCII
    likeness = next(
        (likeness for beginning, likeness in _LIKENESSES if text.startswith(beginning)),
        "plain text" if is_text else "unknown binary data",
    )
    masked = _PERHAPS_SECRET.sub(lambda found: "…" * len(found[0]), printable(head))
    shown = re.sub("…+", "…", masked[:_SHOWN_CHARACTERS])
    return f"the body is no WAV file, it looks like {likeness} and begins {shown!r}"


def printable(raw: bytes) -> str:
    """Text for a message: what cannot be shown is a dot."""
    text = raw.decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() and c != "\ufffd" else "." for c in text)
