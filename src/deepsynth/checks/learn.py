"""The learn gate: a model that cannot overfit one batch will not learn from many.

Source: "overfit one batch first" is old advice (Karpathy, A Recipe for Training Neural Networks,
2019); here it is a gate, together with the question whether a gradient reaches every tensor that
is meant to be trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from deepsynth.checks.finding import Finding, Severity

ENOUGH = 0.1
"""The loss must fall to this share of where it began."""
MANY = 8
"""Among so many classes or more it is enough that the right one is likelier than all others."""
_FALLING = 0.97
"""The loss still falls while a stretch of updates brings it to this share of the stretch before."""
_STRETCH = 10
_LONGER = 4
"""While it falls, the gate goes on to so many times the updates it was given."""
_FELL = 0.9
"""A loss above this share of where it began has not fallen."""


@dataclass(frozen=True)
class Overfit:
    """What happened to the loss on one batch.

    Attributes:
        first: Loss before the first update.
        last: Loss after the last.
        updates: Updates made; fewer than allowed when it fell early.
        without_gradient: Trainable tensors that no gradient reached.
        enough: The loss at which the batch counts as learned.
        learning_rate: Of the updates.
    """

    first: float
    last: float
    updates: int
    without_gradient: list[str]
    enough: float
    learning_rate: float


def overfit_one_batch(
    model: Any,
    batch: dict[str, Any],
    *,
    learning_rate: float,
    updates: int = 60,
    optimiser: torch.optim.Optimizer | None = None,
    classes: int = 0,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Overfit:
    """Train `model` on one batch, without dropout, until it is learned or the loss falls no more.

    Args:
        model: A transformers model whose forward returns a loss. It is changed; give a copy.
        batch: Inputs with labels.
        learning_rate: Of AdamW.
        updates: So many, and up to four times as many while the loss still falls.
        optimiser: The one of the training, instead of a plain AdamW; at `learning_rate`.
        classes: What a classifier chooses among; 0 for anything else.
        precision: The arithmetic of the training's forward pass.
    """
    # eval() switches dropout off; gradients flow all the same.
    model.eval()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if optimiser is None:
        optimiser = torch.optim.AdamW(trainable.values(), lr=learning_rate, weight_decay=0.0)
    losses: list[float] = []
    untouched: list[str] = []
    enough = 0.0
    while True:
        with precision():
            loss = model(**batch).loss
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        if len(losses) == 1:
            enough = max(ENOUGH * losses[0], math.log(2) if classes >= MANY else 0.0)
            untouched = [
                name
                for name, weight in trainable.items()
                if weight.grad is None or not weight.grad.abs().max() > 0
            ]
        if not math.isfinite(losses[-1]) or losses[-1] <= enough or _is_over(losses, updates):
            break
        torch.nn.utils.clip_grad_norm_(trainable.values(), 1.0)
        optimiser.step()
    return Overfit(losses[0], losses[-1], len(losses) - 1, untouched, enough, learning_rate)


def _is_over(losses: list[float], updates: int) -> bool:
    """Whether the gate has seen enough updates, or one that falls no more."""
    done = len(losses) - 1
    if done < updates:
        return False
    late, before = losses[-_STRETCH:], losses[-2 * _STRETCH : -_STRETCH]
    return done >= _LONGER * updates or not sum(late) < _FALLING * sum(before)


def check_learning(result: Overfit) -> list[Finding]:
    """What the gate has to say: no fall is an error, a slow one a warning."""
    findings: list[Finding] = []
    if result.without_gradient:
        findings.append(
            Finding(
                Severity.ERROR,
                "learn-no-gradient",
                "model",
                f"No gradient reaches {len(result.without_gradient)} trainable tensors.",
                "They would stay as they are; freeze them on purpose or take another model.",
                tuple(result.without_gradient[:5]),
            )
        )
    story = (
        f"the loss on one batch went from {result.first:.3g} to {result.last:.3g} "
        f"in {result.updates} updates."
    )
    if result.last <= result.enough:
        findings.append(
            Finding(Severity.INFO, "learn-overfit", "model", f"The model can learn: {story}")
        )
    elif result.last <= _FELL * result.first:
        missing = math.log(result.first / result.enough) / math.log(result.first / result.last)
        rate = result.learning_rate * min(10.0, missing)
        findings.append(
            Finding(
                Severity.WARNING,
                "learn-slow",
                "train.learning_rate",
                f"The model learns slowly: {story}",
                f"Try train.learning_rate: {rate:.0e}, or more passes.",
            )
        )
    else:
        findings.append(
            Finding(
                Severity.ERROR,
                "learn-overfit",
                "model",
                f"The model cannot overfit a single batch: {story}",
                "Look at the labels of the texts, the tokens and the learning rate.",
            )
        )
    return findings
