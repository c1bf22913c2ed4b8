"""From settings and samples to a trained model: what `create_trainer` and the train step do.

```python
from deepsynth.training import create_trainer

result = create_trainer(model_name="scratch:deepseek-ocr-2-tiny").train(dataset)
print(result.metrics, result.model)
```
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.errors import DeepSynthError, JobError, Stopped
from deepsynth.families.summarize.adapters import BASE_FILE
from deepsynth.families.summarize.config import TrainerConfig
from deepsynth.families.summarize.vlm_data import PageSamples
from deepsynth.families.summarize.vlm_session import Session, open_session
from deepsynth.training.checkpoints import is_complete, last_complete, train_from, updates_of

if TYPE_CHECKING:
    from deepsynth.families.summarize.vlm_trainer import VlmTrainer


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        model: Folder of the adapter, or of the model after full fine-tuning.
        metrics: Of the best checkpoint, with `updates` and the last `train_loss`.
        checkpoint: The checkpoint that was taken.
    """

    model: Path
    metrics: dict[str, float]
    checkpoint: Path


class VlmTraining:
    """Trains a vision-language model on pages with summaries; see `create_trainer`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def train(self, dataset: Any, eval_dataset: Any = None, *, resume: bool = False) -> TrainResult:
        """Train on a `datasets.Dataset`, a `DatasetDict`, or a list of rows.

        Args:
            dataset: Rows with `images` and `summary`; of a `DatasetDict` its splits `train` and
                `validation` are taken.
            eval_dataset: To validate on, choosing the best checkpoint; the last one is taken
                without it.
            resume: Go on from the last whole checkpoint in `output_dir`.

        Raises:
            DeepSynthError: With what to do about it.
        """
        from deepsynth.families.summarize.vlm_trainer import MarkWhole

        if hasattr(dataset, "keys") and "train" in dataset:
            eval_dataset = dataset.get("validation") if eval_dataset is None else eval_dataset
            dataset = dataset["train"]
        folder = Path(self.config.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        train = PageSamples(dataset, "dataset", self.config.max_train_samples)
        held_out = None
        if eval_dataset is not None:
            held_out = PageSamples(eval_dataset, "eval_dataset", self.config.max_val_samples)
        more = () if held_out is None else (held_out,)
        session = open_session(self.config, train, folder / "base", say=print, more=more)
        trainer = make_trainer(session, train, held_out, folder, callbacks=[MarkWhole()])
        result = fit(session, trainer, folder, folder / "model", resume=resume)
        if result is None:
            raise Stopped("stopped.", where=folder)
        return result


def create_trainer(config: TrainerConfig | None = None, **settings: Any) -> VlmTraining:
    """A trainer with the given settings, every other one a default that works.

    Args:
        config: The settings as one object, or
        **settings: as keywords: `model_name`, `epochs`, `preset`, ... see `TrainerConfig`.

    Raises:
        JobError: A setting does not exist or has a wrong value.
    """
    given = {} if config is None else config.model_dump(exclude_unset=True)
    return VlmTraining(TrainerConfig(**given | settings))


def make_trainer(
    session: Session,
    samples: PageSamples,
    held_out: PageSamples | None,
    folder: Path,
    callbacks: list[Any],
    eval_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VlmTrainer:
    """The Trainer of a session; checkpoints go to `folder`."""
    from transformers import EarlyStoppingCallback

    from deepsynth.families.summarize.vlm_trainer import VlmTrainer, training_arguments

    arguments = training_arguments(
        session.config,
        folder,
        len(samples),
        validates=held_out is not None and len(held_out) > 0,
        workers=session.workers,
    )
    if session.config.patience and held_out is not None:
        callbacks = [*callbacks, EarlyStoppingCallback(session.config.patience)]
    return VlmTrainer(
        session.model,
        arguments,
        session.config,
        samples,
        held_out,
        session.collator,
        callbacks,
        eval_progress,
    )


def fit(
    session: Session,
    trainer: VlmTrainer,
    folder: Path,
    target: Path,
    *,
    resume: bool,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainResult | None:
    """Train, then put the best checkpoint's weights into `target`.

    Args:
        session: What trains.
        trainer: From `make_trainer`.
        folder: Where its checkpoints are.
        target: Where adapter or model go, with the processor.
        resume: Go on from the last whole checkpoint.
        stopped: Asked when the Trainer returns; nothing is exported after a stop.

    Returns:
        What was made, or None after a stop.
    """
    start = last_complete(folder) if resume else None
    try:
        train_from(trainer, start)
    except DeepSynthError as error:
        raise _in_its_own_words(error) from None
    # The process that saves marks a checkpoint as whole last; nobody looks for it before.
    trainer.accelerator.wait_for_everyone()
    if stopped():
        return None
    best = trainer.state.best_model_checkpoint
    checkpoint = Path(best) if best else last_complete(folder)
    if checkpoint is None or not is_complete(checkpoint):
        raise JobError(
            "the training left no whole checkpoint.",
            where="train",
            hint="Raise train.epochs if it made no update; else train again.",
        )
    metrics = best_metrics(trainer.state.log_history, checkpoint)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    metrics |= {"updates": trainer.state.global_step, "train_loss": losses[-1]}
    if trainer.accelerator.is_main_process:
        export_checkpoint(session, checkpoint, target)
    return TrainResult(target, metrics, checkpoint)


def _in_its_own_words(error: DeepSynthError) -> DeepSynthError:
    """An error from a process that loads data, without the traceback torch puts around it."""
    kind = type(error)
    _, found, said = error.what.rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
    what, _, hint = said.strip().partition("\n")
    return kind(what, hint=hint.strip() or None) if found else error


def export_checkpoint(session: Session, checkpoint: Path, target: Path) -> None:
    """Copy the weights of a checkpoint (no optimiser, no scheduler) with processor and base."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(checkpoint.iterdir()):
        if path.suffix == ".safetensors" or path.name in (
            "adapter_config.json",
            "config.json",
            "generation_config.json",
            "model.safetensors.index.json",
        ):
            shutil.copy2(path, target / path.name)
    session.processor.save_pretrained(target)
    if session.is_lora:
        _record_base(session, target)
    # Where things lay on this machine is nobody else's business.
    config = session.config.model_dump(mode="json", exclude={"output_dir", "cache_dir"}) | {
        "model_name": public_name(session.config.model_name),
        "decided": session.decided,
        "trainable": session.trainable.by_part,
        "precision": session.precision,
    }
    durable.write_json(target / "training_config.json", config)


def public_name(model: str) -> str:
    """A model's name without the folders of this machine."""
    return Path(model).name if Path(model).is_absolute() else model


def _record_base(session: Session, target: Path) -> None:
    """Say which base the adapter needs: by relative path where we made it, else by name."""
    base = Path(session.base)
    beside = base.is_dir() and target.resolve().is_relative_to(base.resolve().parent)
    place = os.path.relpath(base, target) if beside else session.base
    durable.write_json(target / BASE_FILE, session.fingerprint | {"name": place})
    settings = durable.read_json(target / "adapter_config.json")
    settings["base_model_name_or_path"] = place if beside else public_name(session.base)
    durable.write_json(target / "adapter_config.json", settings)


def best_metrics(history: list[dict[str, Any]], checkpoint: Path) -> dict[str, float]:
    """The evaluation figures of the update a checkpoint was saved at."""
    update = updates_of(checkpoint)
    figures: dict[str, float] = {}
    for entry in history:
        if entry.get("step") == update:
            figures |= {k: v for k, v in entry.items() if k.startswith("eval_")}
    return {k: v for k, v in figures.items() if "second" not in k and k != "eval_runtime"}
