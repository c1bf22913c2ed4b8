"""Bootstrap intervals: how far a figure measured on these rows may be from the truth.

Sources: Efron, B. (1979). Bootstrap methods: another look at the jackknife. Percentile intervals.
Efron, B. (1981). Nonparametric standard errors and confidence intervals. Bias-corrected ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

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


def stratified_intervals(
    statistic: Callable[[np.ndarray], np.ndarray],
    strata: Sequence[int] | np.ndarray,
    *,
    samples: int,
    seed: int,
) -> np.ndarray:
    """95 % bias-corrected intervals over rows drawn within their stratum.

    For figures that are means over classes, such as macro-F1: with four rows a class, plain
    resamples lose whole classes and lie below the figure they should surround. Drawn within its
    class, each keeps its size; what bias is left is corrected as by Efron (1981).

    Args:
        statistic: As of `bootstrap_intervals`.
        strata: Stratum of each row, such as its true class.
        samples: Resamples.
        seed: Decides the draws.

    Returns:
        float64 array of shape (figures, 2): lower and upper end of each.
    """
    found = np.asarray(strata)
    order = np.argsort(found, kind="stable")
    _, starts, sizes = np.unique(found[order], return_index=True, return_counts=True)
    first, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    generator = np.random.default_rng(seed)
    point = statistic(np.arange(len(found)))
    drawn = np.stack(
        [
            statistic(order[first + (generator.random(len(found)) * size).astype(int)])
            for _ in range(samples)
        ]
    )
    normal = NormalDist()
    ends = np.empty((len(point), 2))
    for index, (value, values) in enumerate(zip(point, drawn.T, strict=True)):
        below = ((values < value).mean() + (values <= value).mean()) / 2
        shift = 2 * normal.inv_cdf(float(np.clip(below, 1 / samples, 1 - 1 / samples)))
        levels = [normal.cdf(shift + normal.inv_cdf(level)) for level in (0.025, 0.975)]
        ends[index] = np.quantile(values, levels)
    return ends
