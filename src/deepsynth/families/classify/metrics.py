"""The figures of a classifier: accuracy, macro-F1, each class, their intervals, a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepsynth.evaluation.intervals import bootstrap_intervals


def figures(
    truth: Sequence[int],
    predicted: Sequence[int],
    train_labels: Sequence[int],
    labels: Sequence[str],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """All final figures of a test split.

    Macro-F1 is the mean over the labels that occur in the test split or among the predictions; a
    label with neither has no F1.

    Args:
        truth: Label index of each test row.
        predicted: Predicted index of each test row.
        train_labels: Label indices of the training split; their majority is the baseline.
        labels: Names by index.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Plain data, as in `metrics.json`.
    """
    matrix = confusion(truth, predicted, len(labels))
    accuracy, macro, per_class = _scores(matrix)
    majority = int(np.bincount(train_labels, minlength=len(labels)).argmax())
    baseline_accuracy, baseline_macro, _ = _scores(
        confusion(truth, [majority] * len(truth), len(labels))
    )
    pairs = np.asarray(truth) * len(labels) + np.asarray(predicted)

    def resampled(rows: np.ndarray) -> np.ndarray:
        counts = np.bincount(pairs[rows], minlength=len(labels) ** 2)
        again, macro_again, classes = _scores(counts.reshape(len(labels), len(labels)))
        return np.array([again, macro_again, *classes["f1"]])

    ends = bootstrap_intervals(resampled, len(pairs), samples=samples, seed=seed)
    return {
        "test_rows": len(pairs),
        "accuracy": accuracy,
        "accuracy_interval": ends[0].tolist(),
        "macro_f1": macro,
        "macro_f1_interval": ends[1].tolist(),
        "baseline": {
            "what": f"always {labels[majority]!r}, the most frequent label",
            "accuracy": baseline_accuracy,
            "macro_f1": baseline_macro,
        },
        "classes": {
            label: {
                "precision": float(per_class["precision"][i]),
                "recall": float(per_class["recall"][i]),
                "f1": float(per_class["f1"][i]),
                "f1_interval": ends[2 + i].tolist(),
                "support": int(matrix[i].sum()),
            }
            for i, label in enumerate(labels)
        },
    }


def scores(truth: Sequence[int], predicted: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro-F1, as in `figures`."""
    classes = 1 + int(max(np.max(truth), np.max(predicted)))
    accuracy, macro, _ = _scores(confusion(truth, predicted, classes))
    return {"accuracy": accuracy, "macro_f1": macro}


def confusion(truth: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
    """Counts of shape (classes, classes): true label down, predicted label across."""
    pairs = np.asarray(truth) * classes + np.asarray(predicted)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _scores(matrix: np.ndarray) -> tuple[float, float, dict[str, np.ndarray]]:
    hits = matrix.diagonal().astype(float)
    given, found = matrix.sum(axis=1), matrix.sum(axis=0)
    f1 = np.divide(2 * hits, given + found, out=np.zeros_like(hits), where=given + found > 0)
    present = given + found > 0
    per_class = {
        "precision": np.divide(hits, found, out=np.zeros_like(hits), where=found > 0),
        "recall": np.divide(hits, given, out=np.zeros_like(hits), where=given > 0),
        "f1": f1,
    }
    return float(hits.sum() / matrix.sum()), float(f1[present].mean()), per_class
