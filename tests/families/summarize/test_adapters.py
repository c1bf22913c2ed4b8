"""Adapters come back from disk as they went; with stock PEFT and transformers they do not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from deepsynth import durable
from deepsynth.errors import ModelError
from deepsynth.families.summarize.batches import PageCollator, batch_loss
from deepsynth.families.summarize.job import LoraSettings
from deepsynth.families.summarize.lora import (
    BASE_FILE,
    anchor_renaming,
    base_fingerprint,
    load_adapter,
    place_lora,
)
from deepsynth.families.summarize.model import load_model, load_processor, page_view
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.training import get_lora_preset
from tests.support.pages import rows


@pytest.fixture(scope="module")
def batch(tiny: Path) -> dict[str, Any]:
    samples = PageSamples(rows(2), "rows")
    return collator(tiny)([samples[0], samples[1]])


def collator(folder: Path) -> PageCollator:
    processor = load_processor(str(folder))
    return PageCollator(processor, page_view(processor, (192, 192)), "Summarise.")


def trained(folder: Path, lora: LoraSettings, batch: dict[str, Any]) -> Any:
    """A model with an adapter that three large steps have moved away from zero."""
    model = place_lora(load_model(str(folder)), lora)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2)
    for _ in range(3):
        batch_loss(model, batch, None).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def loss(model: Any, batch: dict[str, Any]) -> float:
    with torch.no_grad():
        return float(batch_loss(model.eval(), batch, None))


@pytest.mark.parametrize("name", ["balanced", "router_focused", "high_capacity_moe"])
def test_adapter_and_merged_model_keep_what_was_learned(
    name: str, tiny: Path, batch: dict[str, Any], tmp_path: Path
) -> None:
    model = trained(tiny, LoraSettings().filled(get_lora_preset(name)), batch)
    before, untrained = loss(model, batch), loss(load_model(str(tiny)), batch)
    assert abs(before - untrained) > 0.1
    model.save_pretrained(tmp_path / "adapter")
    again = load_adapter(load_model(str(tiny)), tmp_path / "adapter")
    assert loss(again, batch) == pytest.approx(before, abs=1e-5)
    again.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert loss(load_model(str(tmp_path / "merged")), batch) == pytest.approx(before, abs=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_trains_is_in_32_bits_and_comes_back_so(
    precision: Any, tiny: Path, tmp_path: Path
) -> None:
    lora = LoraSettings().filled(get_lora_preset("router_focused"))
    model = place_lora(load_model(str(tiny), precision=precision), lora)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert any("mlp.gate" in name for name in trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    with torch.no_grad():
        for weight in trained.values():
            weight += 1e-5 * torch.randn_like(weight)
    model.save_pretrained(tmp_path)
    again = load_adapter(load_model(str(tiny), precision=precision), tmp_path, trainable=True)
    found = {n: p for n, p in again.named_parameters() if p.requires_grad}
    assert found.keys() == trained.keys()
    for name, weight in trained.items():
        assert torch.equal(found[name], weight), name


def test_without_the_repair_loading_is_refused_rather_than_silent(
    tiny: Path, batch: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault this guards against: `PeftModel.from_pretrained` warns and loads nothing."""
    from transformers.conversion_mapping import (
        get_checkpoint_conversion_mapping,
        register_checkpoint_conversion_mapping,
    )
    from transformers.core_model_loading import WeightRenaming

    model = trained(tiny, LoraSettings().filled(get_lora_preset("balanced")), batch)
    model.save_pretrained(tmp_path)
    repaired = get_checkpoint_conversion_mapping("deepseek_ocr2")
    stock = [
        WeightRenaming(
            source_patterns=rule.source_patterns[0].replace("(^|^model", "(^|model"),
            target_patterns=rule.target_patterns[0],
        )
        if isinstance(rule, WeightRenaming)
        else rule
        for rule in repaired
    ]
    register_checkpoint_conversion_mapping("deepseek_ocr2", stock, overwrite=True)
    try:
        monkeypatch.setattr(
            "deepsynth.families.summarize.lora.anchor_renaming", lambda model_type: 0
        )
        with pytest.raises(ModelError, match="did not arrive in the model"):
            load_adapter(load_model(str(tiny)), tmp_path)
    finally:
        anchored = anchor_renaming()
    assert anchored > 0
    assert loss(load_adapter(load_model(str(tiny)), tmp_path), batch) == pytest.approx(
        loss(model, batch), abs=1e-5
    )


def test_an_adapter_of_another_base_is_refused(
    tiny: Path, batch: dict[str, Any], tmp_path: Path
) -> None:
    from deepsynth.families.summarize.tiny_model import build_tiny

    model = trained(tiny, LoraSettings().filled(get_lora_preset("standard")), batch)
    model.save_pretrained(tmp_path)
    known = base_fingerprint(load_model(str(tiny)), "tiny")
    durable.write_json(tmp_path / BASE_FILE, known)
    other, _ = build_tiny(["another"], seed=7)
    with pytest.raises(ModelError, match="another base model"):
        load_adapter(other, tmp_path)


def test_an_adapter_cut_short_is_refused(tiny: Path, batch: dict[str, Any], tmp_path: Path) -> None:
    model = trained(tiny, LoraSettings().filled(get_lora_preset("standard")), batch)
    model.save_pretrained(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with warnings.catch_warnings(), pytest.raises(ModelError, match="cut short"):
        load_adapter(load_model(str(tiny)), tmp_path)
