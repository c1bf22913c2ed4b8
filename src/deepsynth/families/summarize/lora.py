"""LoRA on the language model of a vision-language model: placing it, counting it, loading it again.

`place_lora` turns settings into adapters on the right layers of the model at hand, never on its
vision tower unless asked. A setting that matches nothing is an error, not an empty adapter.

PEFT 0.20 to 0.21 reloads adapters of DeepSeek-OCR-2 as a no-op. transformers' rules that rename
old checkpoint keys put `language_model.` in front of a key wherever `model.` occurs, so a key that
already carries it gets it twice, no adapter weight finds its place, and all PEFT says is a
UserWarning; a resumed training starts again from zero. `anchor_renaming` ties those rules to the
beginning of the key, which makes them idempotent, and `load_adapter` accepts nothing missing.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import JobError, ModelError
from deepsynth.families.summarize.job import LoraSettings

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
    set_dropout(adapted, lora.dropout or 0.0)
    return adapted


def set_dropout(model: Any, dropout: float) -> None:
    """Set the dropout of the linear layers of an adapter, placed or loaded."""
    from peft.tuners.lora import Linear
    from torch import nn

    for module in model.modules():
        if isinstance(module, Linear):
            module.lora_dropout["default"] = nn.Dropout(dropout) if dropout else nn.Identity()


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
            parts[_part(name)] += size
        if "lora_" not in name and "modules_to_save" not in name:
            everything += size
    return TrainableCount(total, parts, everything)


def empty_model(config: Any) -> Any:
    """The model of `config` on the meta device: shapes without data."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def _target_pattern(lora: LoraSettings) -> str:
    names = "|".join(lora.targets or ())
    return (_ANY_LAYER if lora.vision else _LANGUAGE_LAYER).format(names=names)


def part_of(name: str) -> str:
    """The group a trainable tensor belongs to: `router`, `second matrices of attention`."""
    half = "first" if "lora_A" in name else "second" if "lora_B" in name else ""
    return f"{half} matrices of {_part(name)}" if half else _part(name)


def _part(name: str) -> str:
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


BASE_FILE = "base.json"
"""Beside an adapter: fingerprint of the model it was trained on."""

_WHOLE = ".modules_to_save.default"
"""In the name of a module that an adapter replaces as a whole, such as the router."""
_LOOSE, _ANCHORED = r"(^|model\.)", r"(^|^model\.)"


def anchor_renaming(model_type: str = "deepseek_ocr2") -> int:
    """Make the renaming rules of a model type apply at the beginning of a key only.

    Safe to call any number of times, and a no-op once transformers has repaired its rules.

    Returns:
        How many rules were changed.
    """
    from transformers.conversion_mapping import (
        get_checkpoint_conversion_mapping,
        register_checkpoint_conversion_mapping,
    )
    from transformers.core_model_loading import WeightRenaming

    rules: list[Any] = []
    changed = 0
    for rule in get_checkpoint_conversion_mapping(model_type) or ():
        if isinstance(rule, WeightRenaming):
            source, target = _one(rule.source_patterns), _one(rule.target_patterns)
            if source.startswith(_LOOSE):
                anchored = source.replace(_LOOSE, _ANCHORED, 1)
                rule = WeightRenaming(source_patterns=anchored, target_patterns=target)
                changed += 1
        rules.append(rule)
    if changed:
        register_checkpoint_conversion_mapping(model_type, rules, overwrite=True)
    return changed


