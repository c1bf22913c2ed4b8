"""Step `train`: fine-tune a Kraken model, or train one from fresh weights.

Writes `model/best.safetensors` and `model/best.mlmodel` (of the pass with the best score on the
validation pages) and `training/summary.json`; of a fold, all of them into its folder. Runs in the
environment `htr`, or with a site's own ketos.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth import durable
from deepsynth.families.htr.kraken import ketos_training
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.prepared import (
    base_model,
    ground_truth_folder,
    htr_job,
    read_manifest,
)
from deepsynth.families.htr.reading import read_reading
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.device import tell_device

if TYPE_CHECKING:
    from deepsynth.families.htr.kraken.training import Setup


def main(run: Run) -> None:
    """Train the model of a run, or of one of its folds."""
    job = htr_job(run)
    if job.kraken.version:
        ketos_training.collect(run)
    elif job.kraken.toolchain == "site":
        ketos_training.train(run)
    else:
        _train(run, int(os.environ.get("DEEPSYNTH_INDEX", "0")))


def _train(run: Run, index: int) -> None:
    import torch

    from deepsynth.families.htr.kraken.training import train

    tell_device(run, gpu=torch.cuda.is_available())
    job = htr_job(run)
    base = base_model(run, "train")
    if base:
        read_model(base, job.task)
    fold = index if job.split.folds else None
    model = run.path / ("model" if fold is None else f"folds/{index}")
    summary = train(run, job, _setup(run, index), base, _checkpoints(run, index), model, fold)
    target = run.path / "training" if fold is None else model
    target.mkdir(parents=True, exist_ok=True)
    durable.write_json(target / "summary.json", summary)


def _setup(run: Run, index: int) -> Setup:
    from deepsynth.families.htr.kraken.training import recognition, segmentation

    job, manifest = htr_job(run), read_manifest(run)
    roles = manifest.roles(index)
    if job.task == "segmentation":
        reading = read_reading(run, ground_truth_folder(run, "train"))
        train, validation = (
            [reading.pages[name] for part in roles[role] for name in part.pages]
            for role in ("train", "validation")
        )
        return segmentation(job, train, validation)
    arrows = [
        [run.path / "data" / part.arrow for part in roles[role]] for role in ("train", "validation")
    ]
    return recognition(job, *arrows, form=manifest.normalization)


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


if __name__ == "__main__":
    step_process(main)
