"""Picture of a classifier's results: the confusion matrix."""

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
        parse_math=False,  # a label may hold dollar signs
    )
    axes.set_yticks(range(len(labels)), labels, fontsize=font, parse_math=False)
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


def _figure_type() -> Any:
    # Figure without pyplot: no global state, no display, no backend to choose.
    from matplotlib.figure import Figure

    return Figure
