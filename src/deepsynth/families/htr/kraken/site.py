"""Step `train` on a site's own Kraken: a plain `ketos` command whose log is read as it runs.

The exit code is not believed (version 7 ends with 0 when it is stopped, version 4 to 6 leave
models behind when they fail): what counts is a model file that says it was scored.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import MissingDependency, ModelError, StepFailed
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.advice import advise
from deepsynth.families.htr.kraken.dialects import Dialect, dialect_of, train_command
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.prepared import (
    Manifest,
    base_model,
    ground_truth_folder,
    htr_job,
    read_manifest,
)
from deepsynth.run.environments import site
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

_ACCURACY = re.compile(
    r"validation run: (?:total chars (?P<total>\S+) errors (?P<errors>\S+) )?"
    r"accuracy (?P<accuracy>[-\d.]+)(?: mean_acc \S+ mean_iu (?P<iou>[-\d.]+))?"
)
_TAIL = 40


def main(run: Run) -> None:
    """Train with the ketos found on the path, and keep its best model."""
    job, manifest = htr_job(run), read_manifest(run)
    dialect = find_dialect(job)
    work = run.work("train")
    folder = run.path / "data"
    if job.task == "segmentation":
        folder = ground_truth_folder(run, "train")
    lists: dict[str, Path] = {}
    for split in ("train", "validation"):
        part = manifest.parts[split]
        names = [part.arrow] if part.arrow else part.pages
        lists[split] = work / f"{split}.txt"
        durable.write_text(lists[split], "".join(f"{folder / name}\n" for name in names))
    models = work / "models"
    models.mkdir(exist_ok=True)
    argv = train_command(
        dialect,
        job,
        ketos=job.kraken.ketos,
        training=lists["train"],
        validation=lists["validation"],
        base=base_model(run, "train"),
        output=models,
    )
    tail = _run(run, site("kraken", *job.kraken.setup).command(argv))
    keep_best(run, job, manifest, models, tail, dialect.major)


def keep_best(
    run: Run, job: HtrJob, manifest: Manifest, models: Path, log: list[str], version: int
) -> None:
    """Write `model/` and `training/` of a run from what ketos left in `models`.

    Args:
        run: The run; its curve is written.
        job: Its job.
        manifest: Of its data.
        models: Folder of the models ketos wrote.
        log: The last lines it printed, or all.
        version: Of the ketos.

    Raises:
        StepFailed: No scored model was written.
    """
    best, score = best_of(models, log[-_TAIL:])
    target = run.path / "model"
    target.mkdir()
    shutil.copyfile(best, target / f"best{best.suffix}")
    (run.path / "training").mkdir()
    durable.write_json(
        run.path / "training" / "summary.json",
        {
            "kraken": version,
            "epochs": len(run.metrics()),
            "updates": None,
            "best_validation_cer": 1 - score,
            "lines": manifest.parts["train"].report.get("lines"),
            "base_model": Path(job.model).name if job.model else None,
        },
    )


def find_dialect(job: HtrJob) -> Dialect:
    """Ask the site's ketos for its version.

    Raises:
        MissingDependency: There is none, or a version not known here.
    """
    argv = site("kraken", *job.kraken.setup).command([job.kraken.ketos, "--version"])
    try:
        told = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        told = None
    if told is None or told.returncode:
        said = told.stderr.strip().splitlines()[-1:] if told else []
        raise MissingDependency(
            f"{job.kraken.ketos} does not run here" + (f": {said[0]}" if said else ""),
            where="kraken.ketos",
            hint="Load it with `kraken.setup: [module load kraken]`, or use "
            "`kraken.toolchain: managed`.",
        )
    return dialect_of(told.stdout)


def _run(run: Run, argv: list[str]) -> list[str]:
    """Run ketos to its end, write the curve from its log, and return the last lines it said."""
    print("+", " ".join(argv), flush=True)
    tail: list[str] = []
    epoch = 0
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    ) as child:
        try:
            for line in child.stdout or ():
                print(line, end="", flush=True)
                tail = [*tail, line.rstrip()][-_TAIL:]
                values = read_log_line(line)
                if values:
                    epoch += 1
                    run.metric("train", epoch, {**values, "epoch": epoch})
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            raise
    return tail


def read_log_line(line: str) -> dict[str, float] | None:
    """The figures of a validation, if this line of a ketos log (`-v`) tells of one."""
    found = _ACCURACY.search(line)
    if not found:
        return None
    accuracy = float(found["accuracy"])
    if found["iou"] is not None:
        return {"mean_iou": float(found["iou"]), "pixel_accuracy": accuracy}
    return {"cer": 1 - accuracy}


def best_of(models: Path, tail: Iterable[str]) -> tuple[Path, float]:
    """The model with the best validation score that its own file records.

    Version 7 writes one `best_SCORE` file; earlier ones a file an epoch, each with the scores
    so far in its metadata.

    Raises:
        StepFailed: No scored model was written; says why, as far as the log shows.
    """
    found: list[tuple[float, Path]] = []
    for path in sorted([*models.glob("*.mlmodel"), *models.glob("*.safetensors")]):
        try:
            scored = recorded_score(path, read_model(path).metadata)
        except ModelError:
            continue  # cut short when ketos was stopped
        if scored is not None:
            found.append((scored, path))
    if not found:
        lines = list(tail)
        problem = advise("\n".join(lines))
        raise StepFailed(
            f"ketos ended without a model: {lines[-1] if lines else 'it said nothing'}",
            where="logs/train.log",
            hint=problem or "Read the log: deepsynth logs RUN train",
        )
    score, path = max(found, key=lambda item: item[0])
    return path, score


def recorded_score(path: Path, metadata: dict[str, Any]) -> float | None:
    """The last validation score a model file knows of."""
    named = re.match(r"best_([\d.]+)\.[a-z]+$", path.name)
    if named:
        return float(named.group(1))
    accuracies = metadata.get("accuracy") or []
    return float(accuracies[-1][1]) if accuracies else None


if __name__ == "__main__":
    step_process(main)
