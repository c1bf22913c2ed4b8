"""Training by a plain `ketos` command, for sites that have Kraken and nothing of ours.

With `kraken: {toolchain: site, version: 5}` the training is two steps: `ketos`, a command line
that needs bash and Kraken only, and `train`, which reads what it left: its best model and, from
its log, the curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.dialects import DIALECTS, train_command
from deepsynth.families.htr.kraken.site import keep_best, read_log_line
from deepsynth.families.htr.prepared import Manifest, htr_job, read_manifest
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.run.step import Resources, Step

_SCRIPT = """
mkdir -p "$0/steps/ketos/work/models"
cd "$0/steps/ketos/work"
for split in train validation; do
  while IFS= read -r name; do echo "$1/$name"; done <"$0/data/$split.txt" >"$split.txt"
done
shift
export COLUMNS=200 NO_COLOR=1 # its log is read: no line may be broken
"$@" &
ketos=$!
trap 'kill -USR1 "$ketos"' USR1 # it saves what it has, and goes on there the next time
trap 'kill -TERM "$ketos"' TERM
while kill -0 "$ketos" 2>/dev/null; do
  code=0
  wait "$ketos" || code=$?
done
[ "$code" -eq 0 ] || exit "$code"
mkdir -p "$0/ketos"
cp models/*best* "$0/ketos/" 2>/dev/null || cp models/* "$0/ketos/"
"""
"""Lists the files of each split, which lie in `$1`, runs ketos, and keeps its best model.

Until version 6, ketos marks the best only where it stops early; else all models are kept, and the
next step chooses.
"""


def write_lists(folder: Path, manifest: Manifest) -> None:
    """Write `train.txt` and `validation.txt`: the names of the files of each split."""
    for split in ("train", "validation"):
        part = manifest.parts[split]
        names = [part.arrow] if part.arrow else part.pages
        durable.write_text(folder / f"{split}.txt", "".join(f"{name}\n" for name in names))


def training_steps(
    job: HtrJob, sources: dict[str, str], settings: dict[str, Any], resources: Resources
) -> list[Step]:
    """The steps `ketos` and `train` of a plan.

    Args:
        job: The job; `kraken.version` is set.
        sources: What the training reads outside the run: the base model, for segmentation also
            the ground truth.
        settings: What decides the model.
        resources: Of the training.

    Raises:
        RequestError: The job asks for something this version of ketos cannot do.
    """
    dialect = DIALECTS[int(job.kraken.version or 0)]
    base = Path("\0model" + Path(job.model).suffix) if job.model else None
    argv = train_command(
        dialect,
        job,
        ketos=job.kraken.ketos,
        training=Path("train.txt"),
        validation=Path("validation.txt"),
        base=base,
        output=Path("models"),
    )
    argv = [part.replace("{", "{{").replace("}", "}}") for part in argv]
    argv = ["{sources[model]}" if part == str(base) else part for part in argv]
    if job.train.workers == 0:
        argv[argv.index("--workers") + 1] = "{cpus}"
    folder = "{run}/data" if job.task == "recognition" else "{sources[ground_truth]}"
    script = "\n".join(["", *job.kraken.setup]) + _SCRIPT
    script = script.replace("{", "{{").replace("}", "}}")
    shell = ["bash", "-lec" if job.kraken.setup else "-ec"]
    return [
        Step(
            name="ketos",
            title="Training with ketos",
            argv=[*shell, script, "{run}", folder, *argv],
            after=["prepare"],
            sources=sources,
            inputs=["data"],
            outputs=["ketos"],
            settings=settings,
            resources=resources,
        ),
        Step(
            name="train",
            title="Reading what ketos left",
            argv=["{python}", "-m", "deepsynth.families.htr.kraken.plain", "{run}"],
            after=["ketos"],
            inputs=["data", "ketos"],
            outputs=["model", "training"],
            settings=settings,
            resources=Resources(memory_gb=1, minutes=10),
        ),
    ]


def main(run: Run) -> None:
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


if __name__ == "__main__":
    step_process(main)
