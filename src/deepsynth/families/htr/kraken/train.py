"""Step `train` for recognition: fine-tune (or train from scratch) through Kraken's API.

Writes `model/best.safetensors` and `model/best.mlmodel` (of the pass with the best score on the
validation pages) and `training/summary.json`. Runs in the environment `htr`.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

from kraken.configs import VGSLRecognitionTrainingConfig, VGSLRecognitionTrainingDataConfig
from kraken.train.vgsl import VGSLRecognitionModel

from deepsynth import durable
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.loader import FastDataModule, speed_up_loading
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.kraken.training import (
    build_trainer,
    epochs_or_enough,
    export,
    fit,
    last_checkpoint,
    load_module,
    quieten,
)
from deepsynth.families.htr.prepared import base_model, htr_job, read_manifest
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

NAMES = {"val_accuracy": "char_accuracy", "val_word_accuracy": "word_accuracy"}


def main(run: Run) -> None:
    """Train the model of a run, or of one of its folds."""
    job = htr_job(run)
    manifest = read_manifest(run)
    index = int(os.environ.get("DEEPSYNTH_INDEX", "0"))
    fold = index if manifest.folds else None
    roles = manifest.roles(index)
    arrows = {
        role: [str(run.path / "data" / part.arrow) for part in parts]
        for role, parts in roles.items()
    }
    base = base_model(run, "train")
    if base:
        read_model(base, "recognition")
    work = _checkpoints(run, index)
    model_folder = run.path / ("model" if fold is None else f"folds/{index}")
    summary = train(run, job, base, arrows, manifest.normalization, work, model_folder, fold)
    target = run.path / "training" if fold is None else model_folder
    target.mkdir(parents=True, exist_ok=True)
    durable.write_json(target / "summary.json", summary)


def _checkpoints(run: Run, index: int) -> Path:
    """The folder of one fold's checkpoints, emptied when they are of other data or settings."""
    work = run.work("train") / f"fold-{index}"
    key = durable.read_json(run.path / "steps" / "train" / "key.json")
    if durable.read_json(work / "key.json") != key:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)
    if key is not None:
        durable.write_json(work / "key.json", key)
    return work


def train(
    run: Run,
    job: HtrJob,
    base: Path | None,
    arrows: dict[str, list[str]],
    normalization: str,
    work: Path,
    model_folder: Path,
    fold: int | None = None,
) -> dict[str, Any]:
    """Train on compiled lines and export the best model.

    Args:
        run: Where the curve goes.
        job: Settings.
        base: Model to start from, or None.
        arrows: Compiled files that train and that choose the best epoch, by role.
        normalization: Unicode normal form.
        work: Folder of the checkpoints; a training interrupted there goes on.
        model_folder: Where the best model is written.
        fold: Index of the fold, if any.

    Returns:
        Passes, updates and the best score on the validation pages.

    Raises:
        StepFailed: No pass was finished, so there is no model.
        Stopped: It was asked to stop.
    """
    quieten()
    speed_up_loading()
    settings = job.train
    batch_size = cast(int, settings.batch_size)
    data = FastDataModule(
        VGSLRecognitionTrainingDataConfig(
            training_data=arrows["train"],
            evaluation_data=arrows["validation"],
            format_type="binary",
            augment=settings.augment,
            normalization=normalization,
            num_workers=settings.workers,
            batch_size=batch_size,
            padding=settings.pad,
        ),
        batch_size,
        job.seed,
    )
    trainer, best = build_trainer(
        run,
        settings,
        work,
        seed=job.seed,
        max_epochs=epochs_or_enough(settings),
        names=NAMES,
        fold=fold,
    )
    config = VGSLRecognitionTrainingConfig(
        epochs=epochs_or_enough(settings),
        quit="fixed",  # our own early stopping also knows min_delta
        lrate=settings.learning_rate,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        schedule=settings.scheduler,
        warmup=settings.warmup or 0,
        batch_size=batch_size,
        resize=settings.resize,
        cos_t_max=epochs_or_enough(settings),
        checkpoint_path=str(work),
        **({"spec": settings.spec} if settings.spec and not base else {}),
    )
    module = load_module(VGSLRecognitionModel, base, config, trainer)
    fit(trainer, module, data, last_checkpoint(run, work, fold))
    export(best, model_folder, "recognition")
    return {
        "epochs": trainer.current_epoch,
        "updates": trainer.global_step,
        "best_validation_cer": 1 - float(cast(Any, best.best_model_score)),
        "lines": len(data.train_set),
        "base_model": base.name if base else None,
    }


if __name__ == "__main__":
    step_process(main)
