"""The classifier's Trainer: its data, its order, its loss, its rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from deepsynth.families.classify.encoder import SentenceClassifier
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.metrics import scores
from deepsynth.families.classify.prepared import Split
from deepsynth.families.classify.probe import head_of
from deepsynth.training.arguments import trainer_arguments
from deepsynth.training.sampling import EpochSampler

CURVE_POINTS = 500
_FRESH = 20.0
"""A fresh head on a pretrained encoder moves so many times as fast as what is trained already."""


class EncodedTexts(Dataset[dict[str, Any]]):
    """Tokenised texts with their labels.

    Args:
        split: The rows.
        tokenizer: Of the model.
        max_length: Tokens a text is cut to.
    """

    def __init__(self, split: Split, tokenizer: Any, max_length: int) -> None:
        encoded = tokenizer(split.texts, truncation=True, max_length=max_length)
        self.input_ids: list[list[int]] = encoded["input_ids"]
        self._labels = split.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.input_ids[index], "labels": self._labels[index]}


class ClassifierTrainer(Trainer):
    """The Trainer with a resumable data order, a rate for the head and, if asked, class weights.

    Args:
        grouped: Put texts of similar length into one batch.
        class_weights: Weight of each class in the loss.
        head_rate: Rate of the last layer, as a multiple of the learning rate.
    """

    def __init__(
        self,
        *args: Any,
        grouped: bool,
        class_weights: torch.Tensor | None,
        head_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._grouped = grouped
        self._class_weights = class_weights
        self._head_rate = head_rate

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Of the job, where a fresh head learns faster than what was trained before."""
        optimiser = super().create_optimizer(model)
        layer = head_of(self.model)
        if layer is None or self._head_rate == 1.0:
            return optimiser
        own = {id(weight) for weight in layer.parameters()}
        for group in optimiser.param_groups:
            group["params"] = [weight for weight in group["params"] if id(weight) not in own]
        rate = self.args.learning_rate * self._head_rate
        optimiser.add_param_group(
            {"params": list(layer.parameters()), "lr": rate, "weight_decay": 0.0}
        )
        return optimiser

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        data = cast(EncodedTexts, train_dataset or self.train_dataset)
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = [len(ids) for ids in data.input_ids]
        return EpochSampler(lengths, size, self.args.seed, grouped=self._grouped)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Cross-entropy, with a weight for each class when the job balances them."""
        if self._class_weights is None:
            return super().compute_loss(
                model, inputs, return_outputs, num_items_in_batch=num_items_in_batch
            )
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        weights = self._class_weights.to(outputs.logits.device, outputs.logits.dtype)
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weight=weights)
        return (loss, outputs) if return_outputs else loss


def class_weights(job: ClassifyJob, labels: Sequence[int], classes: int) -> torch.Tensor | None:
    """The weight of each class in the loss, if the job balances them.

    Inversely proportional to how often a class occurs; 1 on average over the rows.
    """
    if job.train.class_weights != "balanced":
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


def training_arguments(job: ClassifyJob, folder: Path, samples: int) -> TrainingArguments:
    """The job's settings as the Trainer takes them."""
    return trainer_arguments(
        job.train,
        folder,
        samples,
        seed=job.seed,
        best="macro_f1",
        every=job.train.every,
        curve_points=CURVE_POINTS,
        per_device_eval_batch_size=job.train.eval_batch_size,
        save_total_limit=job.train.keep_checkpoints,
    )


def head_rate(model: Any, *, scratch: bool, solved: bool) -> float:
    """How much faster the last layer may move than the rest.

    Args:
        model: The classifier.
        scratch: All of it is fresh.
        solved: The head comes from the probe.
    """
    if scratch:
        return 1.0
    # Adam moves each weight by its rate, and a vector of length 1 has small components.
    short = isinstance(model, SentenceClassifier) and model.pooling.normalize
    return (1.0 if solved else _FRESH) * (math.sqrt(model.config.hidden_size) if short else 1.0)


def classifier_trainer(
    job: ClassifyJob,
    model: Any,
    tokenizer: Any,
    splits: dict[str, Split],
    folder: Path,
    *,
    max_length: int,
    solved: bool,
) -> ClassifierTrainer:
    """The Trainer of a job, as the training has it; the learn gate takes its optimiser.

    Args:
        job: The job.
        model: To be trained.
        tokenizer: Of the model.
        splits: Of which it takes `train` and `validation`.
        folder: Where checkpoints go.
        max_length: Tokens a text is cut to.
        solved: The head comes from the probe.
    """
    train = splits["train"]
    return ClassifierTrainer(
        model=model,
        args=training_arguments(job, folder, len(train)),
        train_dataset=EncodedTexts(train, tokenizer, max_length),
        eval_dataset=EncodedTexts(splits["validation"], tokenizer, max_length),
        data_collator=DataCollatorWithPadding(
            tokenizer, padding=job.tokens.padding, max_length=max_length
        ),
        compute_metrics=lambda p: scores(p.label_ids, np.argmax(p.predictions, axis=-1)),
        grouped=job.tokens.group_by_length,
        class_weights=class_weights(job, train.labels, model.config.num_labels),
        head_rate=head_rate(model, scratch=job.is_scratch, solved=solved),
    )
