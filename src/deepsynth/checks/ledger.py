"""The update ledger: how often the weights will move, and at what learning rate.

Guides count updates wrongly (a loop that restarts its accumulation counter each epoch makes none
at all on three samples; a warm-up of 50 updates never ends in a run of 37). This counts as the
transformers Trainer does: an epoch ends with an update even if its last accumulation is short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepsynth.checks.finding import Finding, Severity


@dataclass(frozen=True)
class Ledger:
    """What the optimiser will do.

    Attributes:
        updates: Optimiser updates in the whole training.
        per_epoch: Of these, in one epoch.
        warmup: Updates in which the learning rate rises.
        peak: Highest learning rate reached.
        final: Learning rate of the last update.
    """

    updates: int
    per_epoch: int
    warmup: int
    peak: float
    final: float


def count_updates(samples: int, batch_size: int, accumulation: int, epochs: float) -> Ledger:
    """Updates only, as the Trainer counts them; learning rates are left at zero."""
    batches = math.ceil(samples / batch_size)
    per_epoch = max(math.ceil(batches / accumulation), 1) if batches else 0
    return Ledger(math.ceil(epochs * per_epoch), per_epoch, 0, 0.0, 0.0)


def ledger(
    samples: int,
    batch_size: int,
    accumulation: int,
    epochs: float,
    *,
    learning_rate: float,
    warmup_ratio: float,
    scheduler: str,
) -> Ledger:
    """The whole ledger of a training.

    Args:
        samples: Training samples.
        batch_size: Samples in a batch, over all devices.
        accumulation: Batches in an update.
        epochs: Passes over the samples; may be a fraction.
        learning_rate: Peak that is asked for.
        warmup_ratio: Share of the updates spent rising to it.
        scheduler: `linear`, `cosine` or `constant`.
    """
    counted = count_updates(samples, batch_size, accumulation, epochs)
    total = counted.updates
    warmup = math.ceil(total * warmup_ratio)
    # The last update runs at the rate the scheduler gives for step total - 1.
    last = max(total - 1, 0)
    peak = learning_rate if total > warmup else learning_rate * last / max(warmup, 1)
    if last < warmup:
        final = learning_rate * last / warmup
    else:
        progress = (last - warmup) / max(total - warmup, 1)
        factor = {
            "linear": 1 - progress,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "constant": 1.0,
        }[scheduler]
        final = learning_rate * factor
    return Ledger(total, counted.per_epoch, warmup, peak, final)


def check_ledger(entry: Ledger, learning_rate: float, classes: int = 0) -> list[Finding]:
    """Say the ledger, and refuse a training that would make no update or never leave warm-up."""
    share = entry.warmup / entry.updates if entry.updates else 0.0
    findings = [
        Finding(
            Severity.INFO,
            "ledger",
            "train",
            f"{entry.updates} updates ({entry.per_epoch} an epoch), warm-up {entry.warmup} "
            f"({share:.0%}), learning rate {entry.peak:.2g} at its peak, "
            f"{entry.final:.2g} at the end.",
        )
    ]
    if entry.updates == 0:
        findings.append(
            Finding(
                Severity.ERROR,
                "ledger-no-update",
                "train",
                "The optimiser would not make a single update.",
                "Raise train.epochs, or lower train.batch_size or train.gradient_accumulation.",
            )
        )
    elif entry.peak < learning_rate:
        findings.append(
            Finding(
                Severity.ERROR,
                "ledger-warmup",
                "train.warmup_ratio",
                f"Warm-up never ends: the learning rate reaches {entry.peak:.2g}, "
                f"not {learning_rate:.2g}.",
                "Lower train.warmup_ratio or raise train.epochs.",
            )
        )
    elif entry.updates < 10 * max(classes, 2):
        findings.append(
            Finding(
                Severity.WARNING,
                "ledger-few",
                "train",
                f"{entry.updates} updates are few; the model will hardly move.",
                "Raise train.epochs or lower train.batch_size.",
            )
        )
    return findings
