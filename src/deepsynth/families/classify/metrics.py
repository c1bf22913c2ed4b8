"""The figures of a classifier, their intervals, and what they must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepsynth.evaluation.comparison import Difference
from deepsynth.evaluation.intervals import stratified_intervals

_WIDTH = 1e-9


def figures(
    truth: Sequence[int],
    predicted: Sequence[int],
    labels: Sequence[str],
    baselines: Mapping[str, tuple[str, Sequence[int]]],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """All final figures of a test split.

    Macro-F1 is the mean over the labels that occur in the test split or among the predictions; a
    label with neither has no F1. Where every resample gives one figure, its interval is None.

    Args:
        truth: Label index of each test row.
        predicted: Predicted index of each test row.
        labels: Names by index.
        baselines: By name: what it is, and its answers for the same rows.
        samples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Plain data, as in `metrics.json`.
    """
    matrix = confusion(truth, predicted, len(labels))
    accuracy, macro, per_class = _scores(matrix)
    pairs = np.asarray(truth) * len(labels) + np.asarray(predicted)

    def resampled(rows: np.ndarray) -> np.ndarray:
        counts = np.bincount(pairs[rows], minlength=len(labels) ** 2)
        again, macro_again, classes = _scores(counts.reshape(len(labels), len(labels)))
        return np.array([again, macro_again, *classes["f1"]])

    ends = stratified_intervals(resampled, truth, samples=samples, seed=seed)
    return {
        "test_rows": len(pairs),
        "accuracy": accuracy,
        "accuracy_interval": _interval(ends[0]),
        "macro_f1": macro,
        "macro_f1_interval": _interval(ends[1]),
        "baselines": {
            name: {
                "what": what,
                **scores(truth, answers),
                **compare_answers(truth, predicted, answers, samples=samples, seed=seed),
            }
            for name, (what, answers) in baselines.items()
        },
        "classes": {
            label: {
                "precision": float(per_class["precision"][i]),
                "recall": float(per_class["recall"][i]),
                "f1": float(per_class["f1"][i]),
                "f1_interval": _interval(ends[2 + i]),
                "support": int(matrix[i].sum()),
            }
            for i, label in enumerate(labels)
        },
    }


def compare_answers(
    truth: Sequence[int],
    ours: Sequence[int],
    theirs: Sequence[int],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """How much higher our macro-F1 is on the same rows, and where that difference may lie.

    Returns:
        `difference`, and `difference_interval`, of 95 %; None where every resample gives the same.
    """
    rows, one, other = np.asarray(truth), np.asarray(ours), np.asarray(theirs)
    classes = 1 + int(max(rows.max(), one.max(), other.max()))

    def gain(drawn: np.ndarray) -> np.ndarray:
        both = [
            _scores(confusion(rows[drawn], answers[drawn], classes))[1] for answers in (one, other)
        ]
        return np.array([both[0] - both[1]])

    ((low, high),) = stratified_intervals(gain, rows, samples=samples, seed=seed)
    return {
        "difference": float(gain(np.arange(len(rows)))[0]),
        "difference_interval": _interval(np.array([low, high])),
    }


def doubt(final: dict[str, Any]) -> str | None:
    """What the first line of a report says of a model that is not shown to beat a baseline.

    Returns:
        The baselines it does not beat beyond the interval of the paired difference, and what to
        do; None where it beats all of them.
    """
    own = final["model"].get("method")
    level = {
        name: said
        for name, said in final["baselines"].items()
        if name != own and not difference(said).is_gain
    }
    if not level:
        return None
    told = "; ".join(
        f"{said['what']} (macro-F1 {said['macro_f1']:.3f}, {difference(said)})"
        for said in level.values()
    )
    if final["model"]["fresh_weights"]:
        advice = "Take a pretrained sentence encoder as model; the job's template names some."
    elif "majority" in level:
        advice = "Look at the labels: are they to be told from the texts at all?"
    else:
        advice = "Collect more texts, or take a larger encoder made for their language."
        if "tfidf" in level:
            advice += " model: tfidf is as good so far, and costs a second."
    return f"Not shown to be better than {told}. {advice}"


def difference(said: Mapping[str, Any]) -> Difference:
    """The paired difference from a baseline, as `figures` keeps it."""
    low, high = said["difference_interval"] or (None, None)
    return Difference(said["difference"], low, high)


def _interval(ends: np.ndarray) -> list[float] | None:
    """Both ends; None for an interval without width, which says nothing."""
    low, high = (float(end) for end in ends)
    return [low, high] if high - low >= _WIDTH else None


def scores(truth: Sequence[int], predicted: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro-F1, as in `figures`."""
    classes = 1 + int(max(np.max(truth), np.max(predicted)))
    accuracy, macro, _ = _scores(confusion(truth, predicted, classes))
    return {"accuracy": accuracy, "macro_f1": macro}


def confusion(
    truth: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, classes: int
) -> np.ndarray:
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
