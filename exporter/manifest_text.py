"""Conversations → a YAML manifest, as a stream. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.results import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.model import Conversation


def manifest(
    batches: Iterable[Iterable[Conversation]],
    *,
    comments: Sequence[str],
    defaults: tuple[str, str] | None = None,
) -> Iterator[bytes]:
    """The manifest, piece by piece.

    Args:
        batches: the conversations, some at a time.
        comments: lines for its head.
        defaults: (account, project) that entries need not repeat.
    """
    head = [*(f"# {line}" for line in comments), "version: 1"]
    if defaults is not None:
        account, project = defaults
        head += ["defaults:", f'  account_id: "{account}"', f'  project_id: "{project}"']
    yield ("\n".join(head) + "\nconversations:").encode()
    is_empty = True
    for batch in batches:
        lines = [f"\n  - {_entry(one, defaults)}" for one in batch]
        if lines:
            is_empty = False
            yield "".join(lines).encode()
    yield b" []\n" if is_empty else b"\n"


def _entry(one: Conversation, defaults: tuple[str, str] | None) -> str:
    # Identifiers hold no character that would need another kind of quoting.
    fields = [f'id: "{one.conversation_id}"']
    if one.started_at is not None:
        fields.append(f"started_at: {timestamp(one.started_at)}")
    if (one.account_id, one.project_id) != defaults:
        fields += [f'account_id: "{one.account_id}"', f'project_id: "{one.project_id}"']
    for name, words in (("directions", one.directions), ("redaction", one.redaction)):
        if words is not None:
            fields.append(f"{name}: [{', '.join(words)}]")
    if one.in_progress:
        fields.append("in_progress: true")
    return f"{{{', '.join(fields)}}}"
