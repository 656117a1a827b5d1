"""Faults of the list of conversations: pages that are spoilt, and delivered faithfully."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from exporter.sandbox import listing
from exporter.sandbox.faults import Action

if TYPE_CHECKING:
    from exporter.sandbox.answers import Answer
    from exporter.sandbox.faults import Circumstances


class PageFault(StrEnum):
    """What is wrong with a page of the list that HTTP delivers faithfully."""

    REPEATED_CURSOR = "repeated-cursor"  # it leads to the same page again
    EMPTY = "empty"  # nothing, and a cursor to what should be here
    LAST = "last"  # it says that it is the last one, and is not
    SHRUNK = "shrunk"  # some conversations are missing
    DOUBLED = "doubled"  # every conversation is there twice
    UNREADABLE = "unreadable"  # no JSON from the middle on


@dataclass(frozen=True, slots=True)
class BadPage(Action):
    """Spoil a page of the list of conversations; other answers stay as they are.

    Attributes:
        fault: how.
        share: how many conversations of 1 are missing from a shrunk page.
    """

    fault: PageFault = PageFault.EMPTY
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is more than 0 and at most 1, not {self.share}")

    def alter(self, answer: Answer, circumstances: Circumstances) -> Answer:  # noqa: ARG002
        """The spoilt page."""
        place = answer.place
        if place is None:
            return answer
        page = json.loads(answer.body)
        conversations = page["conversations"]
        match self.fault:
            case PageFault.REPEATED_CURSOR:
                page["cursor"] = listing.encode(place)
            case PageFault.EMPTY:
                page["conversations"] = []
                page["cursor"] = listing.encode(place._replace(number=place.number + 1))
            case PageFault.LAST:
                page["cursor"] = page["next_offset"] = None
            case PageFault.SHRUNK:
                count = len(conversations) - round(self.share * len(conversations))
                page["conversations"] = conversations[:count]
            case PageFault.DOUBLED:
                page["conversations"] = [*conversations, *conversations]
            case PageFault.UNREADABLE:
                return replace(answer, body=answer.body[: len(answer.body) // 2] + b"\x00")
        return replace(answer, body=json.dumps(page).encode())
