"""Names some pipelines are known by, where they differ from the names of our steps.

A pipeline that sorts tickets is commonly drawn as download, tokenize, train and evaluate, with the
model, its figures and the confusion matrix as results. Its tasks keep those names here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Steps that are also one task, with results of their own.

    Attributes:
        task: Its name.
        title: What it does, for people.
        steps: The steps it calls, in order.
        results: Step, path in what the step made, and type of each result.
    """

    task: str
    title: str
    steps: tuple[str, ...]
    results: tuple[tuple[str, str, str], ...]


TASKS = {"classify": {"prepare": "download_dataset", "check": "tokenize_dataset"}}
"""Name of the task of a step, by family; the name of the step where nothing else is said."""

GROUPS = {
    "classify": Group(
        "train_and_eval",
        "Train and evaluate: the model, its figures (metrics.json), the confusion matrix.",
        ("train", "evaluate"),
        (
            ("train", "model", "Dir"),
            ("evaluate", "metrics.json", "File"),
            ("evaluate", "evaluation/confusion_matrix.png", "File"),
        ),
    )
}
"""The group of steps of a family that is one task besides."""
