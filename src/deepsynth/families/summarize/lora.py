"""LoRA on the language model of a vision-language model: placing it, counting it, proving it.

`place_lora` turns settings into adapters on the right layers of the model at hand, never on its
vision tower unless asked. A setting that matches nothing is an error, not an empty adapter.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from deepsynth.errors import JobError, ModelError
from deepsynth.families.summarize.config import LoraSettings

_LANGUAGE_LAYER = r".*language_model\.layers\.\d+\.(self_attn|mlp(\.shared_experts)?)\.({names})"
_ANY_LAYER = r".*\.({names})"
_ROUTER = "mlp.gate"
_EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")


@dataclass(frozen=True)
class TrainableCount:
    """Trainable parameters by the part of the model they belong to."""

    total: int
    by_part: dict[str, int]
    all_parameters: int

    def __str__(self) -> str:
        share = 100 * self.total / max(1, self.all_parameters)
        parts = ", ".join(f"{name} {n:,}" for name, n in self.by_part.items() if n)
        return f"{self.total:,} of {self.all_parameters:,} weights train ({share:.2f} %): {parts}"


def place_lora(model: Any, lora: LoraSettings) -> Any:
    """Put fresh adapters on `model` as the settings say.

    What trains is held in 32 bits, whatever the model is in: an update of 1e-5 would vanish in
    bfloat16, and gradients in float16 cannot be scaled.

    Dropout applies to linear layers only: PEFT refuses it on parameters (router, routed experts).
    It is therefore set on the linear layers after they exist, and the saved adapter says 0, which
    changes nothing at inference.

    Args:
        model: The base model, in memory or on the meta device.
        lora: Settings with every field filled (see `LoraSettings.filled`).

    Returns:
        The `PeftModel`.

    Raises:
        JobError: A target matches nothing in this model; lists what is near.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import Linear
    from torch import nn

    from deepsynth.families.summarize.adapters import anchor_renaming, forget_base

    anchor_renaming(model.config.model_type)
    parameters: list[str] = []
    rank_pattern: dict[str, int] = {}
    if lora.router == "lora":
        parameters.append(f"{_ROUTER}.weight")
    if lora.expert_rank:
        parameters.extend(_EXPERTS)
        rank_pattern = {re.escape(name): lora.expert_rank for name in _EXPERTS}
    _require_matches(model, lora, parameters)
    rank, alpha = lora.rank or 1, lora.alpha or 1
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=_target_pattern(lora),
        target_parameters=parameters or None,
        modules_to_save=[_ROUTER] if lora.router == "full" else None,
        rank_pattern=rank_pattern,
        alpha_pattern={
            name: expert_rank * alpha / rank for name, expert_rank in rank_pattern.items()
        },
    )
    with warnings.catch_warnings():
        # peft warns about every target_parameters entry; ours are checked above.
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config)
    forget_base(adapted)
    # PEFT does so for LoRA weights, not for a router that trains in full.
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if lora.dropout:
        for module in adapted.modules():
            if isinstance(module, Linear):
                module.lora_dropout["default"] = nn.Dropout(lora.dropout)
    return adapted


def count_trainable(model: Any) -> TrainableCount:
    """Count what trains, by part: attention, MLP, experts, router, vision."""
    parts: dict[str, int] = dict.fromkeys(
        ("attention", "mlp", "shared experts", "routed experts", "router", "vision", "other"), 0
    )
    total = everything = 0
    for name, parameter in model.named_parameters():
        size = parameter.numel()
        if parameter.requires_grad:
            total += size
            parts[_part_of(name)] += size
        if "lora_" not in name and "modules_to_save" not in name:
            everything += size
    return TrainableCount(total, parts, everything)


def count_on_meta(config: Any, lora: LoraSettings) -> TrainableCount:
    """Exact counts for a model given only its configuration; needs no weights and no memory."""
    return count_trainable(place_lora(empty_model(config), lora))


def empty_model(config: Any) -> Any:
    """The model of `config` on the meta device: shapes without data."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def _target_pattern(lora: LoraSettings) -> str:
    names = "|".join(lora.targets or ())
    return (_ANY_LAYER if lora.vision else _LANGUAGE_LAYER).format(names=names)


def _part_of(name: str) -> str:
    if "language_model" not in name:
        return "vision" if "vision" in name or "projector" in name else "other"
    for mark, part in (
        (".self_attn.", "attention"),
        (".shared_experts.", "shared experts"),
        (".experts.", "routed experts"),
        (f".{_ROUTER}.", "router"),
        (".mlp.", "mlp"),
    ):
        if mark in name:
            # PEFT nests the wrappers of one module's parameters, so the innermost name decides.
            return part
    return "other"


def _require_matches(model: Any, lora: LoraSettings, parameters: list[str]) -> None:
    linear = _linear_names(model)
    if not any("language_model" in name for name in linear):
        raise ModelError(
            "its language model cannot be told from its vision encoder "
            "(no module called language_model), so LoRA cannot be kept to the language model.",
            where=type(model).__name__,
            hint="Use a model whose class in transformers has a language_model.",
        )
    reachable = linear if lora.vision else [n for n in linear if "language_model.layers" in n]
    short = sorted({name.rpartition(".")[2] for name in reachable})
    for target in lora.targets or ():
        if not any(re.fullmatch(_target_pattern_of(target, lora), name) for name in linear):
            near = get_close_matches(target, short, n=3, cutoff=0.3)
            raise JobError(
                f"the LoRA target {target} matches no linear layer of {type(model).__name__}.",
                where="lora.targets",
                hint=f"Did you mean {' or '.join(near)}?"
                if near
                else f"Its layers: {', '.join(short)}.",
            )
    wanted = [*parameters, *([f"{_ROUTER}.weight"] if lora.router == "full" else [])]
    names = [name for name, _ in model.named_parameters()]
    for parameter in wanted:
        if not any(name.endswith(f".{parameter}") for name in names):
            setting = "lora.router" if parameter.startswith(f"{_ROUTER}.") else "lora.expert_rank"
            raise JobError(
                f"{type(model).__name__} has no {parameter}: it is no mixture of experts, or it "
                "keeps them under another name.",
                where=setting,
                hint="Set lora.router: frozen and lora.expert_rank: 0, or use the preset balanced.",
            )


def _target_pattern_of(target: str, lora: LoraSettings) -> str:
    return _target_pattern(lora.model_copy(update={"targets": [target]}))


def _linear_names(model: Any) -> list[str]:
    from torch import nn

    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
