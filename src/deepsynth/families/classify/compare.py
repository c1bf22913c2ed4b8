"""Two classifiers side by side: how far apart, and at which labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.metrics import compare_answers, difference
from deepsynth.families.family import Comparison
from deepsynth.run.run import Run

LABELS = 10
"""Labels shown: those whose F1 differs most."""


def compare(runs: Sequence[Run]) -> Comparison:
    """The paired difference of each run from the first, then accuracy, macro-F1 and labels."""
    finals = [run.final_metrics() or {} for run in runs]
    figures = {
        title: [final[key] for final in finals]
        for key, title in (("macro_f1", "macro-F1"), ("accuracy", "accuracy"))
    }
    scores = {
        label: [final["classes"].get(label, {}).get("f1") for final in finals]
        for final in finals
        for label in final["classes"]
    }

    def spread(label: str) -> float:
        known = [score for score in scores[label] if score is not None]
        return max(known) - min(known) if len(known) == len(finals) else 1.0

    apart = sorted((label for label in scores if spread(label) > 0), key=lambda x: -spread(x))
    shown = {f"F1 of {label}": scores[label] for label in apart[:LABELS]}
    said = [_difference(runs[0], other) for other in runs[1:]]
    return Comparison(said, figures | shown)


def _difference(first: Run, other: Run) -> str:
    told, others = _answers(first.path), _answers(other.path)
    if [row[:3] for row in told] != [row[:3] for row in others]:
        return (
            f"{other.path.name} was tested on other texts than {first.path.name}: the figures "
            "cannot be compared text by text."
        )
    names = sorted({name for row in (*told, *others) for name in row[2:]})
    index = {name: number for number, name in enumerate(names)}
    job = first.job(ClassifyJob)
    found = compare_answers(
        [index[row[2]] for row in told],
        [index[row[3]] for row in others],
        [index[row[3]] for row in told],
        samples=job.evaluation.bootstrap_samples,
        seed=job.seed,
    )
    ends = found["difference_interval"]
    shown = found["difference"] != 0 and (ends is None or ends[0] > 0 or ends[1] < 0)
    return f"macro-F1 of {other.path.name} against {first.path.name}: {difference(found)}; " + (
        "the difference is shown." if shown else "no difference is shown."
    )


def _answers(run: Path) -> list[tuple[str, str, str, str]]:
    """Place, text, label and answer of each test text."""
    with (run / "evaluation" / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return [
            (row["place"], row["text"], row["label"], row["predicted"])
            for row in csv.DictReader(stream)
        ]
