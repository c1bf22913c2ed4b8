"""The learn gate: a model that cannot overfit one batch will not learn from many.

Source: "overfit one batch first" is old advice (Karpathy, A Recipe for Training Neural Networks,
2019); here it is a gate, together with the question whether a gradient reaches every tensor that
is meant to be trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from deepsynth.checks.finding import Finding, Severity

ENOUGH = 0.1
"""The loss must fall to this share of where it began."""


@dataclass(frozen=True)
class Overfit:
    """What happened to the loss on one batch.

    Attributes:
        first: Loss before the first update.
        last: Loss after the last.
        updates: Updates made; fewer than allowed when it fell early.
        without_gradient: Trainable tensors that no gradient reached.
    """

    first: float
    last: float
    updates: int
    without_gradient: list[str]


def overfit_one_batch(
    model: Any, batch: dict[str, Any], *, learning_rate: float, updates: int = 60
) -> Overfit:
    """Train `model` on one batch until its loss has fallen to a tenth, without dropout.

    Args:
        model: A transformers model whose forward returns a loss. It is changed; give a copy.
        batch: Inputs with labels.
        learning_rate: Of AdamW.
        updates: At most so many.
    """
    # eval() switches dropout off; gradients flow all the same.
    model.eval()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trainable.values(), lr=learning_rate, weight_decay=0.0)
    first = last = math.nan
    untouched: list[str] = []
    done = 0
    for update in range(updates):
        loss = model(**batch).loss
        last = float(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        if update == 0:
            first = last
            untouched = [
                name
                for name, weight in trainable.items()
                if weight.grad is None or not weight.grad.abs().max() > 0
            ]
        if not math.isfinite(last) or last <= ENOUGH * first:
            break
        torch.nn.utils.clip_grad_norm_(trainable.values(), 1.0)
        optimiser.step()
        done = update + 1
    return Overfit(first, last, done, untouched)


def check_learning(result: Overfit) -> list[Finding]:
    """What the gate has to say."""
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
    if not result.last <= ENOUGH * result.first:
        findings.append(
            Finding(
                Severity.ERROR,
                "learn-overfit",
                "model",
                f"The model cannot overfit a single batch: {story}",
                "Look at the labels of the texts, the tokens and the learning rate.",
            )
        )
    else:
        findings.append(
            Finding(Severity.INFO, "learn-overfit", "model", f"The model can learn: {story}")
        )
    return findings
