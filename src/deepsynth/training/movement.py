"""Whether a training changed what it was meant to change: every trainable tensor, looked at.

A rate of zero, a frozen half of an adapter, an optimiser that holds copies: each trains to its end
with a curve that looks like one, and leaves weights where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from deepsynth.errors import StepFailed

_LOOKED_AT = 65_536
"""Values of a tensor that are compared, evenly drawn; of most adapters all."""
_TURNED = 1e-6
"""Change beside the direction of a tensor, relative to its length, that rounding explains."""


@dataclass(frozen=True)
class Movement:
    """What moved between the start of a training and now.

    Attributes:
        changes: For each group of tensors the length of its change relative to its length at the
            start, or its length where it started at zero.
        still: Names of the tensors that stayed as they were, weight decay aside.
        still_groups: Groups of which no tensor moved.
        tensors: How many were looked at.
    """

    changes: dict[str, float]
    still: list[str]
    still_groups: list[str]
    tensors: int

    def require(self, needed: Callable[[str], bool]) -> None:
        """Refuse a training that changed nothing, or left still a group that it needs.

        Args:
            needed: Whether the result is wrong if the group of this name did not move.

        Raises:
            StepFailed: So it is.
        """
        nothing = len(self.still) == self.tensors
        groups = [group for group in self.still_groups if needed(group)]
        if not nothing and not groups:
            return
        named = "no trainable weight changed" if nothing else f"unchanged: {', '.join(groups)}"
        raise StepFailed(
            f"the training did not move what it was to train, {named}.",
            where="step train",
            hint="Look at train.learning_rate, train.warmup_ratio and train.epochs: `deepsynth "
            "check` says how many updates there are and at which rate.",
        )

    def remarks(self) -> list[str]:
        """What people must be told; nothing when all moved."""
        if not self.still:
            return []
        return [
            f"{len(self.still)} of {self.tensors} trainable tensors did not move in training, such "
            f"as {self.still[0]}."
        ]


class Snapshot:
    """The values that are to train, at the start of a training.

    Args:
        values: They, by name, whether they have a gradient or not: one that lost it is looked for.
        group: The group a name belongs to.
    """

    def __init__(self, values: Mapping[str, Any], group: Callable[[str], str]) -> None:
        self._start = {name: _drawn(value) for name, value in values.items()}
        self._group = group

    def movement(self, values: Mapping[str, Any]) -> Movement:
        """What has moved since then; a value that is gone has not."""
        still: list[str] = []
        squares: dict[str, list[float]] = {}
        for name, start in self._start.items():
            change = (_drawn(values[name]) if name in values else start) - start
            moved, length = float(change @ change), float(start @ start)
            # Weight decay alone makes a tensor shorter, and turns it nowhere.
            turned = moved - float(change @ start) ** 2 / length if length else moved
            if turned <= _TURNED**2 * length:
                still.append(name)
                moved = 0.0
            group = squares.setdefault(self._group(name), [0.0, 0.0])
            group[0] += moved
            group[1] += length
        changes = {
            group: (moved / (start or 1.0)) ** 0.5 for group, (moved, start) in squares.items()
        }
        groups = [group for group, (moved, _) in squares.items() if not moved > 0]
        return Movement(changes, still, groups, len(self._start))


def zero_rates(history: list[dict[str, Any]]) -> list[str]:
    """The remark on a training whose learning rate was zero where it should not have been.

    Args:
        history: The Trainer's.
    """
    # The first update of a warm-up and the last of a decay may have a rate of zero.
    rates = [entry["learning_rate"] for entry in history if "learning_rate" in entry][1:-1]
    zero = sum(rate == 0 for rate in rates)
    if not zero:
        return []
    return [f"The learning rate was zero at {zero} of {len(rates)} points inside the training."]


def _drawn(value: Any) -> torch.Tensor:
    flat = value.detach().reshape(-1)
    step = max(1, flat.numel() // _LOOKED_AT)
    return flat[::step].to("cpu", torch.float64, copy=True)
