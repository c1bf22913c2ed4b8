"""What the two trainings, of recognition and of segmentation, share: callbacks and the trainer."""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from kraken.train import KrakenTrainer
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from deepsynth.errors import DeepSynthError, ModelError, RequestError, StepFailed, Stopped
from deepsynth.families.htr.job import Train
from deepsynth.families.htr.kraken.advice import advise
from deepsynth.families.htr.kraken.model_file import Task, read_model
from deepsynth.run.run import Run

STEP = "train"
_ENOUGH_EPOCHS = 1000
_PERFECT = 0.999999
_BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm)


def curve_of(fold: int | None) -> str:
    """The step name under which a training writes its curve."""
    return STEP if fold is None else f"{STEP}-{fold}"


class Progress(Callback):
    """Writes the live curve of a training into its run.

    Args:
        run: The run.
        names: Kraken's names of what to record after each pass, and ours.
        fold: Index of the fold, whose curve is its own; None without folds.
    """

    def __init__(self, run: Run, names: dict[str, str], fold: int | None = None) -> None:
        self._run = run
        self._names = names
        self._curve = curve_of(fold)
        self._started = time.monotonic()
        self._losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the updates and keep the loss."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self._losses.append(float(loss))
        total = trainer.max_epochs * trainer.num_training_batches
        note = f"epoch {trainer.current_epoch + 1}"
        self._run.progress(STEP, trainer.global_step, int(total), "updates", note)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Write one point of the curve."""
        if trainer.sanity_checking:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        values = {ours: found[theirs] for theirs, ours in self._names.items() if theirs in found}
        for accuracy, error in (("char_accuracy", "cer"), ("word_accuracy", "wer")):
            if accuracy in values:
                values[error] = 1 - values.pop(accuracy)
        if self._losses:
            values["loss"] = sum(self._losses) / len(self._losses)
            self._losses = []
        if "loss" in values and not math.isfinite(values["loss"]):
            raise DeepSynthError(
                "the loss is not a number any more: the training has diverged",
                where=f"epoch {trainer.current_epoch + 1}",
                hint="Use a smaller train.learning_rate, or some train.warmup_ratio.",
            )
        values["epoch"] = trainer.current_epoch + 1
        values["seconds"] = round(time.monotonic() - self._started, 1)
        self._run.metric(self._curve, trainer.global_step, values)
        print(" ".join(f"{name}={value:.4g}" for name, value in values.items()), flush=True)


class ChannelsLast(Callback):
    """Keeps the channels of a pixel together, in which a CPU pools and convolves faster."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Rearrange the weights; also when a training goes on."""
        if pl_module.device.type == "cpu":
            pl_module.net.nn.to(memory_format=torch.channels_last)


class FreezeBackbone(Callback):
    """Trains the output layer alone, for some passes or to the end.

    Kraken's own `--freeze-backbone` never reaches its trainer (7.1.1).

    Args:
        epochs: Passes after which the whole network learns; None for never.
    """

    def __init__(self, epochs: int | None) -> None:
        self._epochs = epochs

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Freeze before the first update; also when a training goes on."""
        self._set(pl_module, frozen=True)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Unfreeze when it is time."""
        if self._epochs is not None:
            self._set(pl_module, frozen=trainer.current_epoch < self._epochs)

    @staticmethod
    def _set(module: Any, *, frozen: bool) -> None:
        for name, layer in module.net.nn.named_children():
            if name.startswith("O"):  # the output layer, in VGSL
                continue
            for parameter in layer.parameters():
                parameter.requires_grad_(not frozen)
            if frozen:  # running statistics of batch normalisation must not drift either
                for part in layer.modules():
                    if isinstance(part, _BATCH_NORMS):
                        part.eval()


def quieten() -> None:
    """Keep Lightning's advertisements and warnings about itself out of the log."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def build_trainer(
    run: Run,
    train: Train,
    checkpoints: Path,
    *,
    seed: int,
    max_epochs: int,
    names: dict[str, str],
    fold: int | None = None,
) -> tuple[Any, ModelCheckpoint]:
    """Kraken's trainer with our callbacks, and the callback that keeps the best checkpoint.

    Args:
        run: The run whose curve is written.
        train: Settings.
        checkpoints: Folder of the best checkpoint and of `last.ckpt`, rewritten every epoch.
        seed: Seeds Python, NumPy and torch.
        max_epochs: Passes after which training ends.
        names: Kraken's names of the figures to record, and ours.
        fold: Index of the fold, if any.
    """
    seed_everything(seed, workers=True, verbose=False)
    torch.set_num_threads(train.threads)
    accelerator, devices = device_of(train.device)
    best = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor="val_metric",
        mode="max",
        save_top_k=1,
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [best, Progress(run, names, fold), ChannelsLast()]
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
        precision={"no": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[
            train.mixed_precision
        ],
        max_epochs=max_epochs,
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


def device_of(device: str) -> tuple[str, Any]:
    """Lightning's accelerator and devices for `auto`, `cpu`, `mps` or `cuda:0`.

    Raises:
        RequestError: The device is not there.
    """
    name, _, index = device.partition(":")
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "there is no CUDA device here",
            where="train.device",
            hint="Use auto or cpu, or run on a machine with a GPU.",
        )
    if name == "cuda":
        return "gpu", [int(index or 0)]
    return name, 1 if name == "cpu" else "auto"


def last_checkpoint(run: Run, checkpoints: Path, fold: int | None = None) -> Path | None:
    """The checkpoint an interrupted training goes on from, if it is whole.

    A pass that was scored but not yet saved is done again, so its point leaves the curve.
    """
    path: Path | None = checkpoints / "last.ckpt"
    state: dict[str, Any] = {"global_step": -1}
    try:
        state = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
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
        trainer.fit(module, data, ckpt_path=resume, weights_only=False)
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


def epochs_or_enough(train: Train) -> int:
    """The most passes: as asked, or so many that early stopping ends the training."""
    return train.epochs or _ENOUGH_EPOCHS


def load_module(kind: Any, base: Path | None, config: Any, trainer: Any) -> Any:
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


def export(best: ModelCheckpoint, folder: Path, task: Task) -> None:
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
