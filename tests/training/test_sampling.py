from __future__ import annotations

import random
from itertools import pairwise

import pytest

from deepsynth.training.sampling import EpochSampler

LENGTHS = random.Random(0).choices(range(3, 60), k=203)


def order(epoch: int, seed: int = 1, *, grouped: bool = True) -> list[int]:
    sampler = EpochSampler(LENGTHS, 8, seed, grouped=grouped)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("grouped", [True, False])
def test_an_epoch_has_every_sample_once_in_an_order_of_its_own(grouped: bool) -> None:
    orders = [order(epoch, grouped=grouped) for epoch in range(4)]
    assert all(sorted(found) == list(range(203)) for found in orders)
    assert len({tuple(found) for found in orders}) == 4


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_depends_on_seed_and_epoch_alone(grouped: bool) -> None:
    import torch

    torch.manual_seed(5)
    first = order(2, grouped=grouped)
    torch.manual_seed(6)
    torch.rand(3)
    assert order(2, grouped=grouped) == first
    assert order(2, seed=2, grouped=grouped) != first


def test_batches_hold_similar_lengths_when_grouped() -> None:
    def padding(found: list[int]) -> int:
        batches = [found[start : start + 8] for start in range(0, len(found), 8)]
        longest = [max(LENGTHS[row] for row in batch) * len(batch) for batch in batches]
        return sum(longest) - sum(LENGTHS)

    assert padding(order(0)) < 0.25 * padding(order(0, grouped=False))


def test_grouped_batches_come_in_no_order_of_length() -> None:
    found = order(0)
    means = [sum(LENGTHS[row] for row in found[at : at + 8]) / 8 for at in range(0, 200, 8)]
    falls = sum(after < before for before, after in pairwise(means))
    assert 6 <= falls <= 18  # of 24: neither sorted up nor down, as a whole or in stretches
