"""What the two transformer families share in training, and the Python interface of `summarize`.

Names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepsynth.families.summarize.fit import TrainResult, VlmTraining, create_trainer
    from deepsynth.families.summarize.job import TrainerConfig
    from deepsynth.families.summarize.lora_presets import LORA_PRESETS, LoraPreset, get_lora_preset
    from deepsynth.families.summarize.recommend import recommended

_PLACES = {
    "LORA_PRESETS": "lora_presets",
    "LoraPreset": "lora_presets",
    "TrainResult": "fit",
    "TrainerConfig": "job",
    "VlmTraining": "fit",
    "create_trainer": "fit",
    "get_lora_preset": "lora_presets",
    "recommended": "recommend",
}

__all__ = [
    "LORA_PRESETS",
    "LoraPreset",
    "TrainResult",
    "TrainerConfig",
    "VlmTraining",
    "create_trainer",
    "get_lora_preset",
    "recommended",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"deepsynth.families.summarize.{_PLACES[name]}"), name)
