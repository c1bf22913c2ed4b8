"""Training through Kraken's API, of recognition and of segmentation alike.

Writes `best.safetensors` and `best.mlmodel` of the pass with the best score on the validation
pages. Runs in the environment `htr`.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from kraken.configs import (
    BLLASegmentationTrainingConfig,
    BLLASegmentationTrainingDataConfig,
    VGSLRecognitionTrainingConfig,
    VGSLRecognitionTrainingDataConfig,
)
from kraken.containers import BaselineLine, Region, Segmentation
from kraken.train import KrakenTrainer
from kraken.train.blla import BLLASegmentationDataModule
from kraken.train.vgsl import VGSLRecognitionModel
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.serialization import safe_globals

from deepsynth.errors import ModelError, RunError, StepFailed, Stopped
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.job import HtrJob, Train
from deepsynth.families.htr.kraken.callbacks import (
    ChannelsLast,
    Curve,
    FreezeBackbone,
    StopSoon,
    curve_of,
)
from deepsynth.families.htr.kraken.ketos_training import advise
from deepsynth.families.htr.kraken.loader import FastDataModule, speed_up_loading
from deepsynth.families.htr.kraken.model_file import Task, read_model
from deepsynth.families.htr.kraken.recognise import lightning_device
from deepsynth.families.htr.kraken.segmentation import ChosenByLines, class_indices, wrap_pages
from deepsynth.run.run import Run

_ENOUGH_EPOCHS = 1000
"""Passes after which a training ends that early stopping is to end."""
_PERFECT = 0.999999
_IN_CHECKPOINTS: list[Any] = [
    BLLASegmentationTrainingConfig,
    BLLASegmentationTrainingDataConfig,
    VGSLRecognitionTrainingConfig,
    VGSLRecognitionTrainingDataConfig,
    BaselineLine,
    Region,
    Segmentation,
    defaultdict,
]
"""What Kraken puts into a checkpoint besides numbers; nothing else in one is unpickled."""
_PRECISIONS = {"no": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Setup:
    """What differs between the two tasks.

    Attributes:
        data: Kraken's data module.
        module: Kraken's class of the network with its training.
        config: Kraken's class of its settings.
        settings: Settings that only this task has.
        names: Kraken's names of the figures to record after each pass, and ours.
        summary: Given the best score on the validation pages, what is told of the training.
    """

    data: Any
    module: Any
    config: Any
    settings: dict[str, Any]
    names: dict[str, str]
    summary: Callable[[float], dict[str, Any]]


def recognition(job: HtrJob, train: Sequence[Path], validation: Sequence[Path], form: str) -> Setup:
    """Lines of compiled files are read.

    Args:
        job: Settings.
        train: Compiled files that train.
        validation: Compiled files that choose the best pass.
        form: Unicode normal form.
    """
    speed_up_loading()
    settings = job.train
    batch_size = cast(int, settings.batch_size)
    config = VGSLRecognitionTrainingDataConfig(
        training_data=[str(path) for path in train],
        evaluation_data=[str(path) for path in validation],
        format_type="binary",
        augment=settings.augment,
        normalization=form,
        num_workers=settings.workers,
        batch_size=batch_size,
        padding=settings.pad,
    )
    data = FastDataModule(config, batch_size, job.seed)
    return Setup(
        data,
        VGSLRecognitionModel,
        VGSLRecognitionTrainingConfig,
        {"batch_size": batch_size},
        {"val_accuracy": "char_accuracy", "val_word_accuracy": "word_accuracy"},
        lambda score: {"best_validation_cer": 1 - score, "lines": len(data.train_set)},
    )


def segmentation(job: HtrJob, train: Sequence[Page], validation: Sequence[Page]) -> Setup:
    """Lines and regions of pages are found.

    Args:
        job: Settings.
        train: Pages that train.
        validation: Pages that choose the best pass.
    """
    only = job.segmentation
    pages = [
        wrap_pages(each, only.line_classes, only.region_classes) for each in (train, validation)
    ]
    lines, regions = class_indices([*pages[0], *pages[1]])
    config = BLLASegmentationTrainingDataConfig(
        training_data=pages[0],
        evaluation_data=pages[1],
        format_type=None,
        augment=job.train.augment,
        num_workers=job.train.workers,
        line_width=only.line_width,
        line_class_mapping=lines,
        region_class_mapping=regions,
    )
    return Setup(
        BLLASegmentationDataModule(config),
        ChosenByLines,
        BLLASegmentationTrainingConfig,
        {"bl_tol": only.baseline_tolerance},
        {
            "val_mean_iu": "mean_iou",
            "val_accuracy": "pixel_accuracy",
            "val_bl_f1": "baseline_f1",
            "val_bl_precision": "baseline_precision",
            "val_bl_recall": "baseline_recall",
        },
        lambda score: {
            "best_validation_score": score,
            "pages": len(pages[0]),
            "line_types": list(lines),
            "region_types": list(regions),
        },
    )


def train(
    run: Run,
    job: HtrJob,
    setup: Setup,
    base: Path | None,
    work: Path,
    model: Path,
    fold: int | None = None,
) -> dict[str, Any]:
    """Train and export the best model.

    Args:
        run: Where the curve goes.
        job: Settings.
        setup: From `recognition` or `segmentation`.
        base: Model to start from, or None.
        work: Folder of the checkpoints; a training interrupted there goes on.
        model: Folder the best model is written to.
        fold: Index of the fold, if any.

    Returns:
        Passes, updates, the best score on the validation pages, and what the data say.

    Raises:
        StepFailed: No pass was finished, so there is no model.
        Stopped: It was asked to stop.
    """
    quieten()
    settings = job.train
    epochs = settings.epochs or _ENOUGH_EPOCHS
    trainer, best = _build_trainer(run, settings, work, job.seed, epochs, setup.names, fold)
    config = setup.config(
        epochs=epochs,
        quit="fixed",  # our own early stopping also knows min_delta
        lrate=settings.learning_rate,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        schedule=settings.scheduler,
        warmup=settings.warmup or 0,
        resize=settings.resize,
        cos_t_max=epochs,
        checkpoint_path=str(work),
        **setup.settings,
        **({"spec": settings.spec} if settings.spec and not base else {}),
    )
    module = _load_module(setup.module, base, config, trainer)
    fit(trainer, module, setup.data, last_checkpoint(run, work, fold))
    _export(best, model, job.task)
    return {
        "epochs": trainer.current_epoch,
        "updates": trainer.global_step,
        **setup.summary(float(cast(Any, best.best_model_score))),
        "base_model": base.name if base else None,
    }


def quieten() -> None:
    """Keep Lightning's advertisements and warnings about itself out of the log."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def _build_trainer(
    run: Run,
    train: Train,
    checkpoints: Path,
    seed: int,
    epochs: int,
    names: dict[str, str],
    fold: int | None,
) -> tuple[Any, ModelCheckpoint]:
    """Kraken's trainer with our callbacks, and the callback that keeps the best checkpoint.

    The best and the last checkpoint (`last.ckpt`) are written anew after each pass.
    """
    seed_everything(seed, workers=True, verbose=False)
    torch.set_num_threads(train.threads)
    accelerator, devices = lightning_device(train.device)
    best = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor="val_metric",
        mode="max",
        save_top_k=1,
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [best, Curve(run, names, fold), ChannelsLast(), StopSoon()]
    if train.patience:
        callbacks.append(
            EarlyStopping(
                "val_metric",
                mode="max",
                patience=train.patience,
                min_delta=train.min_delta,
                stopping_threshold=_PERFECT,
                check_finite=True,
            )
        )
    if train.freeze == "backbone":
        callbacks.append(FreezeBackbone(train.freeze_epochs))
    trainer = KrakenTrainer(
        accelerator=accelerator,
        devices=devices,
        precision=_PRECISIONS[train.mixed_precision],
        max_epochs=epochs,
        min_epochs=train.min_epochs,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_summary=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
    )
    return trainer, best


