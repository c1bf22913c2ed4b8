from __future__ import annotations

import pytest
import torch
from transformers import TrainingArguments, get_scheduler

from deepsynth.checks import Severity
from deepsynth.checks.ledger import check_ledger, count_updates, ledger

RATE = 1e-3


@pytest.mark.parametrize(
    ("samples", "batch", "accumulation", "epochs", "updates", "per_epoch"),
    [
        (100, 10, 1, 3, 30, 10),
        (101, 10, 1, 3, 33, 11),
        (101, 10, 4, 3, 9, 3),
        (3, 4, 8, 5, 5, 1),
        (100, 10, 1, 0.05, 1, 10),
        (100, 10, 1, 1.55, 16, 10),
        (0, 4, 1, 3, 0, 0),
    ],
)
def test_updates_are_counted_as_the_trainer_does(
    samples: int, batch: int, accumulation: int, epochs: float, updates: int, per_epoch: int
) -> None:
    counted = count_updates(samples, batch, accumulation, epochs)
    assert (counted.updates, counted.per_epoch) == (updates, per_epoch)


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("epochs", "warmup"), [(3, 0.1), (3, 0.0), (2, 0.5), (1, 0.99)])
def test_rates_are_those_of_the_real_schedule(scheduler: str, epochs: int, warmup: float) -> None:
    found = ledger(100, 10, 1, epochs, learning_rate=RATE, warmup_ratio=warmup, scheduler=scheduler)
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=RATE)
    arguments = TrainingArguments(output_dir="none", warmup_steps=warmup, use_cpu=True)
    real = get_scheduler(
        {"constant": "constant_with_warmup"}.get(scheduler, scheduler),
        optimiser,
        num_warmup_steps=arguments.get_warmup_steps(found.updates),
        num_training_steps=found.updates,
    )
    rates: list[float] = []
    for _ in range(found.updates):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        real.step()
    assert found.peak == pytest.approx(max(rates))
    assert found.final == pytest.approx(rates[-1])


def test_findings_of_a_ledger() -> None:
    def codes(samples: int, warmup: float = 0.1) -> dict[str, Severity]:
        entry = ledger(
            samples, 10, 1, 1, learning_rate=RATE, warmup_ratio=warmup, scheduler="linear"
        )
        return {f.code: f.severity for f in check_ledger(entry, RATE, classes=3)}

    assert codes(1000) == {"ledger": Severity.INFO}
    assert codes(290)["ledger-few"] is Severity.WARNING
    assert "ledger-few" not in codes(300)
    assert codes(0)["ledger-no-update"] is Severity.ERROR
    assert codes(1000, warmup=0.999)["ledger-warmup"] is Severity.ERROR
