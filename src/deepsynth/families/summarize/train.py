"""Step `train`: fine-tune on the training split, keep the best checkpoint.

Writes `model/adapter` (or `model/merged` when every weight trains) and `training/`: the curve,
what was decided, and the loss that later steps must find again in a fresh process. On several GPUs
one process trains on each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from deepsynth import durable
from deepsynth.families.summarize.export import export_checkpoint
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.outcome import train_from_start
from deepsynth.families.summarize.prepared import pages_drawn, read_samples, start_config
from deepsynth.families.summarize.session import open_session
from deepsynth.families.summarize.trainer import make_trainer
from deepsynth.printing import say
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.callbacks import StopSwitch
from deepsynth.training.checkpoints import updates_of
from deepsynth.training.device import tell_device
from deepsynth.training.fitting import fit_in_run, keep_curve
from deepsynth.training.processes import (
    SharedSwitch,
    is_first,
    is_one_of_several,
    start_several,
    world_size,
)

REFERENCE = "reference.json"
"""In `training/`: the loss of the exported weights, on which split and how many samples."""
TRAINED_ROWS = "rows.txt"
"""In `training/`: identity of every row that was trained on, one a line."""


def main(run: Run) -> None:
    """Train the model of a run, from its last whole checkpoint if there is one."""
    job = run.job(SummarizeJob)
    if job.gpus > 1 and not is_one_of_several():
        start_several("deepsynth.families.summarize.train", run, job.gpus)
        return
    if is_first():
        tell_device(run, gpu=torch.cuda.is_available())
    switch = SharedSwitch() if world_size() > 1 else StopSwitch()
    switch.install()
    samples = read_samples(run, "train", "train")
    held_out = read_samples(run, "train", "validation")
    tell = _teller(run) if is_first() else lambda line: None
    session = open_session(
        start_config(run, "train"),
        samples,
        run.path / "base",
        say=tell,
        progress=lambda done, total: run.progress("train", done, total, "documents", "encoding"),
        more=(held_out,) if len(held_out) else (),
    )
    validated = held_out if len(held_out) else None
    trainer = make_trainer(session, samples, validated, run.work("train"))
    outcome = train_from_start(
        session,
        trainer,
        validated,
        lambda: fit_in_run(
            run, trainer, switch, patience=session.config.patience or 0, title="ROUGE-L"
        ),
    )
    if not is_first():
        return
    target = run.path / "model" / ("adapter" if session.is_lora else "merged")
    export_checkpoint(session, outcome.checkpoint, target, pages_drawn(run))
    folder = run.path / "training"
    folder.mkdir(exist_ok=True)
    used = {"batch_size": session.config.batch_size or 1, "precision": session.precision}
    durable.write_json(folder / REFERENCE, outcome.reference | used)
    durable.write_text(folder / TRAINED_ROWS, "\n".join(outcome.trained) + "\n")
    durable.write_json(
        folder / "summary.json",
        {
            "preset": session.config.preset,
            "trainable": session.trainable.by_part | {"total": session.trainable.total},
            "decided": session.decided,
            "best_update": updates_of(outcome.checkpoint),
            "start": outcome.start,
            "moved": outcome.moved,
            "labels": outcome.labels,
            "remarks": outcome.remarks,
            **outcome.figures,
        },
    )
    for line in outcome.remarks:
        tell(line)
    keep_curve(run, folder)


def _teller(run: Run) -> Callable[[str], None]:
    def tell(line: str) -> None:
        say(line)
        run.event("note", step="train", text=line)

    return tell


if __name__ == "__main__":
    step_process(main)
