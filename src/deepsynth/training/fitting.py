"""A Trainer that trains to its best checkpoint, on its own or inside a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerState

from deepsynth import durable
from deepsynth.errors import DeepSynthError, JobError, StepFailed, Stopped
from deepsynth.run.run import Run
from deepsynth.training.callbacks import CleanStop, RunCallback, StopSwitch
from deepsynth.training.checkpoints import is_complete, last_complete, updates_of
from deepsynth.training.processes import AgreeOnStop, SharedSwitch, is_first


def fit(
    trainer: Trainer,
    folder: Path,
    start: Path | None,
    stopped: Callable[[], bool] = lambda: False,
) -> Path:
    """Train, and return the best checkpoint, proven whole; the last one if nothing chose.

    Args:
        trainer: With a callback that marks checkpoints.
        folder: Where its checkpoints go.
        start: The checkpoint to go on from.
        stopped: Asked when the Trainer returns.

    Raises:
        Stopped: It was asked to stop, and has saved.
        DeepSynthError: The loss is not a number; a sample cannot be read.
        JobError: There is no whole checkpoint.
    """
    try:
        _train_from(trainer, start)
    except DeepSynthError as error:
        raise _in_its_own_words(error) from None
    # The process that saves marks a checkpoint as whole last; nobody looks for it before.
    trainer.accelerator.wait_for_everyone()
    update = trainer.state.global_step
    if stopped():
        raise Stopped(f"stopped at update {update}; the checkpoint is saved.")
    best = trainer.state.best_global_step
    found = folder / f"checkpoint-{best}" if best else last_complete(folder)
    if found is None or not is_complete(found):
        raise JobError(
            "the best checkpoint is missing or damaged." if update else "no update was made.",
            where=found or folder,
            hint="Train again without these checkpoints."
            if update
            else "Raise train.epochs, or lower train.batch_size or train.gradient_accumulation.",
        )
    if chooses := trainer.args.metric_for_best_model:
        require_best(
            trainer.state.log_history,
            updates_of(found),
            f"eval_{chooses.removeprefix('eval_')}",
            greater=bool(trainer.args.greater_is_better),
        )
    return found


def require_best(history: list[dict[str, Any]], update: int, key: str, *, greater: bool) -> None:
    """Hold the chosen checkpoint against the curve.

    Args:
        history: The Trainer's.
        update: After which the chosen checkpoint was saved.
        key: The figure that chooses.
        greater: Whether more is better.

    Raises:
        StepFailed: Another update has a better figure.
    """
    figures = {e["step"]: e[key] for e in history if key in e and math.isfinite(e[key])}
    if not figures:
        return
    best = (max if greater else min)(figures, key=figures.__getitem__)
    if figures.get(update) != figures[best]:
        raise StepFailed(
            f"the checkpoint after update {update} was chosen ({key} {figures.get(update)}), and "
            f"that after update {best} is better ({figures[best]}).",
            where="step train",
            hint="The model would not be the best of this training. Please report this.",
        )


def fit_in_run(
    run: Run, trainer: Trainer, switch: StopSwitch, *, patience: int, title: str
) -> Path:
    """Train inside the step `train` of a run, from its last whole checkpoint if there is one.

    Args:
        run: Gets the curve, the progress and the events; where several processes train together,
            from the first of them.
        trainer: Its checkpoints go to the work folder of the step.
        switch: Asks for a stop.
        patience: Evaluations without a better score before the end; 0: no end.
        title: How people call the figure that chooses the best checkpoint.
    """
    folder = run.work("train")
    if isinstance(switch, SharedSwitch):
        trainer.add_callback(AgreeOnStop(switch))
    writes = is_first()
    trainer.add_callback(RunCallback(run, "train", switch, title) if writes else CleanStop(switch))
    if patience and trainer.args.metric_for_best_model:
        trainer.add_callback(EarlyStoppingCallback(patience))
    trainer.remove_callback(PrinterCallback)
    start = last_complete(folder)
    if writes:
        run.rewind_metrics("train", updates_of(start) if start else -1)
        if start:
            run.event("resumed", step="train", update=updates_of(start))
    return fit(trainer, folder, start, lambda: switch.pressed)


def keep_curve(run: Run, folder: Path) -> None:
    """Write the curve of a training, without the times, as `curve.json`."""
    curve = [m for m in run.metrics() if m["step"] == "train"]
    durable.write_json(folder / "curve.json", [{k: m[k] for k in m if k != "time"} for m in curve])


def figures_at(history: list[dict[str, Any]], checkpoint: Path) -> dict[str, float]:
    """The evaluation figures of the update a checkpoint was saved at."""
    figures: dict[str, float] = {}
    for entry in history:
        if entry.get("step") == updates_of(checkpoint):
            figures |= {k: v for k, v in entry.items() if k.startswith("eval_")}
    return {k: v for k, v in figures.items() if "second" not in k and k != "eval_runtime"}


def _train_from(trainer: Trainer, checkpoint: Path | None) -> None:
    """Train, going on from a checkpoint; nothing is left to do if early stopping ended it there.

    A Trainer that resumes makes at least one more update. After a kill between the last checkpoint
    and the export, that would be a longer training than the uninterrupted one.
    """
    if checkpoint:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        callbacks = cast(dict[str, Any], state.stateful_callbacks)
        stopping = callbacks.get(EarlyStoppingCallback.__name__, {})
        waited = stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
        if waited and waited >= stopping["args"]["early_stopping_patience"]:
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _in_its_own_words(error: DeepSynthError) -> DeepSynthError:
    """An error from a process that loads data, without the traceback torch puts around it."""
    kind = type(error)
    _, found, said = error.what.rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
    what, _, hint = said.strip().partition("\n")
    return kind(what, hint=hint.strip() or None) if found else error
