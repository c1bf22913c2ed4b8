"""Adapters that come back as they went: strict loading, and a repair of how PEFT reads them.

PEFT 0.20 to 0.21 reloads adapters of DeepSeek-OCR-2 as a no-op. transformers' rules that rename
old checkpoint keys put `language_model.` in front of a key wherever `model.` occurs, so a key that
already carries it gets it twice, no adapter weight finds its place, and all PEFT says is a
UserWarning; a resumed training starts again from zero. `anchor_renaming` ties those rules to the
beginning of the key, which makes them idempotent, and `load_adapter` accepts nothing missing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import ModelError

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


def _require_equal(model: Any, stored: dict[str, Any], folder: Path) -> None:
    """Compare the weights in memory with the file: what PEFT dropped or renamed shows here."""
    from peft import get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
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
