"""The words of training that every family uses, and the other names they go by.

A family derives its `train:` from here, gives defaults, and adds what only it has. None means:
chosen by the size of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from deepsynth.job.settings import Alias, Section


class TrainingSettings(Section):
    """How a model is trained: the words of every family.

    Beside those below, each has `epochs`, `warmup_ratio`, `scheduler`, `weight_decay`,
    `mixed_precision` and `patience`, with the values that what trains it knows.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        "num_epochs": Alias("epochs"),
        "max_epochs": Alias("epochs"),
        "train_batch_size": Alias("batch_size"),
        "early_stopping_patience": Alias("patience"),
    }
    elsewhere: ClassVar[Mapping[str, str]] = {
        "num_train_epochs": "epochs",
        "per_device_train_batch_size": "batch_size",
        "per_gpu_train_batch_size": "batch_size",
        "per_device_eval_batch_size": "eval_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation",
        "lr": "learning_rate",
        "lr_scheduler_type": "scheduler",
        "lr_scheduler": "scheduler",
        "warmup_steps": "warmup_ratio",
        "warmup_updates": "warmup_ratio",
        "eval_strategy": "evaluations",
        "evaluation_strategy": "evaluations",
        "save_strategy": "evaluations",
        "eval_steps": "evaluations",
        "save_steps": "evaluations",
        "save_total_limit": "keep_checkpoints",
        "dataloader_num_workers": "num_workers",
        "fp16": "mixed_precision: fp16",
        "bf16": "mixed_precision: bf16",
        "adam_weight_decay": "weight_decay",
        "optim": "optimizer",
    }

    batch_size: int | None = Field(None, ge=1, description="Samples a device takes at once.")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak learning rate.")


class TrainerSettings(TrainingSettings):
    """What the families that train with transformers' Trainer share."""

    epochs: float | None = Field(None, gt=0, le=10_000, description="Passes over the data.")
    warmup_ratio: float | None = Field(
        None, ge=0, lt=1, description="Share of the updates in which the learning rate rises."
    )
    scheduler: Literal["linear", "cosine", "constant"] | None = Field(
        None, description="How the learning rate moves after the warm-up."
    )
    weight_decay: float = Field(0.01, ge=0, lt=1, description="Weight decay of AdamW.")
    gradient_accumulation: int | None = Field(
        None, ge=1, description="Batches summed up for one update."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Longer gradients are scaled down.")
    mixed_precision: Literal["auto", "bf16", "fp16", "no"] = Field(
        "no",
        description="Arithmetic in 16 bits; fp16 needs a GPU. auto: what the GPU has, else no.",
    )
    evaluations: int | None = Field(
        None, ge=1, description="Evaluations and checkpoints of a training, evenly spread."
    )
    patience: int | None = Field(
        None,
        ge=0,
        description="Evaluations without a better score after which training ends; 0: never.",
    )
