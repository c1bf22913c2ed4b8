"""Comparing two systems on the same rows, and saying no more than the rows allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 8
"""Rows below which a figure on held-out rows says next to nothing, and an interval is none."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with its 95 % interval.

    Attributes:
        mean: Ours less theirs.
        low: Lower end; None where there are too few rows for an interval.
        high: Upper end.
    """

    mean: float
    low: float | None
    high: float | None

    @property
    def is_gain(self) -> bool:
        """Whether ours is better, beyond the interval where there is one."""
        return (self.mean if self.low is None else self.low) > 0

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"difference {self.mean:+.3f}"
        return f"difference {self.mean:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}"


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, samples: int, seed: int
) -> Difference:
    """How much better ours is, row by row; better is higher.

    Args:
        ours: A score for each row.
        theirs: The other system's, of the same rows in the same order.
        samples: Bootstrap resamples.
        seed: Of the resampling.
    """
    import numpy as np

    from deepsynth.evaluation.intervals import bootstrap_intervals

    values = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    mean = float(values.mean())
    if len(values) < FEWEST:
        return Difference(mean, None, None)
    ((low, high),) = bootstrap_intervals(
        lambda drawn: values[drawn].mean(keepdims=True), len(values), samples=samples, seed=seed
    )
    return Difference(mean, float(low), float(high))


def shown_interval(low: float | None, high: float | None) -> str:
    """` (95 % interval 0.210-0.340)`, and nothing where there is none or it has no width."""
    if low is None or high is None or f"{low:.3f}" == f"{high:.3f}":
        return ""
    return f" (95 % interval {low:.3f}-{high:.3f})"
