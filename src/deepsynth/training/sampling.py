"""The order of the training data: a function of seed and epoch alone, so resuming repeats it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A shuffled order, or batches of similar length, drawn afresh for each epoch.

    The stock samplers draw from the global generator, whose state at the start of an epoch is
    lost when training resumes in the middle of one: the rest of the epoch would repeat some
    samples and miss others.

    Args:
        lengths: Tokens of each sample.
        batch_size: Samples in one update (all accumulated batches together).
        seed: With the epoch, decides the order.
        grouped: Sort within windows of 50 batches, so that a batch holds similar lengths.
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
        if not self._grouped:
            return iter(torch.randperm(len(self._lengths), generator=generator).tolist())
        from transformers.trainer_pt_utils import get_length_grouped_indices

        return iter(
            get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        )
