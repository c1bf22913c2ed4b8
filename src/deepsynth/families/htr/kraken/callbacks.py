"""What is done around each pass of a training: its curve, its memory layout, frozen layers."""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import math
import time
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from deepsynth.errors import Stopped
from deepsynth.printing import say
from deepsynth.run.run import Run
from deepsynth.training.divergence import diverged

STEP = "train"
_BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm)


def curve_of(fold: int | None) -> str:
    """The step name under which a training writes its curve."""
    return STEP if fold is None else f"{STEP}-{fold}"


class Curve(Callback):
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
            raise diverged(f"epoch {trainer.current_epoch + 1}", "step train")
        values["epoch"] = trainer.current_epoch + 1
        values["seconds"] = round(time.monotonic() - self._started, 1)
        self._run.metric(self._curve, trainer.global_step, values)
        say(" ".join(f"{name}={value:.4g}" for name, value in values.items()), flush=True)


class StopSoon(Callback):
    """Ends a training that was asked to stop at the next layer, not after a page or a validation.

    Lightning looks between batches only, and a batch of segmentation is a whole page. Kraken's
    data sets take whatever is raised while they load a page for a broken page, and go on.
    Nothing is saved in the middle of a layer, so no checkpoint is cut short.
    """

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Have every layer look whether it was asked."""

        def look(layer: Any, given: Any) -> None:
            if trainer.received_sigterm:
                raise Stopped("stopped; the last finished pass is kept")

        for layer in pl_module.net.nn.modules():
            layer.register_forward_pre_hook(look)


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
