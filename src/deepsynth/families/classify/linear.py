"""Softmax regression: the linear head of the probe, and of the TF-IDF baseline.

The whole objective is convex, so there is one answer, found by L-BFGS over all rows at once. Rows
come in blocks, dense or sparse, that may lie on disk: a pass reads one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

USUAL = 30.0
STRENGTHS = (3.0, USUAL, 300.0)
"""Inverse regularisation, as scikit-learn's C, among which the validation split decides."""
_PASSES = 200
_MEMORY = 10
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Linear:
    """A linear classifier.

    Attributes:
        weight: float32 tensor of shape (classes, features).
        bias: float32 tensor of shape (classes,).
        strength: The C it was fitted with.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float

    def logits(self, block: torch.Tensor) -> torch.Tensor:
        """Scores of shape (rows, classes) for dense or sparse features (rows, features)."""
        return block @ self.weight.T + self.bias


def fit_linear(
    blocks: Sequence[torch.Tensor],
    labels: np.ndarray,
    classes: int,
    *,
    strength: float,
    class_weights: torch.Tensor | None = None,
    start: Linear | None = None,
    middle: torch.Tensor | None = None,
    length: float = 1.0,
) -> Linear:
    """Minimise the mean cross-entropy plus `|weight|^2 / (2 * strength * rows)`.

    Args:
        blocks: Features of shape (rows, features), float32; sparse ones in CSR.
        labels: Class index of each row, over all blocks.
        classes: How many there are.
        strength: Inverse regularisation.
        class_weights: Weight of each class in the loss; 1 on average over the rows.
        start: A solution nearby, to begin from.
        middle: About the mean of dense features; the fit subtracts it.
        length: How long they are from there, about; the fit divides by it. Both are folded into
            the solution, which takes features as they are.
    """
    rows, width = len(labels), blocks[0].shape[1]
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    weight = torch.zeros(classes, width) if start is None else start.weight.clone()
    bias = torch.zeros(classes) if start is None else start.bias.clone()
    middle = torch.zeros(width) if middle is None else middle
    bias += weight @ middle
    weight *= length
    turned = [block.t().to_sparse_csr() if block.is_sparse_csr else block.t() for block in blocks]
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_PASSES,
        history_size=_MEMORY,
        tolerance_grad=_TOLERANCE,
        tolerance_change=_TOLERANCE**2,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        slope, shift, begin = torch.zeros_like(weight), torch.zeros_like(bias), 0
        plain = weight / length
        offset = bias - plain @ middle
        for block, across in zip(blocks, turned, strict=True):
            wanted = targets[begin : begin + block.shape[0]]
            begin += block.shape[0]
            chances = torch.log_softmax(block @ plain.T + offset, dim=1)
            pull = torch.ones(len(wanted)) if class_weights is None else class_weights[wanted]
            loss -= (chances.gather(1, wanted[:, None])[:, 0] * pull).double().sum() / rows
            error = chances.exp()
            error[torch.arange(len(wanted)), wanted] -= 1
            error *= pull[:, None] / rows
            slope += (across @ error).T
            shift += error.sum(0)
        decay = 1 / (strength * rows)
        slope -= torch.outer(shift, middle)
        weight.grad, bias.grad = slope / length + decay * weight, shift
        return (loss + decay / 2 * weight.double().square().sum()).float()

    with torch.no_grad():
        optimiser.step(objective)
    weight /= length
    return Linear(weight, bias - weight @ middle, strength)


def choose_linear(
    fit: Callable[[float, Linear | None], Linear],
    validation: Sequence[torch.Tensor],
    score: Callable[[np.ndarray], float],
) -> tuple[Linear, float]:
    """Fit at each of `STRENGTHS`, and keep the usual one unless another is clearly better.

    A small validation split tells neighbours apart by chance; what is better by more than the
    standard error of a share of its rows is taken (Breiman et al., 1984).

    Args:
        fit: Gives the solution at a strength, from the one before.
        validation: Features of the validation split.
        score: Of predicted class indices, from 0 to 1; more is better.

    Returns:
        The solution and its score.
    """
    found: dict[float, tuple[Linear, float]] = {}
    last: Linear | None = None
    for strength in STRENGTHS:
        last = fit(strength, last)
        found[strength] = last, score(predict_linear(last, validation))
    usual, best = found[USUAL], max(found.values(), key=lambda one: one[1])
    rows = sum(block.shape[0] for block in validation)
    error = math.sqrt(usual[1] * (1 - usual[1]) / rows)
    return best if best[1] > usual[1] + error else usual


def predict_linear(linear: Linear, blocks: Sequence[torch.Tensor]) -> np.ndarray:
    """Class index of each row."""
    found: list[Any] = [linear.logits(block).argmax(1).numpy() for block in blocks]
    return np.concatenate(found)