def last_checkpoint(run: Run, checkpoints: Path, fold: int | None = None) -> Path | None:
    """The checkpoint an interrupted training goes on from, if it is whole.

    A pass that was scored but not yet saved is done again, so its point leaves the curve.

    Raises:
        RunError: It holds objects that neither torch nor Kraken puts into a checkpoint.
    """
    path: Path | None = checkpoints / "last.ckpt"
    state: dict[str, Any] = {"global_step": -1}
    try:
        with safe_globals(_IN_CHECKPOINTS):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise RunError(
            f"the checkpoint holds more than weights and settings, so it is not opened: "
            f"{next(iter(str(error).splitlines()), '')}",
            where=path,
            hint="Nothing of it was run. Remove the file, and the training begins anew.",
        ) from None
    except (RuntimeError, EOFError, OSError):
        path = None  # none yet, or cut short
    run.rewind_metrics(curve_of(fold), state["global_step"])
    return path


def fit(trainer: Any, module: Any, data: Any, resume: Path | None) -> None:
    """Train; a request to stop comes out as `Stopped`, not as a success.

    Raises:
        Stopped: SIGTERM or Ctrl-C; `last.ckpt` holds the last finished pass.
        ModelError: The data need characters the model lacks and `train.resize` is fail.
        StepFailed: A trouble with known advice, such as a GPU whose memory is too small.
    """
    try:
        with safe_globals(_IN_CHECKPOINTS):
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except ValueError as error:
        if "alphabets mismatch" in str(error):
            raise ModelError(
                f"the base model cannot write some characters of the data: {error}",
                where="train.resize",
                hint="Set train.resize=union to add them, or train.resize=new.",
            ) from None
        _with_advice(error)
        raise
    except RuntimeError as error:
        _with_advice(error)
        raise
    if getattr(trainer, "interrupted", False) or trainer.received_sigterm:
        raise Stopped("stopped; the last finished pass is kept")


def _with_advice(error: Exception) -> None:
    advice = advise(str(error))
    if advice:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise StepFailed(said, where="logs/train.log", hint=advice) from error


def _load_module(kind: Any, base: Path | None, config: Any, trainer: Any) -> Any:
    """Kraken's training module, with the weights of a base model or fresh ones.

    Args:
        kind: Kraken's class of the module.
        base: Base model, or None.
        config: Kraken's training configuration.
        trainer: The trainer, which decides where the weights are placed.

    Raises:
        ModelError: Kraken cannot load the base model.
    """
    if base is None:
        return kind(config)
    try:
        with trainer.init_module(empty_init=False):
            return kind.load_from_weights(base, config)
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"Kraken cannot load the base model: {error}",
            where=base,
            hint="It may need another version of Kraken, or be damaged.",
        ) from None


def _export(best: ModelCheckpoint, folder: Path, task: Task) -> None:
    """Write `best.safetensors` and `best.mlmodel` of the best pass, and read them back.

    The CoreML file is for Kraken before 7 and for eScriptorium.

    Raises:
        StepFailed: No pass was scored, so there is no model.
    """
    from kraken.models.convert import convert_models

    if not best.best_model_path:
        raise StepFailed(
            "the training ended without a single scored pass, so there is no model",
            where="train",
            hint="Look into logs/train.log.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, form in (("best.safetensors", "safetensors"), ("best.mlmodel", "coreml")):
        (folder / name).unlink(missing_ok=True)
        convert_models([best.best_model_path], folder / name, weights_format=form)
        read_model(folder / name, task)
