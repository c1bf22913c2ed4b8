"""LoRA reaches the language model and nothing else, in exactly the numbers we print."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.reference_model import reference_config

from deepsynth.errors import JobError
from deepsynth.families.summarize.job import LoraSettings
from deepsynth.families.summarize.lora import count_trainable, empty_model, place_lora
from deepsynth.families.summarize.model import load_model
from deepsynth.training import LORA_PRESETS, get_lora_preset

EXACT = {
    "tiny_data": {"attention": 1_966_080, "mlp": 130_048, "shared experts": 540_672},
    "balanced": {"attention": 3_932_160, "mlp": 780_288, "shared experts": 3_244_032},
    "router_focused": {
        "attention": 1_966_080,
        "mlp": 130_048,
        "shared experts": 540_672,
        "router": 901_120,
    },
    "high_capacity_moe": {
        "attention": 7_864_320,
        "mlp": 1_560_576,
        "shared experts": 6_488_064,
        "routed experts": 14_778_368,
        "router": 946_176,
    },
    "standard": {"attention": 1_966_080},
    "qlora_4bit": {"attention": 1_966_080},
}


@pytest.mark.parametrize("name", LORA_PRESETS)
def test_presets_come_to_exactly_what_the_documentation_says(name: str) -> None:
    counted = count_trainable(
        place_lora(empty_model(reference_config()), LoraSettings().filled(get_lora_preset(name)))
    )
    assert {part: n for part, n in counted.by_part.items() if n} == EXACT[name]
    assert counted.total == sum(EXACT[name].values())
    assert counted.all_parameters == 3_389_119_360
    text = Path("docs/reference/lora-presets.md").read_text(encoding="utf-8")
    assert f"{counted.total:,}" in text


def test_vision_trains_only_when_asked(tiny: Path) -> None:
    preset = get_lora_preset("balanced")
    without = count_trainable(place_lora(load_model(str(tiny)), LoraSettings().filled(preset)))
    assert without.by_part["vision"] == 0
    lora = LoraSettings(vision=True).filled(preset)
    assert count_trainable(place_lora(load_model(str(tiny)), lora)).by_part["vision"] > 0


def test_dropout_stays_on_linear_layers_beside_parameter_targets(tiny: Path) -> None:
    from peft.tuners.lora import Linear
    from torch import nn

    lora = LoraSettings().filled(get_lora_preset("high_capacity_moe"))
    model = place_lora(load_model(str(tiny)), lora)
    linear = [m for m in model.modules() if isinstance(m, Linear)]
    assert linear
    for module in linear:
        dropout = module.lora_dropout["default"]
        assert isinstance(dropout, nn.Dropout)
        assert dropout.p == 0.05


def test_a_target_that_matches_nothing_names_what_is_near(tiny: Path) -> None:
    lora = LoraSettings(targets=["qproj"]).filled(get_lora_preset("standard"))
    with pytest.raises(JobError) as caught:
        place_lora(load_model(str(tiny)), lora)
    assert "qproj matches no linear layer" in caught.value.what
    assert "q_proj" in (caught.value.hint or "")


def test_a_router_preset_on_a_model_without_experts_is_refused(llava: Path) -> None:
    lora = LoraSettings().filled(get_lora_preset("router_focused"))
    with pytest.raises(JobError, match="no mixture of experts"):
        place_lora(load_model(str(llava)), lora)


def test_an_unknown_preset_says_which_was_meant() -> None:
    with pytest.raises(JobError) as caught:
        get_lora_preset("ballanced")
    assert caught.value.hint == "Did you mean balanced?"
