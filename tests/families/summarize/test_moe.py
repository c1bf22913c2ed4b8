from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepsynth.errors import JobError
from deepsynth.families.summarize.batches import PageCollator, batch_loss, loss_inputs
from deepsynth.families.summarize.job import LoraSettings, MoeSettings
from deepsynth.families.summarize.lora import place_lora
from deepsynth.families.summarize.model import load_model, load_processor, page_view
from deepsynth.families.summarize.moe import (
    collecting_router_logits,
    counting_experts,
    load_balancing_loss,
    regularise,
    routers,
    usage_report,
)
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.training import get_lora_preset
from tests.support.pages import rows


@pytest.fixture(scope="module")
def batch(tiny: Path) -> dict[str, Any]:
    processor = load_processor(str(tiny))
    samples = PageSamples(rows(2), "rows")
    collator = PageCollator(processor, page_view(processor, (192, 192)), "Summarise.")
    return collator([samples[0], samples[1]])


def model_with(tiny: Path, router: str) -> Any:
    lora = LoraSettings(router=router, dropout=0.0).filled(get_lora_preset("standard"))  # type: ignore[arg-type]
    model = place_lora(load_model(str(tiny)), lora)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    return model.train()


def router_gradient(model: Any, batch: dict[str, Any]) -> float:
    model.zero_grad()
    torch.manual_seed(1)
    batch_loss(model, batch, None).backward()
    return sum(
        float(weight.grad.norm())
        for name, weight in model.named_parameters()
        if "mlp.gate." in name and weight.grad is not None
    )


@pytest.mark.parametrize("router", ["lora", "full"])
def test_gate_dropout_stops_gradients_of_the_router_only(
    router: str, tiny: Path, batch: dict[str, Any]
) -> None:
    model = model_with(tiny, router)
    free = router_gradient(model, batch)
    assert free > 0
    handles = regularise(model, MoeSettings(gate_dropout=1.0))
    assert len(handles) == 1
    assert router_gradient(model, batch) == 0
    attention = [
        w.grad for n, w in model.named_parameters() if "self_attn" in n and w.requires_grad
    ]
    assert all(gradient is not None for gradient in attention)


def test_expert_dropout_keeps_the_strongest_and_the_total_weight(tiny: Path) -> None:
    model = load_model(str(tiny)).train()
    ((_, router),) = routers(model)
    states = torch.randn(64, 64)
    plain = router(states)[1]
    regularise(model, MoeSettings(expert_dropout=0.9, min_keep=1))
    torch.manual_seed(0)
    dropped = router(states)[1]
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped.sum(-1), plain.sum(-1))
    strongest = plain.argmax(-1, keepdim=True)
    assert (dropped.gather(1, strongest) > 0).all()
    model.eval()
    assert torch.equal(router(states)[1], plain)


def test_min_keep_of_all_experts_changes_nothing(tiny: Path) -> None:
    model = load_model(str(tiny)).train()
    ((_, router),) = routers(model)
    states = torch.randn(64, 64)
    plain = router(states)[1]
    regularise(model, MoeSettings(expert_dropout=0.9, min_keep=2))
    torch.testing.assert_close(router(states)[1], plain)


def test_the_load_balancing_loss_reaches_the_router(tiny: Path, batch: dict[str, Any]) -> None:
    model = model_with(tiny, "full")
    fields = loss_inputs(model, batch, None)
    with collecting_router_logits(model) as logits:
        model(**fields)
    assert len(logits) == 1
    loss = load_balancing_loss(model, logits, batch["attention_mask"])
    assert float(loss.detach()) >= 2.0 - 1e-3  # top-2 of 8 experts: 2 when perfectly balanced
    loss.backward()
    assert any(
        weight.grad is not None and weight.grad.abs().max() > 0
        for name, weight in model.named_parameters()
        if "mlp.gate." in name
    )


def test_a_model_without_experts_cannot_be_regularised(llava: Path) -> None:
    with pytest.raises(JobError, match="no mixture of experts"):
        regularise(load_model(str(llava)), MoeSettings(gate_dropout=0.1))


@pytest.mark.parametrize("router", ["lora", "full"])
def test_expert_usage_counts_every_choice_under_one_name(
    router: str, tiny: Path, batch: dict[str, Any]
) -> None:
    plain, adapted = load_model(str(tiny)).eval(), model_with(tiny, router).eval()
    usages = []
    for model in (plain, adapted):
        with counting_experts(model) as usage, torch.no_grad():
            batch_loss(model, batch, None)
        usages.append(usage)
    (name,) = usages[0]
    assert name == "model.language_model.layers.1.mlp.gate"
    tokens = batch["input_ids"].numel()
    assert sum(usages[0][name]) == 2 * tokens
    (entry,) = usage_report(*usages)
    assert sum(entry["after"]) == pytest.approx(1, abs=1e-3)
    assert 0 <= entry["moved"] <= 1
    assert usage_report(usages[0], usages[0])[0]["moved"] == 0
