"""Our settings as transformers' Trainer takes them: one translation for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments

from deepsynth.checks.ledger import count_updates
from deepsynth.errors import JobError
from deepsynth.training.settings import TrainerSettings

Precision = Literal["bf16", "fp16", "no"]
_SCHEDULERS = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def choose_precision(wanted: str) -> Precision:
    """What to compute in on this machine.

    Args:
        wanted: `train.mixed_precision`.

    Raises:
        JobError: fp16 without a GPU, which transformers would silently do in 32 bits; bf16 on a
            GPU that has none.
    """
    cuda = torch.cuda.is_available()
    has_bf16 = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "fp16" and not cuda:
        raise JobError(
            "fp16 needs a GPU, and there is none here.",
            where="train.mixed_precision",
            hint="Set it to bf16, which a CPU can do, or no.",
        )
    if wanted == "bf16" and not has_bf16:
        raise JobError(
            "this GPU does not compute in bf16.",
            where="train.mixed_precision",
            hint="Set it to fp16.",
        )
    if wanted == "auto" and cuda:
        return "bf16" if has_bf16 else "fp16"
    return "bf16" if wanted == "bf16" else "fp16" if wanted == "fp16" else "no"


def trainer_arguments(
    settings: TrainerSettings,
    folder: Path,
    samples: int,
    *,
    seed: int,
    best: str | None,
    devices: int = 1,
    every: int | None = None,
    curve_points: int = 100,
    **more: Any,
) -> TrainingArguments:
    """The filled settings as the Trainer takes them.

    The best checkpoint is found by its `best_global_step`, not by `load_best_model_at_end`, which
    stores an absolute path; a loss that is no number is shown, not replaced by the last good one.

    Args:
        settings: A family's `train:`, every open setting filled.
        folder: Where checkpoints go.
        samples: Training samples.
        seed: Of weights, order and dropout.
        best: The figure of an evaluation that the best checkpoint is chosen by; None: there is
            nothing to validate on.
        devices: Processes that train together.
        every: Updates between two evaluations and checkpoints; by default `settings.evaluations`
            of them in all, or one after each pass.
        curve_points: Points of the curve, about.
        **more: Further arguments of `TrainingArguments`.
    """
    batch, accumulation = settings.batch_size or 1, settings.gradient_accumulation or 1
    epochs = settings.epochs or 1.0
    updates = count_updates(samples, batch * devices, accumulation, epochs).updates
    if settings.evaluations and not every:
        every = max(1, updates // settings.evaluations)
    rhythm = "steps" if every else "epoch"
    precision = choose_precision(settings.mixed_precision)
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": settings.learning_rate or 0.0,
        "lr_scheduler_type": _SCHEDULERS[settings.scheduler or "linear"],
        "warmup_steps": settings.warmup_ratio or 0.0,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "eval_strategy": rhythm if best else "no",
        "metric_for_best_model": best,
        "greater_is_better": best is not None and not best.endswith("loss"),
        "save_strategy": rhythm,
        "eval_steps": every,
        "save_steps": every or 1,
        "save_total_limit": 2,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": max(1, updates // curve_points),
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
    }
    return TrainingArguments(**values | more)
