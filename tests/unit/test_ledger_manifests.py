"""What the ledger learns from manifests, and what it tells of partitions."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from exporter.ledger import Ledger, Partition
from exporter.model import (
    Archived,
    Proof,
    Recording,
    RedactionEvidence,
)
from tests.ledgers import (
    AUDIO,
    NOW,
    SHOP,
    archived,
    export_all,
    plan,
    recording,
    tables,
)
from tests.old_ledgers import back_to_version_4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_what_a_manifest_says_is_learnt_once_and_never_believed_against_the_ledger(
    open_ledger: Callable[[], Ledger],
) -> None:
    """New rows are entered; a row that contradicts is handed back, and the ledger's stays."""
    ledger = open_ledger()
    told = [(recording(), archived()), (recording("CA2"), archived("CA2"))]
    assert ledger.learn(SHOP, "tag-1", told) == []
    assert ledger.partition_tags([SHOP.folder, "elsewhere"]) == {SHOP.folder: "tag-1"}
    assert ledger.changed_partitions() == []
    lie = (recording(), archived(digest="eeff"))
    assert ledger.learn(SHOP, "tag-2", [lie]) == [lie]
    assert [one.archived for one in ledger.look_up([recording()])] == [archived()]
    # It also told less than the ledger knows: the manifest is to be written anew.
    assert ledger.changed_partitions() == [SHOP]


UNDATED = Partition("acme", "shop", "undated", "acme/shop/undated")
PROOF = Proof(RedactionEvidence.CONFIRMED, ((0.5, 1.0),))


def there(*, digest: str = "aabb") -> tuple[Recording, Archived]:
    """`recording()` once more, as the manifest of another partition tells it."""
    path = f"{UNDATED.folder}/CA1/user.raw.wav"
    return recording(), Archived(path, 9, digest, AUDIO, None, None, 1, PROOF)


def everything(ledger: Ledger) -> set[str]:
    return {one.path for page in ledger.everything() for _, one in page}


@pytest.mark.parametrize("digest", ["aabb", "eeff"])
def test_a_recording_in_two_partitions_stays_on_record_in_both(
    open_ledger: Callable[[], Ledger], digest: str
) -> None:
    """The second is told by its partition just as it was learnt, and never taken for the first."""
    ledger = open_ledger()
    ledger.learn(SHOP, "tag-1", [(recording(), archived())])
    for _ in range(2):
        assert ledger.learn(UNDATED, "tag-2", [there(digest=digest)]) == []
    assert ledger.changed_partitions() == []
    assert list(ledger.partition_rows(UNDATED.folder)) == [[there(digest=digest)]]
    assert [len(page) for page in ledger.partition_rows(SHOP.folder)] == [1]
    assert everything(ledger) == {archived().path, there()[1].path}
    assert [one.archived for one in ledger.look_up([recording()])] == [archived()]
    lie = there(digest="0011")
    assert ledger.learn(UNDATED, "tag-3", [lie]) == [lie]
    assert list(ledger.partition_rows(UNDATED.folder)) == [[there(digest=digest)]]
    ledger.learn(UNDATED, "tag-4", [])
    assert ledger.changed_partitions() == [UNDATED]
    ledger.partition_written(UNDATED.folder, ledger.partition_changes(UNDATED.folder), "tag-5")
    ledger.partition_lost_manifest(UNDATED.folder)
    assert ledger.changed_partitions() == [UNDATED]


def test_a_ledger_of_version_3_reads_every_manifest_once_more(tmp_path: Path) -> None:
    """It passed over what lies in two partitions, so what it read before counts as not read."""
    path = tmp_path / "ledger.sqlite"
    old = Ledger(path)
    old.learn(SHOP, "tag-1", [(recording(), archived())])
    old.close()
    current = tables(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        back_to_version_4(db)
        db.execute("DROP TABLE also_held")
        db.execute("PRAGMA user_version = 3")
    db.close()
    new = Ledger(path)
    assert new.partition_tags([SHOP.folder]) == {SHOP.folder: None}
    assert new.look_up([recording()])[0].archived == archived()
    new.close()
    assert tables(path) == current


def test_learning_from_a_broken_manifest_leaves_nothing_behind(
    open_ledger: Callable[[], Ledger],
) -> None:
    """When reading breaks off in the middle, nothing of it was learnt."""
    ledger = open_ledger()

    def breaking() -> Iterator[tuple[Recording, Archived]]:
        yield recording(), archived()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ledger.learn(SHOP, "tag", breaking())
    assert ledger.partition_tags([SHOP.folder]) == {}
    assert ledger.look_up([recording()])[0].archived is None
    assert ledger.learn(SHOP, "tag", [(recording(), archived())]) == []


def test_rows_of_a_partition_have_one_order(open_ledger: Callable[[], Ledger]) -> None:
    """However recordings came in, a partition lists them by conversation, variant and version."""
    names = ["CA2", "ca10", "CA1", "B"]
    ledger = open_ledger()
    ledger.begin_run("r1", NOW)
    plan(ledger, *(recording(name) for name in names))
    export_all(ledger)
    (page,) = ledger.partition_rows(SHOP.folder)
    assert [one.conversation_id for one, _ in page] == sorted(names)
