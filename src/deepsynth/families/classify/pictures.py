"""Pictures of a classifier's results: the confusion matrix and the training curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

INK = "#1f2933"
_ANNOTATED = 25
"""Above so many classes the cells carry no figures: nobody could read them."""


def draw_confusion(path: Path, matrix: np.ndarray, labels: Sequence[str]) -> None:
    """Draw counts and row shares; colour is the share of the true label (row).

    Args:
        path: PNG to write.
        matrix: Counts of shape (classes, classes), true label down.
        labels: Names in the order of the matrix.
    """
    figure_type = _figure_type()
    size = float(np.clip(1.6 + 0.95 * len(labels), 4.2, 18))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = figure_type(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 10 if len(labels) <= _ANNOTATED else 6
    axes.set_xticks(
        range(len(labels)),
        labels,
        rotation=45 if len(labels) > 4 else 0,
        ha="right" if len(labels) > 4 else "center",
        fontsize=font,
    )
    axes.set_yticks(range(len(labels)), labels, fontsize=font)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    if len(labels) <= _ANNOTATED:
        for row in range(len(labels)):
            for column in range(len(labels)):
                axes.text(
                    column,
                    row,
                    f"{matrix[row, column]}\n{shares[row, column]:.0%}",
                    ha="center",
                    va="center",
                    fontsize=font,
                    color="white" if shares[row, column] > 0.55 else INK,
                )
    figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def draw_curve(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Draw the training loss and the validation macro-F1 over the updates.

    Args:
        path: PNG to write.
        points: Lines of `metrics.jsonl`.
    """
    figure = _figure_type()(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    loss = [(p["update"], p["loss"]) for p in points if p.get("loss") is not None]
    score = [
        (p["update"], p["eval_macro_f1"]) for p in points if p.get("eval_macro_f1") is not None
    ]
    axes.plot(*zip(*loss, strict=True), color="#9fb3c8", lw=1, label="training loss")
    axes.set_xlabel("updates")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.plot(
        *zip(*score, strict=True), color="#1d4ed8", marker="o", ms=4, label="validation macro-F1"
    )
    right.set_ylabel("macro-F1")
    right.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _figure_type() -> Any:
    # Figure without pyplot: no global state, no display, no backend to choose.
    from matplotlib.figure import Figure

    return Figure
