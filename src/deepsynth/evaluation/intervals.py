"""Bootstrap intervals: how far a figure measured on these rows may be from the truth.

Source: Efron, B. (1979). Bootstrap methods: another look at the jackknife. Percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def bootstrap_intervals(
    statistic: Callable[[np.ndarray], np.ndarray], rows: int, *, samples: int, seed: int
) -> np.ndarray:
    """95 % percentile intervals of several figures over rows drawn with replacement.

    Args:
        statistic: Takes an int array of row indices and returns a float array of figures, always
            in the same order.
        rows: How many rows there are.
        samples: Resamples.
        seed: Decides the draws.

    Returns:
        float64 array of shape (figures, 2): lower and upper end of each.
    """
    generator = np.random.default_rng(seed)
    drawn = np.stack([statistic(generator.integers(0, rows, rows)) for _ in range(samples)])
    return np.percentile(drawn, [2.5, 97.5], axis=0).T
