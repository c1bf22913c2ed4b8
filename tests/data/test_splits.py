from __future__ import annotations

import random
from collections import Counter

import pytest

from deepsynth.data.splits import assign_splits, leaking_rows

SHARES = {"validation": 0.1, "test": 0.1}


def rows(seed: int) -> tuple[list[str], list[int]]:
    """Labels of unequal frequency; groups of one to nine rows, each of one label."""
    generator = random.Random(seed)
    labels: list[str] = []
    groups: list[int] = []
    for _ in range(generator.randint(10, 200)):
        label = generator.choices("abcd", [50, 20, 5, 1])[0]
        size = generator.choice([1, 1, 1, 1, 2, 3, 9])
        groups += [len(labels)] * size
        labels += [label] * size
    return labels, groups


@pytest.mark.parametrize("seed", range(40))
def test_groups_stay_whole_and_labels_are_everywhere(seed: int) -> None:
    labels, groups = rows(seed)
    splits = assign_splits(labels, groups, SHARES, seed)
    by_group: dict[int, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        by_group.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in by_group.values())
    for label in set(labels):
        own = {group for group, name in zip(groups, labels, strict=True) if name == label}
        found = Counter(split for split, name in zip(splits, labels, strict=True) if name == label)
        assert found["train"] > 0
        if len(own) >= 3:
            assert set(found) == {"train", "validation", "test"}
        total = sum(found.values())
        for split in SHARES:
            # One group too many at most, when a label has only large ones.
            assert found[split] <= max(round(0.1 * total), 9)


def test_shares_are_met_when_every_group_is_one_row() -> None:
    labels = ["a"] * 700 + ["b"] * 300
    splits = assign_splits(labels, list(range(1000)), SHARES, seed=1)
    assert Counter(zip(splits, labels, strict=True)) == {
        ("train", "a"): 560,
        ("validation", "a"): 70,
        ("test", "a"): 70,
        ("train", "b"): 240,
        ("validation", "b"): 30,
        ("test", "b"): 30,
    }


def test_the_seed_decides_and_nothing_else() -> None:
    labels, groups = rows(3)
    first = assign_splits(labels, groups, SHARES, seed=7)
    assert assign_splits(labels, groups, SHARES, seed=7) == first
    assert assign_splits(labels, groups, SHARES, seed=8) != first
    assert set(assign_splits(labels, groups, {}, seed=7)) == {"train"}


def test_a_row_leaks_into_the_split_that_is_held_out_more() -> None:
    splits = ["train", "test", "train", "validation", "validation", "test", "train"]
    groups = [0, 0, 2, 2, 4, 4, 6]
    assert leaking_rows(splits, groups) == [0, 2, 4]