def load_adapter(base: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Put the adapter in `folder` on `base`; every weight must find its place.

    Raises:
        ModelError: No adapter is there, it is cut short, it belongs to another base, or PEFT
            could not place all of it.
    """
    from peft import PeftModel
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    anchor_renaming(base.config.model_type)
    if not (folder / "adapter_config.json").is_file():
        raise ModelError("there is no adapter here.", where=folder)
    _require_same_base(base, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    except (SafetensorError, EOFError) as error:
        raise ModelError(
            f"the adapter is cut short: {error}.",
            where=folder,
            hint="Copy it again, or take an earlier checkpoint.",
        ) from None
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the adapter does not fit this model: {str(error).strip().splitlines()[0]}",
            where=folder,
            hint="An adapter fits only the model it was trained on.",
        ) from None
    stored = load_file(folder / "adapter_model.safetensors")
    for name, parameter in model.named_parameters():
        if _WHOLE in name and (key := name.replace(_WHOLE, "")) in stored:
            # Held as it was trained; PEFT rounds it to the precision of the base.
            parameter.data = stored[key].to(parameter.device)
    _require_equal(model, stored, folder)
    forget_base(model)
    return model


def forget_base(model: Any) -> None:
    """Keep PEFT from asking the Hub about the base at each checkpoint it saves.

    It would compare vocabulary sizes, over the network, and warn where there is none. Which base an
    adapter belongs to is recorded beside it, in `base.json`.
    """
    model.peft_config["default"].base_model_name_or_path = ""


def base_fingerprint(model: Any, name: str) -> dict[str, Any]:
    """What tells one base model from another: names, shapes and a sample of all its weights.

    Args:
        model: The model before any adapter is put on it.
        name: How the job calls it; recorded for people, not compared.
    """
    import hashlib

    import torch

    digest = hashlib.sha256()
    for key, parameter in sorted(model.state_dict().items()):
        digest.update(f"{key}{tuple(parameter.shape)}".encode())
        sample = parameter.detach().reshape(-1)[:64].to("cpu", torch.float32)
        digest.update(sample.to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return {"name": name, "sha256": digest.hexdigest()}


def _require_same_base(base: Any, folder: Path) -> None:
    known = durable.read_json(folder / BASE_FILE)
    if known and known["sha256"] != base_fingerprint(base, "")["sha256"]:
        raise ModelError(
            f"the adapter belongs to another base model ({known['name']}).",
            where=folder,
            hint="Name that base, or train anew on this one.",
        )


def adapter_values(model: Any) -> dict[str, Any]:
    """All of an adapter by the names it is saved under, what has no gradient included."""
    from peft import get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model_state_dict(model, save_embedding_layers=False)


def prove_saved(model: Any) -> None:
    """Write the adapter once and load it again, before anything is trained that could be lost.

    Raises:
        ModelError: Something that trains is not among what is written, or does not come back.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory(prefix="deepsynth-adapter-") as folder:
        model.save_pretrained(folder)
        stored = load_file(Path(folder) / "adapter_model.safetensors")
    trains = [
        name.replace(_WHOLE, "").replace(".default", "")
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    lost = [name for name in trains if name not in stored]
    if lost:
        raise ModelError(
            f"{len(lost)} of {len(trains)} trainable tensors are not written with the adapter, "
            f"such as {lost[0]}: their training would be lost.",
            where="step train",
            hint="Please report this, with the model and the version of peft.",
        )
    set_peft_model_state_dict(model, dict(stored))
    _require_equal(model, stored, Path(folder))


def _require_equal(model: Any, stored: dict[str, Any], folder: Path) -> None:
    """Compare the weights in memory with the file: what PEFT dropped or renamed shows here."""
    loaded = adapter_values(model)
    lost = sorted(
        key
        for key, value in stored.items()
        if key not in loaded or not value.equal(loaded[key].to("cpu", value.dtype))
    )
    if lost or len(stored) != len(loaded):
        raise ModelError(
            f"{len(lost)} of the adapter's {len(stored)} tensors did not arrive in the model "
            f"({len(loaded)} expected there).",
            where=folder,
            hint="It was probably written by another version of peft or for another model; "
            f"the first lost is {lost[0] if lost else 'none'}.",
        )


def _one(patterns: Any) -> str:
    return patterns if isinstance(patterns, str) else patterns[0]
