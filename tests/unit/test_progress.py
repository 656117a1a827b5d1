"""What people read at the end of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from exporter.progress import say

WORDS = "2 requests, 0 retries, 0 times rate limited " * 4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_sentence_is_broken_between_words_and_only_on_a_terminal(is_terminal: bool) -> None:
    """Files and pipes get one line; the words are the same."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=40, color_system=None)
    say(console, WORDS)
    lines = written.getvalue().splitlines()
    assert " ".join(lines).split() == WORDS.split()
    assert len(lines) == (5 if is_terminal else 1)
