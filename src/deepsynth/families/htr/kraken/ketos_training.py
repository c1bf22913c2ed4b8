"""Step `train` on a site's own Kraken: a plain `ketos` command, its log and its best model.

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

from deepsynth import durable
from deepsynth.errors import MissingDependency, ModelError, StepFailed
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.ketos import (
    Dialect,
    dialect_of,
    train_command,
    training_script,
)
from deepsynth.families.htr.kraken.model_file import ModelFile, read_model
from deepsynth.families.htr.prepared import (
    Manifest,
    base_model,
    ground_truth_folder,
    htr_job,
    read_manifest,
)
from deepsynth.printing import say
from deepsynth.run.environments import site
from deepsynth.run.run import Run

_ACCURACY = re.compile(
    r"validation run: (?:total chars (?P<total>\S+) errors (?P<errors>\S+) )?"
    r"accuracy (?P<accuracy>[-\d.]+)(?: mean_acc \S+ mean_iu (?P<iou>[-\d.]+))?"
)
GOES_ON = "It goes on from "
"""How the script that runs ketos says that an earlier start left something."""
_TAIL = 40

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "The GPU's memory is too small for these batches: halve train.batch_size.",
    ),
    (
        r"oom[-_ ]kill|Out Of Memory|MemoryError|Killed\b",
        "The machine's memory was too small: ask for more, or use fewer train.workers (each "
        "holds its own part of the data).",
    ),
    (
        r"alphabets? mismatch|codec alphabets|Option `--resize`",
        "The base model cannot write some characters of the data: train.resize=union adds them.",
    ),
    (
        r"class mapping differ",
        "The base model knows other line or region types: train.resize=union adds those of the "
        "data, segmentation.line_classes renames them.",
    ),
    (
        r"No training data|No valid training data|dataset is empty",
        "No line was left to train on: deepsynth check says which lines are unusable, and why.",
    ),
    (
        r"Model did not improve",
        "No pass was better than the one before: use a smaller train.learning_rate, or check "
        "that the transcriptions belong to the lines.",
    ),
    (
        r"No such option|no such option|Got unexpected extra argument",
        "This ketos does not know the option: its version is older or newer than it says. Use "
        "`kraken.toolchain: managed`.",
    ),
    (
        r"DUE TO TIME LIMIT|CANCELLED",
        "The time limit was reached: ask for more, and go on with deepsynth run --resume.",
    ),
    (
        r"operator torchvision::nms does not exist",
        "torchvision and torch do not fit together: deepsynth setup htr mends the managed "
        "environment.",
    ),
    (
        r"Invalid device|No CUDA GPUs|no NVIDIA driver|not compiled with CUDA",
        "There is no GPU here: set train.device=cpu, or ask the cluster for a GPU.",
    ),
    (
        r"No loader found|is not a regular file|Failure parsing model|InvalidModel",
        "The base model cannot be read: it is damaged, or needs a newer Kraken. Older versions "
        "read .mlmodel only.",
    ),
    (
        r"DecompressionBomb",
        "A scan is too large to be decoded: scale it down together with its coordinates.",
    ),
)


def train(run: Run) -> None:
    """Train with the ketos found on the path, and keep its best model."""
    job, manifest = htr_job(run), read_manifest(run)
    dialect = find_dialect(job)
    work = run.work("train")
    folder = run.path / "data"
    if job.task == "segmentation":
        folder = ground_truth_folder(run, "train")
    write_lists(work, manifest, folder)
    argv = train_command(
        dialect,
        job,
        ketos=job.kraken.ketos,
        training=Path("train.txt"),
        validation=Path("validation.txt"),
        base=base_model(run, "train"),
        output=Path("models"),
        auto="AUTO_DEVICE",
    )
    script = f"step=train\n{training_script(job, dialect)}"
    shell = ["bash", "-lec" if job.kraken.setup else "-ec"]
    log = _run(run, [*shell, script, str(run.path), "", *argv])
    models = work / "models"
    keep_best(run, job, manifest, models, log, dialect.major)


def collect(run: Run) -> None:
    """Keep the best model ketos left, and write the curve its log tells of."""
    job, manifest = htr_job(run), read_manifest(run)
    log = run.path / "logs" / "ketos.log"
    if not log.is_file():
        raise StepFailed("the log of ketos is not here", where=log, hint="Fetch the run again.")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    curve = [values for line in lines if (values := read_log_line(line))]
    for epoch, values in enumerate(curve, start=1):
        run.metric("train", epoch, {**values, "epoch": epoch})
    keep_best(run, job, manifest, run.path / "ketos", lines, int(job.kraken.version or 0))


def write_lists(target: Path, manifest: Manifest, folder: Path = Path()) -> None:
    """Write `train.txt` and `validation.txt`: the files of each split, which lie in `folder`."""
    for split in ("train", "validation"):
        part = manifest.parts[split]
        names = [part.arrow] if part.arrow else part.pages
        durable.write_text(target / f"{split}.txt", "".join(f"{folder / name}\n" for name in names))


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
    say("+", " ".join(argv), flush=True)
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
                say(line, end="", flush=True)
                if line.startswith(GOES_ON):
                    epoch = len(run.metrics())
                tail = [*tail, line.rstrip()][-_TAIL:]
                values = read_log_line(line)
                if values:
                    if not epoch:
                        run.rewind_metrics("train", -1)
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
            scored = _recorded_score(read_model(path))
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


def _recorded_score(model: ModelFile) -> float | None:
    """The last validation score a model file knows of: in its name, or inside."""
    named = re.match(r"best_(\d+\.\d+|\d+)\.[a-z]+$", model.path.name)
    return float(named[1]) if named else model.accuracy


def advise(log: str) -> str | None:
    """What to do about the first known trouble in a log; None when none is known."""
    for pattern, text in _ADVICE:
        if re.search(pattern, log, re.IGNORECASE):
            return text
    return None
