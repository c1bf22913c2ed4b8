from __future__ import annotations

import numpy as np

from deepsynth.evaluation.intervals import bootstrap_intervals


def test_the_interval_of_a_share_is_the_textbook_one() -> None:
    hits = np.arange(400) < 300
    ends = bootstrap_intervals(
        lambda rows: np.array([hits[rows].mean(), 1.0]), 400, samples=2000, seed=1
    )
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    np.testing.assert_allclose(ends[0], [0.75 - half, 0.75 + half], atol=0.005)
    np.testing.assert_array_equal(ends[1], [1.0, 1.0])


def test_95_of_100_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        values = generator.normal(3.0, 1.0, 100)
        (ends,) = bootstrap_intervals(
            lambda rows, v=values: np.array([v[rows].mean()]), 100, samples=200, seed=seed
        )
        held += ends[0] <= 3.0 <= ends[1]
    assert 88 <= held <= 99


def test_the_seed_decides() -> None:
    def ends(seed: int) -> np.ndarray:
        return bootstrap_intervals(
            lambda rows: np.array([float(rows.sum())]), 50, samples=100, seed=seed
        )

    np.testing.assert_array_equal(ends(1), ends(1))
    assert not np.array_equal(ends(1), ends(2))
