"""Pages are shared out whole, the same way every time, and a handful is not split in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth.splits import fold_pages, read_lists, split_pages

NAMES = [f"hand{number // 5}/p{number:03d}.xml" for number in range(30)]


def split(names=NAMES, **changes):
    return split_pages(names, **{"validation": 0.1, "test": 0.1, "seed": 7} | changes)


def test_every_page_is_in_one_split_and_the_seed_decides_which():
    first = split()
    assert sorted(name for pages in first.values() for name in pages) == NAMES
    assert {name: len(pages) for name, pages in first.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    assert split(list(reversed(NAMES))) == first
    assert split(seed=8) != first


def test_documents_stay_together():
    hands = [{name.split("/")[0] for name in pages} for pages in split(by="document").values()]
    assert len(set.union(*hands)) == sum(len(found) for found in hands)


def test_pages_that_share_an_image_stay_together():
    groups = {NAMES[0]: "same", NAMES[29]: "same", NAMES[11]: "same"}
    for seed in range(20):
        found = [set(groups) & set(pages) for pages in split(groups=groups, seed=seed).values()]
        assert set(groups) in found


def test_few_pages_are_refused_with_two_ways_on():
    with pytest.raises(DataError) as refused:
        split(NAMES[:6])
    assert "split.test=0" in str(refused.value)
    assert "split.folds=5" in str(refused.value)
    assert split(NAMES[:6], test=0.0)["test"] == []


def test_each_page_is_tested_once_by_cross_validation():
    folds = fold_pages(NAMES[:7], 3, seed=1)
    assert sorted(name for fold in folds for name in fold) == NAMES[:7]
    assert [len(fold) for fold in folds] == [3, 2, 2]
    with pytest.raises(DataError, match="cannot make 8 folds"):
        fold_pages(NAMES[:7], 8, seed=1)


def test_lists_decide_and_the_rest_trains(tmp_path: Path):
    (tmp_path / "val.txt").write_text("# chosen by hand\np003.xml\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("hand0/p004.xml\n", encoding="utf-8")
    lists = {
        "train": None,
        "validation": tmp_path / "val.txt",
        "test": tmp_path / "test.txt",
    }
    found = read_lists(NAMES, lists)
    assert found["validation"] == ["hand0/p003.xml"]
    assert found["test"] == ["hand0/p004.xml"]
    assert len(found["train"]) == 28
    (tmp_path / "test.txt").write_text("hand0/p003.xml\n", encoding="utf-8")
    with pytest.raises(DataError, match="also in the validation split") as refused:
        read_lists(NAMES, lists)
    assert "test.txt:1" in str(refused.value)
    (tmp_path / "test.txt").write_text("p999.xml\n", encoding="utf-8")
    with pytest.raises(DataError, match="no page of the ground truth"):
        read_lists(NAMES, lists)
