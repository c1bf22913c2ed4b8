"""Step `train`: fine-tune on the training split, keep the best checkpoint.

Writes `model/adapter` (or `model/merged` when every weight trains) and `training/`: the curve,
what was decided, and the loss that later steps must find again in a fresh process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from deepsynth import durable
from deepsynth.errors import Stopped
from deepsynth.families.summarize.fit import fit, make_trainer
from deepsynth.families.summarize.models import start_config
from deepsynth.families.summarize.prepared import read_samples
from deepsynth.families.summarize.vlm_session import open_session
from deepsynth.families.summarize.vlm_trainer import mean_loss, world_size
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.callbacks import CleanStop, RunCallback, StopSwitch
from deepsynth.training.checkpoints import last_complete, updates_of

REFERENCE = "reference.json"
"""In `training/`: the loss of the exported weights, on which split and how many samples."""
REFERENCE_SAMPLES = 32


class SharedSwitch(StopSwitch):
    """A switch that several processes press at the same update.

    The signal reaches them one after the other; one that stopped an update before the rest would
    leave these waiting for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def agree(self) -> None:
        """Press it if any process was asked to stop; all of them must call this."""
        import torch
        import torch.distributed as group

        device = "cuda" if torch.cuda.is_available() else "cpu"
        asked = torch.tensor(int(self._asked), device=device)
        group.all_reduce(asked, op=group.ReduceOp.MAX)
        self.pressed = bool(asked)


class AgreeOnStop(TrainerCallback):
    """Comes before every callback that looks at the switch."""

    def __init__(self, switch: SharedSwitch) -> None:
        self._switch = switch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One number goes around."""
        self._switch.agree()


def main(run: Run) -> None:
    """Train the model of a run, from its last whole checkpoint if there is one."""
    switch = SharedSwitch() if world_size() > 1 else StopSwitch()
    switch.install()
    writes = os.environ.get("RANK", "0") == "0"
    samples = read_samples(run, "train", "train")
    held_out = read_samples(run, "train", "validation")
    say: Callable[[str], None] = lambda line: None  # noqa: E731
    if writes:
        say = _teller(run)
    work = run.work("train")
    session = open_session(
        start_config(run, "train"),
        samples,
        run.path / "base",
        say=say,
        progress=lambda done, total: run.progress("train", done, total, "documents", "encoding"),
        more=(held_out,) if len(held_out) else (),
    )
    callbacks: list[TrainerCallback] = []
    if isinstance(switch, SharedSwitch):
        callbacks.append(AgreeOnStop(switch))
    callbacks.append(RunCallback(run, "train", switch) if writes else CleanStop(switch))
    trainer = make_trainer(
        session, samples, held_out if len(held_out) else None, work, callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_complete(work)
    if writes:
        run.rewind_metrics("train", updates_of(checkpoint) if checkpoint else -1)
        if checkpoint:
            run.event("resumed", step="train", update=updates_of(checkpoint))
    target = run.path / "model" / ("adapter" if session.is_lora else "merged")
    result = fit(session, trainer, work, target, resume=True, stopped=lambda: switch.pressed)
    if result is None:
        raise Stopped(f"stopped at update {trainer.state.global_step}; the checkpoint is saved.")
    if not writes:
        return
    batch_size = session.config.batch_size or 1
    if "eval_loss" in result.metrics:
        reference = {
            "split": "validation",
            "samples": len(held_out),
            "loss": result.metrics["eval_loss"],
        }
    else:
        count = min(REFERENCE_SAMPLES, len(samples))
        with trainer.accelerator.autocast():
            loss = mean_loss(session.model, session.collator, samples, count, batch_size)
        reference = {"split": "train", "samples": count, "loss": loss}
    folder = run.path / "training"
    folder.mkdir(exist_ok=True)
    durable.write_json(
        folder / REFERENCE,
        reference | {"batch_size": batch_size, "precision": session.precision},
    )
    durable.write_json(
        folder / "summary.json",
        {
            "preset": session.config.preset,
            "trainable": session.trainable.by_part | {"total": session.trainable.total},
            "decided": session.decided,
            "best_update": updates_of(result.checkpoint),
            **result.metrics,
        },
    )
    curve = [m for m in run.metrics() if m["step"] == "train"]
    durable.write_json(folder / "curve.json", [{k: m[k] for k in m if k != "time"} for m in curve])


def _teller(run: Run) -> Callable[[str], None]:
    def tell(line: str) -> None:
        print(line)
        run.event("note", step="train", text=line)

    return tell


if __name__ == "__main__":
    step_process(main)
