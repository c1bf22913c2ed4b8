from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepsynth.checks import Severity
from deepsynth.checks.budget import Budget, check_budget, probe
from deepsynth.checks.learn import Overfit, check_learning, overfit_one_batch


class Classifier(torch.nn.Module):
    """Two layers; a part of it can be left out of the forward pass."""

    def __init__(self, *, uses_all: bool = True, blind: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(4, 16)
        self.second = torch.nn.Linear(16, 3)
        self.unused = torch.nn.Linear(2, 2)
        self.dropout = torch.nn.Dropout(0.9)
        self._uses_all = uses_all
        self._blind = blind

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
        hidden = torch.relu(self.first(torch.zeros_like(x) if self._blind else x))
        logits = self.second(self.dropout(hidden))
        if self._uses_all:
            logits = logits + self.unused(x[:, :2]).sum() * 0.01
        return SimpleNamespace(loss=torch.nn.functional.cross_entropy(logits, labels))


def batch(rows: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"x": torch.randn(rows, 4), "labels": torch.arange(rows) % 3}


def codes(result: Overfit) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in check_learning(result)}


def test_a_model_that_can_learn_passes_and_stops_early() -> None:
    result = overfit_one_batch(Classifier(), batch(), learning_rate=0.1, updates=200)
    assert result.last <= 0.1 * result.first
    assert result.updates < 200
    assert codes(result) == {"learn-overfit": Severity.INFO}


def test_a_model_that_does_not_see_its_input_is_caught() -> None:
    result = overfit_one_batch(
        Classifier(blind=True, uses_all=False), batch(), learning_rate=0.1, updates=100
    )
    assert codes(result)["learn-overfit"] is Severity.ERROR


def test_what_is_only_slow_is_given_more_time_and_then_a_rate_to_try() -> None:
    model = Classifier(uses_all=False)
    result = overfit_one_batch(model, batch(), learning_rate=3e-3, updates=20)
    assert 20 < result.updates <= 80
    assert 0.1 < result.last / result.first < 0.9
    (_, slow) = check_learning(result)
    assert (slow.code, slow.severity) == ("learn-slow", Severity.WARNING)
    assert "learning_rate" in slow.fix


def test_a_rate_that_moves_nothing_is_an_error() -> None:
    result = overfit_one_batch(Classifier(), batch(), learning_rate=1e-12)
    assert result.updates == 60
    assert codes(result)["learn-overfit"] is Severity.ERROR


def test_among_many_classes_the_right_one_need_only_be_likelier_than_the_rest() -> None:
    few = overfit_one_batch(Classifier(), batch(), learning_rate=0.1, classes=3)
    many = overfit_one_batch(Classifier(), batch(), learning_rate=0.1, classes=77)
    assert few.enough == pytest.approx(0.1 * few.first)
    assert many.enough == pytest.approx(0.693, abs=1e-3)
    assert many.updates < few.updates


def test_it_trains_with_the_optimiser_it_is_given() -> None:
    model = Classifier()
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    result = overfit_one_batch(model, batch(), learning_rate=0.1, optimiser=still)
    assert result.last == result.first


def test_every_trainable_tensor_must_be_reached_by_a_gradient() -> None:
    model = Classifier(uses_all=False)
    result = overfit_one_batch(model, batch(), learning_rate=0.1)
    assert result.without_gradient == ["unused.weight", "unused.bias"]
    assert codes(result)["learn-no-gradient"] is Severity.ERROR
    for weight in model.unused.parameters():
        weight.requires_grad = False
    assert overfit_one_batch(model, batch(), learning_rate=0.1).without_gradient == []


def test_a_loss_that_is_not_a_number_is_no_success() -> None:
    model = Classifier()
    with torch.no_grad():
        model.first.weight.fill_(float("nan"))
    result = overfit_one_batch(model, batch(), learning_rate=0.1)
    assert result.updates == 0
    assert codes(result)["learn-overfit"] is Severity.ERROR


def test_the_budget_counts_weights_moments_and_activations() -> None:
    model = Classifier()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    count = sum(p.numel() for p in model.parameters())
    small = probe(model, [batch(8)], updates=10)
    large = probe(model, [batch(8), batch(8000)], updates=10)
    assert small.parameters == count
    assert small.memory_gb * 1e9 > 4 * 4 * count
    # Each row keeps its input, what ReLU and dropout need, and its logits: 4 bytes a number.
    extra = (large.memory_gb - small.memory_gb) * 1e9 / (8000 - 8)
    assert 4 * (4 + 16 + 3) <= extra <= 4 * 4 * (4 + 16 + 16 + 3)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(("limit", "errors"), [(None, 0), (2.0, 0), (0.5, 1)])
def test_what_cannot_fit_is_an_error(limit: float | None, errors: int) -> None:
    findings = check_budget(Budget(60.0, 1.0, 1_000_000, "cpu"), limit)
    assert sum(finding.severity is Severity.ERROR for finding in findings) == errors
    assert "1.00 M trainable parameters" in findings[0].what
    assert "60 s" in findings[1].what
