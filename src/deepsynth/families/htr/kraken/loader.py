"""Feeding lines to Kraken's trainer faster.

Four measures. Lines that are not distorted at random are decoded and scaled once, as long as there
is room to keep them. The test whether a line is bitonal, which Kraken repeats on every sample by
sorting all its pixels, stops at the first grey one. Lines of similar width share a batch, so that
little of a batch is padding; the order is shuffled anew each epoch from the job's seed. And on a
CPU the lines of a training batch are all as long as the longest, with paper at their ends: torch
has a fast LSTM only for sequences of one length, which halves the time of a batch.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kraken.lib.dataset.recognition as kraken_dataset
import numpy as np
import torch
from kraken.lib.dataset import collate_sequences
from kraken.train.vgsl import VGSLRecognitionDataModule
from torch.utils.data import DataLoader, Sampler

ROOM = 2**29
"""Bytes of lines that are kept in memory; some two thousand lines of 48 pixels' height."""

_PROBE = 4096
_SHUFFLED_TOGETHER = 20
"""Batches whose lines are sorted by width among themselves; more would be less random."""


def is_bitonal(image: Any) -> bool:
    """Whether an image has exactly two values; the same answer as Kraken's, found sooner."""
    if not isinstance(image, torch.Tensor):
        return image.getcolors(2) is not None and len(image.getcolors(2)) == 2
    low, high = image.aminmax()
    if low == high:
        return False
    probe = image.reshape(-1)[:_PROBE]
    if not bool(((probe == low) | (probe == high)).all()):
        return False
    return bool(((image == low) | (image == high)).all())


def speed_up_loading() -> None:
    """Put `is_bitonal` in the place of Kraken's."""
    kraken_dataset.is_bitonal = is_bitonal


class WidthBatches(Sampler[list[int]]):
    """Batches of lines of similar width, in an order that changes every epoch.

    Args:
        widths: Width of each line once it is scaled to the network's height.
        batch_size: Lines in a batch.
        seed: Decides the order together with the epoch.
        shuffle: Without it, batches come in the order of width (for validation).
    """

    def __init__(
        self, widths: Sequence[float], batch_size: int, *, seed: int = 0, shuffle: bool = True
    ) -> None:
        self._widths = np.asarray(widths)
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self._widths) / self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch, also when a training goes on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        count, size = len(self._widths), self._batch_size
        if not self._shuffle:
            order = np.argsort(self._widths, kind="stable")
            yield from (order[i : i + size].tolist() for i in range(0, count, size))
            return
        chance = np.random.default_rng((self._seed, self.epoch))
        order = chance.permutation(count)
        together = size * _SHUFFLED_TOGETHER
        batches: list[list[int]] = []
        for start in range(0, count, together):
            group = order[start : start + together]
            group = group[np.argsort(self._widths[group], kind="stable")]
            batches += [group[i : i + size].tolist() for i in range(0, len(group), size)]
        for index in chance.permutation(len(batches)):
            yield batches[index]


def line_widths(dataset: Any) -> list[float]:
    """Width over height of each line of an Arrow data set, read from the heads of its PNGs."""
    rows = dataset.arrow_table.column("lines")
    shapes = (struct.unpack(">II", rows[int(i)]["im"].as_buffer()[16:24]) for i in dataset._indices)
    return [width / height for width, height in shapes]


class KeptLines(kraken_dataset.ArrowIPCRecognitionDataset):
    """Kraken's data set, which keeps each line as the network gets it, up to `ROOM` bytes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._kept: dict[int, dict[str, Any]] = {}
        self._room = ROOM

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The line in row `index`."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        sample = super().__getitem__(index)
        size = sample["image"].nbytes
        # in the place of a line that cannot be read, Kraken puts another, chosen at random
        if size <= self._room and index not in self.failed_samples:
            self._kept[index] = sample
            self._room -= size
        return sample


def collate_even(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kraken's batch, with the padding counted as part of every line."""
    batch = collate_sequences(samples)
    batch["seq_lens"] = torch.full_like(batch["seq_lens"], batch["image"].shape[-1])
    return batch


class FastDataModule(VGSLRecognitionDataModule):
    """Kraken's data module, with batches of similar width.

    Args:
        data_config: As for Kraken's own.
        batch_size: Lines in a batch.
        seed: Decides the order of the batches.
    """

    def __init__(self, data_config: Any, batch_size: int, seed: int) -> None:
        super().__init__(data_config)
        self._batch_size = batch_size
        self._seed = seed

    def _build_dataset(self, DatasetClass: Any, training_data: Any, **settings: Any) -> Any:
        """Kraken's hook; processes that load data would each keep lines of their own."""
        changing = settings.get("augmentation") or self.hparams.data_config.num_workers
        kind = DatasetClass if changing else KeptLines
        return super()._build_dataset(kind, training_data, **settings)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of the training lines."""
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        return self._load(self.train_set, collate_even if on_cpu else collate_sequences)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of the validation lines, always in the same order."""
        return self._load(self.val_set, collate_sequences, shuffle=False)

    def _load(
        self, subset: Any, collate: Callable[..., Any], *, shuffle: bool = True
    ) -> DataLoader[Any]:
        widths = line_widths(subset.dataset)
        return DataLoader(
            subset,
            batch_sampler=WidthBatches(widths, self._batch_size, seed=self._seed, shuffle=shuffle),
            num_workers=self.hparams.data_config.num_workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
        )
