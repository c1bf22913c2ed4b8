"""The order of the training data: a function of seed and epoch alone, so resuming repeats it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch.utils.data import Sampler

_WINDOW = 8


class EpochSampler(Sampler[int]):
    """A shuffled order, or batches of similar length, drawn afresh for each epoch.

    The stock samplers draw from the global generator, whose state at the start of an epoch is
    lost when training resumes in the middle of one: the rest of the epoch would repeat some
    samples and miss others.

    Args:
        lengths: Tokens of each sample.
        batch_size: Samples in one update (all accumulated batches together).
        seed: With the epoch, decides the order.
        grouped: Sort by length within windows of eight batches, and shuffle the batches. Larger
            windows pad little less, and batches of one length are often of one label, which a
            model learns badly from.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, *, grouped: bool = True
    ) -> None:
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._grouped = grouped
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self._epoch = int(epoch)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        if not self._grouped:
            return iter(order)
        size = self._batch_size
        whole = len(order) - len(order) % size
        batches: list[list[int]] = []
        for start in range(0, whole, _WINDOW * size):
            window = order[start : min(start + _WINDOW * size, whole)]
            window.sort(key=self._lengths.__getitem__)
            batches += [window[at : at + size] for at in range(0, len(window), size)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return chain(*(batches[number] for number in shuffled), order[whole:])
