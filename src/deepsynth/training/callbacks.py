"""What ties a transformers Trainer to a run: curve, progress, clean stops, whole checkpoints."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as group
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from deepsynth.run.run import Run
from deepsynth.training.checkpoints import mark_complete
from deepsynth.training.divergence import diverged

_CURVE = ("loss", "grad_norm", "learning_rate", "epoch")


class StopSwitch:
    """Turns SIGTERM and SIGINT into a flag, so that training can save before it ends."""

    def __init__(self) -> None:
        self.pressed = False

    def install(self) -> StopSwitch:
        """Take over both signals in this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._press)
        return self

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True


class MarkWhole(TrainerCallback):
    """Marks each checkpoint as whole, once every process has written its part of it."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Called after everything of a checkpoint is written by this process."""
        if group.is_available() and group.is_initialized():
            group.barrier()
        if args.process_index == 0:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


class CleanStop(MarkWhole):
    """Stops and saves when asked to, so that going on ends as an uninterrupted training does.

    Where several processes train together, each has it: what is logged, saved and evaluated is
    done by all of them at once, and one that differed would leave the others waiting.

    Args:
        switch: Asks for a stop.
    """

    def __init__(self, switch: StopSwitch) -> None:
        self._switch = switch

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """On a stop, end the epoch at this very update."""
        control.should_training_stop |= self._switch.pressed
        _log_what_is_saved(control)

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """On a stop, save, but judge the model only where an epoch really ended.

        A score from the middle of an epoch would count for the best checkpoint and for early
        stopping, and the resumed training would end as another one than the uninterrupted.
        """
        if self._switch.pressed:
            control.should_save = True
            control.should_evaluate &= float(state.epoch or 0).is_integer()
        _log_what_is_saved(control)


class RunCallback(CleanStop):
    """Writes the curve and the progress into the run; stops and saves when asked to.

    Args:
        run: Where to write.
        step: Name of the step that trains.
        switch: Asks for a stop.
        title: How people call the figure that chooses the best checkpoint.
    """

    def __init__(self, run: Run, step: str, switch: StopSwitch, title: str) -> None:
        super().__init__(switch)
        self._run = run
        self._step = step
        self._title = title
        self._note = ""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a point to the curve; a loss that is not a number ends the training."""
        logs = logs or {}
        values = {
            key: float(value)
            for key, value in logs.items()
            if key in _CURVE or (key.startswith("eval_") and "per_second" not in key)
        }
        if "loss" in values or any(key.startswith("eval_") for key in values):
            values.pop("eval_runtime", None)
            self._run.metric(self._step, state.global_step, values)
        best = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
        if best in values:
            self._note = f"{self._title} {values[best]:.3f}"
        if not math.isfinite(values.get("loss", 0.0)):
            raise diverged(f"update {state.global_step}", f"step {self._step}")

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Show how far we are; on a stop, end the epoch at this very update."""
        self._run.progress(self._step, state.global_step, state.max_steps, "updates", self._note)
        super().on_step_end(args, state, control, **kwargs)


def _log_what_is_saved(control: TrainerControl) -> None:
    # A point of the curve is the mean loss since the last one. Without a point at the checkpoint,
    # the first one after resuming would be the mean over fewer updates.
    control.should_log |= control.should_save
