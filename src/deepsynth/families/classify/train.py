"""Step `train`: fine-tune on the training split, keep the epoch with the best macro-F1.

Writes `model/` (weights, tokenizer, labels, how to use it) and `training/` (the curve, and the
scores this process gives the test split, which the next step must find again in a fresh one).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from deepsynth import durable
from deepsynth.errors import DeepSynthError
from deepsynth.families.classify.inference import SETTINGS, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.metrics import scores
from deepsynth.families.classify.models import (
    build_model,
    load_config,
    load_tokenizer,
    usable_length,
)
from deepsynth.families.classify.prepared import (
    Split,
    model_folder,
    model_path,
    read_labels,
    read_split,
)
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.arguments import trainer_arguments
from deepsynth.training.callbacks import StopSwitch
from deepsynth.training.device import tell_device
from deepsynth.training.fitting import fit_in_run, keep_curve
from deepsynth.training.sampling import EpochSampler

CURVE_POINTS = 500


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
    """The Trainer with a resumable data order and, if asked, class weights in the loss."""

    def __init__(
        self, *args: Any, grouped: bool, class_weights: torch.Tensor | None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._grouped = grouped
        self._class_weights = class_weights

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


def balanced_weights(labels: Sequence[int], classes: int) -> torch.Tensor:
    """Weights inversely proportional to how often a class occurs; 1 on average over the rows."""
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


def export(source: Path, target: Path, labels: list[str], how: dict[str, Any]) -> Any:
    """Validate a checkpoint and write it as the trained model; returns the model, loaded.

    Raises:
        DeepSynthError: It does not load, has other labels, or weights that are not finite.
    """
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(str(source))
    if list(model.config.id2label.values()) != labels:
        raise DeepSynthError("the checkpoint has other labels than the data.", where=source)
    bad = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise DeepSynthError(
            f"weights are not finite: {', '.join(bad[:3])}.",
            where=source,
            hint="Lower train.learning_rate.",
        )
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(str(target))
    durable.write_json(target / SETTINGS, how)
    return model


def main(run: Run) -> None:
    """Train the model of a run, from its last whole checkpoint if there is one."""
    # The run shows its own progress; the library's bars and advice would fill the log.
    disable_progress_bar()
    set_verbosity_error()
    tell_device(run, gpu=torch.cuda.is_available())
    job = run.job(ClassifyJob)
    switch = StopSwitch().install()
    labels = read_labels(run)
    splits = {name: read_split(run, name) for name in ("train", "validation", "test")}
    name = model_path(run, "train")
    tokenizer = load_tokenizer(job, name, splits["train"].texts)
    config = load_config(job, name, tokenizer, labels)
    max_length = usable_length(config, tokenizer, job.tokens.max_length)
    work = run.work("train")
    arguments = training_arguments(job, work, len(splits["train"]))
    weights = None
    if job.train.class_weights == "balanced":
        weights = balanced_weights(splits["train"].labels, len(labels))
    trainer = ClassifierTrainer(
        model=build_model(job, name, config, job.seed),
        args=arguments,
        train_dataset=EncodedTexts(splits["train"], tokenizer, max_length),
        eval_dataset=EncodedTexts(splits["validation"], tokenizer, max_length),
        data_collator=DataCollatorWithPadding(
            tokenizer, padding=job.tokens.padding, max_length=max_length
        ),
        compute_metrics=lambda p: scores(p.label_ids, np.argmax(p.predictions, axis=-1)),
        grouped=job.tokens.group_by_length,
        class_weights=weights,
    )
    best = fit_in_run(run, trainer, switch, patience=job.train.patience or 0, title="macro-F1")
    how = {
        "family": "classify",
        "base_model": Path(job.model).name if Path(job.model).is_absolute() else job.model,
        "fresh_weights": job.is_scratch,
        "labels": labels,
        "max_length": max_length,
        "best_update": trainer.state.best_global_step,
        "updates": trainer.state.global_step,
        "max_updates": trainer.state.max_steps,
        "validation_macro_f1": trainer.state.best_metric,
    }
    model = export(best, model_folder(run), labels, how)
    tokenizer.save_pretrained(str(model_folder(run)))
    model.to(trainer.args.device)
    found = probabilities(model, tokenizer, splits["test"].texts, max_length=max_length)
    folder = run.path / "training"
    folder.mkdir(exist_ok=True)
    durable.write_json(
        folder / "test_scores.json", scores(splits["test"].labels, found.argmax(axis=1))
    )
    keep_curve(run, folder)


if __name__ == "__main__":
    step_process(main)
