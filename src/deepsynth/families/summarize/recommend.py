"""Recommended settings by the number of samples, each with its reason, and what they come to.

Small sets follow the DeepSynth LoRA guide where it is right, and say where it is not: its update
count divides samples by accumulation, while the Trainer ends every epoch with an update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepsynth.checks.ledger import Ledger, ledger
from deepsynth.families.summarize.job import LoraSettings, TrainerConfig
from deepsynth.families.summarize.lora_presets import get_lora_preset
from deepsynth.job.job import Recommendation


@dataclass(frozen=True)
class Size:
    """What suits a number of samples; close numbers get close values.

    Attributes:
        preset: LoRA preset: what is adapted.
        rank: Of the linear layers.
        expert_rank: Of the routed experts.
        batch_size: Samples at once.
        effective: Samples in an update.
        updates: Updates wanted; epochs follow.
        learning_rate: Peak.
        why: The reason.
    """

    preset: str
    rank: int
    expert_rank: int
    batch_size: int
    effective: int
    updates: int
    learning_rate: float
    why: str


@dataclass(frozen=True)
class Speed:
    """Seconds one sample of one page takes, measured.

    Attributes:
        encode: By the vision encoder, once; 0 where features are not cached.
        train: Forward and backward, in each epoch.
        device: `cpu` or `cuda`.
    """

    encode: float
    train: float
    device: str

    def minutes(self, samples: int, epochs: float) -> float:
        """A whole training, without its evaluations."""
        return samples * (self.encode + epochs * self.train) / 60


_WHOLE_PASSES = 20
"""From so many passes on, a part of one more does not count."""
_RATE_WHY = (
    "LoRA learns best at about ten times the rate of full fine-tuning (the guide's 2e-5 to 5e-5 "
    "is a rate for full fine-tuning)"
)


_PER_RANK = {"tiny_data": 164_800, "balanced": 248_640, "high_capacity_moe": 263_424}
"""Weights that one rank of the linear layers (and the router) trains in DeepSeek-OCR-2."""
_PER_EXPERT_RANK = 3_694_592
_MOST = 31_637_504
"""Weights that the largest preset trains."""


def suited(samples: int) -> Size:
    """What suits so many samples.

    Updates, samples in an update, rate and trained weights are powers of the number of samples,
    through what the guide recommends for a few, some dozens and thousands. Which layers are adapted
    changes at 10 and at 50 samples; the rank there changes with it, so that the number of trained
    weights does not jump.
    """
    preset = "tiny_data" if samples < 10 else "balanced" if samples < 50 else "high_capacity_moe"
    weights = min(_MOST, 1_600_000 * samples**0.45)
    experts = max(1, round(4 * weights / _MOST)) if preset == "high_capacity_moe" else 0
    whys = {
        "tiny_data": "few samples: small adapters, high dropout",
        "balanced": "tens of samples: attention and MLP",
        "high_capacity_moe": "enough samples to adapt the experts",
    }
    return Size(
        preset=preset,
        rank=round((weights - experts * _PER_EXPERT_RANK) / _PER_RANK[preset]),
        expert_rank=experts,
        batch_size=1 if samples < 10 else 2 if samples < 100 else 4,
        effective=round(4 * samples**0.25),
        updates=round(100 * samples**0.3),
        learning_rate=float(f"{2.2e-4 * samples**-0.07:.2g}"),
        why=whys[preset],
    )


def preset_name(preset: str, samples: int) -> str:
    """The preset that `auto` stands for; any other name stays."""
    return suited(samples).preset if preset == "auto" else preset


def recommendations(
    train: Any,
    samples: int,
    lora: LoraSettings,
    devices: int = 1,
    *,
    scratch: bool = False,
    earlier: bool = False,
) -> list[Recommendation]:
    """Values for the open settings of `train:`, `lora:` and `moe:`, with reasons.

    Args:
        train: A `TrainSettings`; what it fixes is respected in the rest.
        samples: Training samples.
        lora: The job's `lora:`.
        devices: Devices that train.
        scratch: The model has random weights; it can take, and needs, a far higher rate.
        earlier: `lora` is that of an adapter that training goes on from.
    """
    size = suited(samples)
    name = preset_name(train.preset, samples)
    full = name == "none"
    reason = f"{samples} samples: {size.why}"
    batch = train.batch_size or min(size.batch_size, samples)
    accumulation = train.gradient_accumulation or max(
        1, round(min(size.effective, samples) / (batch * devices))
    )
    per_epoch = math.ceil(math.ceil(samples / (batch * devices)) / accumulation)
    passes = size.updates / per_epoch
    epochs = float(round(passes)) if passes >= _WHOLE_PASSES else round(passes, 2)
    rate = 1e-2 if scratch else 2e-5 if full else size.learning_rate
    rate_why = (
        "random weights, nothing to preserve"
        if scratch
        else "every weight trains: small steps, or what it knows is lost"
        if full
        else _RATE_WHY
    )
    found = [
        Recommendation("train.batch_size", batch, reason),
        Recommendation(
            "train.gradient_accumulation",
            accumulation,
            f"{batch * devices * accumulation} samples in an update: less noise a step",
        ),
        Recommendation(
            "train.epochs",
            epochs,
            f"{per_epoch} updates an epoch; aims at {size.updates} updates",
        ),
        Recommendation("train.learning_rate", rate, rate_why),
        Recommendation("train.scheduler", "cosine", "ends in small steps"),
        Recommendation(
            "train.warmup_ratio", 0.1, "a share of the updates, so it always comes to its end"
        ),
    ]
    if full:
        return found
    preset = get_lora_preset(name)
    if train.preset == "auto":
        ranks = {"rank": size.rank, "alpha": 2 * size.rank, "expert_rank": size.expert_rank}
        preset = replace(preset, **ranks)
    filled = lora.filled(preset)
    found += [
        Recommendation(
            f"lora.{key}",
            getattr(filled, key),
            "as in the adapter that training goes on from"
            if earlier
            else f"preset {name}, {preset.suits}",
        )
        for key in ("targets", "rank", "alpha", "dropout", "router", "expert_rank", "quantize")
    ]
    regularised = filled.router != "frozen"
    gate, expert = (0.1, 0.05) if regularised else (0.0, 0.0)
    why = "the router trains: keeps it from overfitting" if regularised else "the router is frozen"
    found += [
        Recommendation("moe.gate_dropout", gate, why),
        Recommendation("moe.expert_dropout", expert, why),
    ]
    return found


def filled(config: TrainerConfig, samples: int, devices: int = 1) -> TrainerConfig:
    """`config` with every open setting recommended for so many samples."""
    tree: dict[str, dict[str, Any]] = {"train": {}, "lora": {}, "moe": {}}
    for advice in recommendations(
        config, samples, config.lora, devices, scratch=_is_scratch(config)
    ):
        section, _, key = advice.key.partition(".")
        tree[section][key] = advice.value
    return config.model_copy(
        update={
            "preset": preset_name(config.preset, samples),
            "lora": _fill(config.lora, tree["lora"]),
            "moe": _fill(config.moe, tree["moe"]),
            **{k: v for k, v in tree["train"].items() if getattr(config, k) is None},
        }
    )


def expected_updates(config: Any, samples: int, devices: int = 1) -> Ledger:
    """The update ledger of a filled `train:`, as the Trainer counts."""
    return ledger(
        samples,
        config.batch_size * devices,
        config.gradient_accumulation,
        config.epochs,
        learning_rate=config.learning_rate,
        warmup_ratio=config.warmup_ratio,
        scheduler=config.scheduler,
    )


def recommended(
    samples: int, model: str | None = None, speed: Speed | None = None
) -> dict[str, Any]:
    """What `deepsynth presets --samples N` and the web page show.

    Args:
        samples: Training samples.
        model: As a job's `model:`; None for the default.
        speed: What `measure_speed` found for that model on this machine; gives the minutes.

    Returns:
        `samples`, `preset`, `settings` (key, value, why), `updates`, `per_epoch`, and `minutes` of
        training, None without a probe.
    """
    config = TrainerConfig.model_validate({} if model is None else {"model_name": model})
    complete = filled(config, samples)
    counted = expected_updates(complete, samples)
    advice = recommendations(config, samples, config.lora, scratch=_is_scratch(config))
    minutes = None if speed is None else round(speed.minutes(samples, complete.epochs or 0), 2)
    return {
        "samples": samples,
        "preset": complete.preset,
        "settings": [{"key": a.key, "value": a.value, "why": a.why} for a in advice],
        "updates": counted.updates,
        "per_epoch": counted.per_epoch,
        "minutes": minutes,
    }


def _is_scratch(config: TrainerConfig) -> bool:
    from deepsynth.families.summarize.tiny_model import SCRATCH_PREFIX

    return config.model_name.startswith(SCRATCH_PREFIX)


def _fill(section: Any, values: Mapping[str, Any]) -> Any:
    return section.model_copy(
        update={k: v for k, v in values.items() if getattr(section, k) is None}
    )
