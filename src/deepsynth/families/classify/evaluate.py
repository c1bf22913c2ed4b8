"""Step `evaluate`: load the exported model in this fresh process, score it, and say what it is.

Writes `metrics.json`, `evaluation/` (confusion matrix as picture and table, every prediction) and
`report.html`. The accuracy found here must be the one the training process found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.evaluation.tables import write_table
from deepsynth.families.classify.baselines import majority, words
from deepsynth.families.classify.inference import load_trained, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.metrics import confusion, doubt, figures
from deepsynth.families.classify.pictures import draw_confusion
from deepsynth.families.classify.prepared import PROBE, Split, model_folder, read_labels, read_split
from deepsynth.families.classify.report import write_report
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

TOLERANCE = 1e-6
WORDS = 12
"""Words shown of a model on TF-IDF that speak for a label."""
PAIRS = 15
"""Pairs of labels shown as the most confused."""


def check_same_score(trained: float, reloaded: float) -> None:
    """Refuse a model that scores differently once it is loaded from disk.

    Raises:
        StepFailed: The export lost or changed something.
    """
    if abs(trained - reloaded) > TOLERANCE:
        raise StepFailed(
            f"the exported model is not the trained one: accuracy {reloaded:.6f} after loading, "
            f"{trained:.6f} before.",
            where="model/",
            hint="Do not use this model. Train again; if it happens again, please report it.",
        )


def write_predictions(path: Path, split: Split, labels: list[str], scores: np.ndarray) -> None:
    """One line for each test row: place, true label, predicted label, its probability, text."""
    rows: list[list[str]] = []
    for place, truth, row, text in zip(
        split.places, split.labels, scores, split.texts, strict=True
    ):
        best = int(row.argmax())
        rows.append([place, labels[truth], labels[best], f"{row[best]:.4f}", text])
    write_table(path, ["place", "label", "predicted", "probability", "text"], rows)


def write_confusion(path: Path, matrix: np.ndarray, labels: list[str]) -> None:
    """The confusion matrix as CSV: true label down, predicted label across, counts."""
    rows = ([label, *row] for label, row in zip(labels, matrix.tolist(), strict=True))
    write_table(path, ["true \\ predicted", *labels], rows)


def confused_pairs(matrix: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """The pairs of labels taken for one another most often, both ways together."""
    both = np.triu(matrix + matrix.T, 1)
    rows, columns = np.nonzero(both)
    order = sorted(zip(rows, columns, strict=True), key=lambda pair: (-both[pair], pair))
    return [
        {
            "labels": [labels[a], labels[b]],
            "texts": int(both[a, b]),
            "of": int(matrix[a].sum() + matrix[b].sum()),
        }
        for a, b in order[:PAIRS]
    ]


def confident_mistakes(
    split: Split, labels: list[str], scores: np.ndarray, most: int
) -> list[dict[str, Any]]:
    """The wrong predictions the model was surest of, surest first."""
    best = scores.argmax(axis=1)
    wrong = np.flatnonzero(best != np.asarray(split.labels))
    order = sorted(wrong, key=lambda row: (-scores[row, best[row]], row))[:most]
    return [
        {
            "place": split.places[row],
            "text": split.texts[row],
            "label": labels[split.labels[row]],
            "predicted": labels[best[row]],
            "probability": float(scores[row, best[row]]),
        }
        for row in order
    ]


def main(run: Run) -> None:
    """Score the model of a run on its test split and write the report."""
    job = run.job(ClassifyJob)
    labels = read_labels(run)
    test, train = read_split(run, "test"), read_split(run, "train")
    model, tokenizer, settings = load_trained(model_folder(run))
    scores = probabilities(
        model,
        tokenizer,
        test.texts,
        max_length=settings["max_length"],
        progress=lambda done: run.progress("evaluate", done, len(test), "texts"),
    )
    predicted = scores.argmax(axis=1)
    trained = durable.read_json(run.path / "training" / "test_scores.json")
    check_same_score(trained["accuracy"], float((predicted == np.asarray(test.labels)).mean()))
    yardsticks = {
        "majority": majority(train, labels, test),
        "tfidf": words(train, labels, test, job.seed),
    }
    if found := durable.read_json(run.path / "training" / PROBE):
        yardsticks["probe"] = ("the encoder as it came, with a linear head", found["test"])
    final = figures(
        test.labels,
        predicted.tolist(),
        labels,
        yardsticks,
        samples=job.evaluation.bootstrap_samples,
        seed=job.seed,
    )
    final["model"] = {
        key: value for key, value in settings.items() if key not in ("family", "labels")
    }
    final["doubt"] = doubt(final)
    folder = run.path / "evaluation"
    folder.mkdir(exist_ok=True)
    matrix = confusion(test.labels, predicted.tolist(), len(labels))
    write_confusion(folder / "confusion_matrix.csv", matrix, labels)
    draw_confusion(folder / "confusion_matrix.png", matrix, labels)
    final["confused"] = confused_pairs(matrix, labels)
    write_predictions(folder / "predictions.csv", test, labels, scores)
    mistakes = confident_mistakes(test, labels, scores, job.evaluation.mistakes)
    durable.write_json(folder / "mistakes.json", mistakes)
    if tokenizer is None:
        durable.write_json(folder / "words.json", model.words(labels, WORDS))
    durable.write_json(run.path / "metrics.json", final)
    write_report(run, final, mistakes)


if __name__ == "__main__":
    step_process(main)
