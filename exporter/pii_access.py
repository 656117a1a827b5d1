"""Does a key read raw audio? What the compared pairs say about a credential in a project. Pure.

One pair that differs settles it: the API gave something that the redacted recording does not have.
A pair that is the same settles nothing: most likely nothing personal was said. But the more there
are, the less likely that is. If a share `p` of the conversations has something to mute, then `n` in
a row without anything come up by chance with probability `(1 - p) ** n`:

==============  =======  =======  =======  =======
share `p`        n = 10   n = 20   n = 30   n = 50
==============  =======  =======  =======  =======
50 %             0.1 %   < 0.01   < 0.01   < 0.01
25 %             5.6 %    0.3 %    0.02 %  < 0.01
20 %            10.7 %    1.2 %    0.1 %   < 0.01
10 %            34.9 %   12.2 %    4.2 %    0.5 %
 5 %            59.9 %   35.8 %   21.5 %    7.7 %
==============  =======  =======  =======  =======

Hence 20 by default: callers give a name, a number or an address in far more than every fifth call
of a service desk, and then 20 calls without any are one chance in 87. Where calls seldom hold such
things, a larger number belongs in the settings. Conversations are counted and not pairs, for the
directions of one conversation stand or fall together.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from exporter.model import PiiAccessState

ENOUGH_IDENTICAL: Final = 20
"""Conversations in which raw and redacted were the same before missing access is suspected."""


class PairCounts(Struct, frozen=True):
    """Conversations whose raw and redacted recordings were compared, of one credential and project.

    Attributes:
        confirmed: in at least one direction the redacted one is muted where the raw one is not.
        identical: in every direction that was compared they are the same.
    """

    confirmed: int = 0
    identical: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.confirmed + other.confirmed, self.identical + other.identical)


class Finding(Struct, frozen=True):
    """What is to be believed of a credential in a project.

    Attributes:
        state: in one word.
        reason: why, in a sentence for people.
    """

    state: PiiAccessState
    reason: str


def judge(
    run: PairCounts,
    earlier: PairCounts | None = None,
    *,
    enough_identical: int = ENOUGH_IDENTICAL,
    of_any_key: PairCounts | None = None,
) -> Finding:
    """Judge whether a credential has PII access in a project.

    Access can be taken away from a key, so what a run sees counts before what was seen earlier:
    enough identical conversations of this run outweigh an old proof.

    Args:
        run: what this run compared.
        earlier: what runs before it compared.
        enough_identical: conversations that must be the same before missing access is suspected.
        of_any_key: what was compared with this credential, others, and nobody knows which: no proof
            of this one, but worth a word where nothing else is.

    Raises:
        ValueError: `enough_identical` is less than 1.
    """
    if enough_identical < 1:
        raise ValueError(f"enough_identical is at least 1, not {enough_identical}")
    earlier = earlier or PairCounts()
    if run.confirmed:
        return Finding(PiiAccessState.CONFIRMED, _proved(run.confirmed, "in this run"))
    if run.identical >= enough_identical:
        lost = "; earlier runs did prove access: it may have been taken away since"
        return _suspected(run.identical, lost if earlier.confirmed else "")
    if earlier.confirmed:
        return Finding(PiiAccessState.CONFIRMED, _proved(earlier.confirmed, "in earlier runs"))
    identical = run.identical + earlier.identical
    if identical >= enough_identical:
        return _suspected(identical, "")
    if of_any_key is not None and of_any_key.confirmed:
        return Finding(
            PiiAccessState.UNKNOWN,
            "in the archive raw audio differs from redacted audio in"
            f" {_conversations(of_any_key.confirmed)}, but no record says that today's key read it",
        )
    return Finding(
        PiiAccessState.UNKNOWN,
        f"{_conversations(identical)} compared, raw and redacted the same in all of them;"
        f" {enough_identical} are needed before that means something"
        if identical
        else "no pair of raw and redacted audio says anything about it",
    )


def chance_of_none(conversations: int, share: float) -> float:
    """How likely so many conversations in a row hold nothing to mute.

    Args:
        conversations: how many.
        share: how many of 1 hold something, on the whole; independent of each other.
    """
    return (1 - share) ** conversations


def _proved(conversations: int, when: str) -> str:
    return f"raw audio differed from redacted audio in {_conversations(conversations)} {when}"


def _suspected(conversations: int, more: str) -> Finding:
    chance = chance_of_none(conversations, 0.2)
    return Finding(
        PiiAccessState.SUSPECTED_MISSING,
        f"raw and redacted audio were the same in all {_conversations(conversations)} compared:"
        f" if every fifth conversation held personal data, the chance of that would be"
        f" {_percent(chance)}{more}",
    )


def _conversations(count: int) -> str:
    return f"{count:,} conversation{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    smallest = 0.0001
    return f"{share:.2%}" if share >= smallest else f"less than {smallest:.2%}"
