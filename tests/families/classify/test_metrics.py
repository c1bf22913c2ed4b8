from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from deepsynth.families.classify.metrics import confusion, figures, scores

LABELS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def answers() -> tuple[list[int], list[int]]:
    generator = np.random.default_rng(0)
    truth = generator.choice(3, 200, p=[0.6, 0.3, 0.1])
    predicted = np.where(generator.random(200) < 0.7, truth, generator.choice(3, 200))
    return truth.tolist(), predicted.tolist()


def test_figures_are_those_of_scikit_learn(answers: tuple[list[int], list[int]]) -> None:
    truth, predicted = answers
    found = figures(truth, predicted, truth, LABELS, samples=100, seed=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores(truth, predicted) == {key: found[key] for key in ("accuracy", "macro_f1")}
    rows = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for index, label in enumerate(LABELS):
        own = found["classes"][label]
        told = [own["precision"], own["recall"], own["f1"], own["support"]]
        assert told == pytest.approx([row[index] for row in rows])
    low, high = found["macro_f1_interval"]
    assert low < found["macro_f1"] < high
    assert figures(truth, predicted, truth, LABELS, samples=100, seed=1) == found


def test_the_baseline_is_the_majority_of_training_not_of_test() -> None:
    found = figures([0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0], LABELS[:2], samples=100, seed=1)
    assert found["baseline"]["what"] == "always 'b', the most frequent label"
    assert found["baseline"]["accuracy"] == 0.25
    assert found["baseline"]["macro_f1"] == pytest.approx(0.2)


def test_the_true_label_is_the_row() -> None:
    matrix = confusion([0, 0, 1], [1, 1, 1], 2)
    np.testing.assert_array_equal(matrix, [[0, 2], [0, 1]])
