from __future__ import annotations

import numpy as np

from deepsynth.evaluation.intervals import bootstrap_intervals, stratified_intervals


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


def test_with_few_rows_a_class_the_interval_surrounds_the_figure_and_holds_the_truth() -> None:
    generator = np.random.default_rng(0)
    chances = generator.uniform(0.6, 1.0, 20)

    def drawn(each: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.repeat(np.arange(20), each)
        right = generator.random(len(truth)) < chances[truth]
        return truth, np.where(right, truth, generator.integers(0, 20, len(truth)))

    def macro_f1(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
        counts = np.bincount(truth * 20 + found, minlength=400).reshape(20, 20)
        both = counts.sum(0) + counts.sum(1)
        return np.array([(2 * counts.diagonal() / np.maximum(both, 1))[both > 0].mean()])

    (true,) = macro_f1(*drawn(3000))
    held, off_centre = 0, 0.0
    for seed in range(60):
        truth, found = drawn(4)
        ((low, high),) = stratified_intervals(
            lambda rows, t=truth, f=found: macro_f1(t[rows], f[rows]),
            truth,
            samples=200,
            seed=seed,
        )
        held += low <= true <= high
        off_centre += ((low + high) / 2 - macro_f1(truth, found)[0]) / 60
    assert held >= 50
    assert abs(off_centre) < 0.012
