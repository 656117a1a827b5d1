"""Conversation to recordings: pure decisions about what is to be done.

The decision (fetch it or not) is apart from the action; `export` asks the ledger and the archive
for the facts and acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from exporter.model import Conversation, Direction, Recording, Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.model import Archived


class Decision(StrEnum):
    """What is to be done about a recording."""

    NEW = "new"  # never archived
    ARCHIVED = "archived"  # the ledger says so and the file is there with its size
    VANISHED = "vanished"  # the ledger says so, but the file is not there: fetch it again
    CHANGED = "changed"  # the file is there with other content: somebody else changed it
    REFRESH = "refresh"  # archived, and asked for again all the same


@dataclass(frozen=True, slots=True)
class Choice:
    """The variants to export where a manifest does not say.

    Attributes:
        directions: distinct, in order.
        redaction: distinct, in order.
    """

    directions: tuple[Direction, ...]
    redaction: tuple[Redaction, ...]


def recordings(conversation: Conversation, choice: Choice) -> Iterator[Recording]:
    """The recordings asked for: direction x redaction, in the manifest's order."""
    for direction in conversation.directions or choice.directions:
        for redaction in conversation.redaction or choice.redaction:
            yield Recording(
                conversation.account_id,
                conversation.project_id,
                conversation.conversation_id,
                direction,
                redaction,
                conversation.started_at,
                conversation.in_progress,
            )


def entries(wanted: Sequence[Recording]) -> Iterator[Conversation]:
    """The other way round: the fewest entries of a manifest that ask for just these.

    Args:
        wanted: distinct recordings of one conversation, in any order.
    """
    one = wanted[0]
    directions = {
        redaction: tuple(
            direction
            for direction in Direction
            if any((each.direction, each.redaction) == (direction, redaction) for each in wanted)
        )
        for redaction in Redaction
    }
    # An entry asks for each of its directions in each of its redactions.
    for asked in dict.fromkeys(filter(None, directions.values())):
        yield Conversation(
            one.account_id,
            one.project_id,
            one.conversation_id,
            one.started_at,
            asked,
            tuple(redaction for redaction in Redaction if directions[redaction] == asked),
        )


def decide(
    archived: Archived | None,
    size_on_disk: int | None,
    *,
    is_sound: bool = True,
    refresh: bool = False,
) -> Decision:
    """What is to be done about a recording.

    Args:
        archived: what the ledger knows of it.
        size_on_disk: bytes of the file at the recorded path, None when there is none.
        is_sound: the file was not hashed, or has the recorded hash.
        refresh: what is archived is asked for again.
    """
    if archived is None:
        return Decision.NEW
    if size_on_disk is None:
        return Decision.VANISHED
    if size_on_disk != archived.size or not is_sound:
        return Decision.CHANGED
    return Decision.REFRESH if refresh else Decision.ARCHIVED
