"""What a training will need: memory and time, from a few real updates on the real model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepsynth.checks.finding import Finding, Severity
from deepsynth.duration import duration

_ADAM_COPIES = 4
"""Weights, gradients and the two moments of Adam."""


@dataclass(frozen=True)
class Budget:
    """Estimates for a whole training.

    Attributes:
        seconds: Wall time on this machine.
        memory_gb: Peak memory in GB (10^9 bytes).
        parameters: Trainable parameters.
        device: Where the probe ran.
    """

    seconds: float
    memory_gb: float
    parameters: int
    device: str


def probe(model: Any, batches: Sequence[dict[str, Any]], updates: int) -> Budget:
    """Time forward and backward on a few batches and scale to the whole training.

    Memory is weights, gradients and Adam's moments in float32, plus the activations kept for the
    backward pass, measured by counting what autograd saves for the largest batch.

    Args:
        model: The model to be trained; its weights are not changed.
        batches: Batches as the training will see them; the first warms up, the last is the
            largest.
        updates: Updates of the whole training.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    seconds: list[float] = []
    saved = 0
    for batch in batches:
        started = time.perf_counter()
        counter = _SavedBytes({p.data_ptr() for p in parameters})
        with torch.autograd.graph.saved_tensors_hooks(counter.pack, counter.unpack):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        saved = max(saved, counter.total)
        seconds.append(time.perf_counter() - started)
    timed = seconds[1:] or seconds
    count = sum(p.numel() for p in parameters)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    memory = weights + (_ADAM_COPIES - 1) * 4 * count + saved
    return Budget(
        seconds=updates * sum(timed) / len(timed),
        memory_gb=memory / 1e9,
        parameters=count,
        device=str(parameters[0].device.type),
    )


class _SavedBytes:
    """Counts the bytes autograd keeps for the backward pass, each storage once."""

    def __init__(self, known: set[int]) -> None:
        self.total = 0
        self._seen = known

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in self._seen:
            self._seen.add(address)
            self.total += tensor.untyped_storage().nbytes()
        return tensor

    def unpack(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def check_budget(budget: Budget, limit_gb: float | None) -> list[Finding]:
    """Say the estimates, and refuse what cannot fit."""
    findings = [
        Finding(
            Severity.INFO,
            "budget",
            budget.device,
            f"{budget.parameters / 1e6:.2f} M trainable parameters, about "
            f"{budget.memory_gb:.2g} GB of memory.",
        ),
        Finding(
            Severity.INFO,
            "budget-time",
            budget.device,
            f"About {duration(budget.seconds)} of training on this machine "
            "(estimated from a few updates, without evaluation).",
            measured=True,
        ),
    ]
    if limit_gb is not None and budget.memory_gb > limit_gb:
        findings.append(
            Finding(
                Severity.ERROR,
                "budget-memory",
                budget.device,
                f"Training needs about {budget.memory_gb:.1f} GB; there are {limit_gb:.1f} GB.",
                "Lower train.batch_size (and raise train.gradient_accumulation), "
                "or tokens.max_length.",
            )
        )
    return findings
