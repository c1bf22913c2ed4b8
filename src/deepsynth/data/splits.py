"""Splits that never leak: whole groups of near-duplicates go to one side, labels stay balanced."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence


def assign_splits(
    labels: Sequence[Hashable], groups: Sequence[int], shares: dict[str, float], seed: int
) -> list[str]:
    """Divide rows into `train` and the held-out splits of `shares`.

    Every group goes to one split. Within each label (of the group's first row) groups are dealt
    in a seeded random order until a split has its share of that label's rows; a label with at
    least three groups is represented in each split.

    Args:
        labels: Label of each row.
        groups: Group of each row, see `near_duplicate_groups`.
        shares: Share of the rows for each held-out split, such as
            `{"validation": 0.1, "test": 0.1}`; what is left is `train`.
        seed: Decides the order.

    Returns:
        The split of each row.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    by_label: dict[Hashable, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        by_label[labels[rows[0]]].append(rows)
    splits = ["train"] * len(labels)
    generator = random.Random(seed)
    for label in sorted(by_label, key=str):
        dealt = by_label[label]
        generator.shuffle(dealt)
        total = sum(map(len, dealt))
        # Smallest groups are held out first where it matters: a big group would overfill a split.
        waiting = sorted(dealt, key=len, reverse=True)
        for split, share in shares.items():
            quota = round(total * share)
            if quota == 0 and len(dealt) > len(shares) and share > 0:
                quota = 1
            missing = quota > 0 and len(dealt) > len(shares)
            while quota > 0 and len(waiting) > 1 and (missing or len(waiting[-1]) <= quota):
                rows = waiting.pop()
                quota -= len(rows)
                missing = False
                for row in rows:
                    splits[row] = split
    return splits


def leaking_rows(splits: Sequence[str], groups: Sequence[int]) -> list[int]:
    """Rows whose near-duplicate stands in a split that is held out more strictly.

    Test outranks validation, validation outranks train: a training row that repeats a test row
    leaks, the test row does not.
    """
    rank = {"train": 0, "validation": 1, "test": 2}
    highest: dict[int, int] = {}
    for split, group in zip(splits, groups, strict=True):
        highest[group] = max(highest.get(group, 0), rank[split])
    return [
        row
        for row, (split, group) in enumerate(zip(splits, groups, strict=True))
        if rank[split] < highest[group]
    ]
