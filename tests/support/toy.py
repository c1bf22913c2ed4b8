"""Runs made of small steps, so that a runner is tested without any family."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deepsynth.job.job import Job, ResolvedJob
from deepsynth.job.settings import Setting
from deepsynth.run.run import Run
from deepsynth.run.step import Plan, Resources, Step

SMALL = Resources(cpus=1, memory_gb=0.2, minutes=10)
GPU = Resources(cpus=1, memory_gb=0.2, minutes=10, gpus=1)

COUNT = """
import json, os, pathlib, signal, sys, time
run, total, pause = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
step = os.environ["DEEPSYNTH_STEP"]
work = run / "steps" / step / "work"
work.mkdir(parents=True, exist_ok=True)
checkpoint = work / "checkpoint"
done, digest = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 1)
print("from", done, flush=True)

def save(*_):
    checkpoint.with_suffix(".new").write_text(json.dumps([done, digest]))
    checkpoint.with_suffix(".new").replace(checkpoint)

def stop(*_):
    save()
    print("saved at", done, flush=True)
    sys.exit(130)

signal.signal(signal.SIGTERM, stop)
while done < total:
    time.sleep(pause)
    done, digest = done + 1, digest * 31 % 1000003
    if done % 10 == 0:
        save()
    while done == 10 and (run / "hold").exists():
        time.sleep(0.02)
(run / "model").mkdir(exist_ok=True)
(run / "model" / "weights").write_text(str(digest))
print("trained", done, flush=True)
"""
"""A training whose result depends on every update; saves when asked and every ten updates.

It makes no more than ten while there is a file `hold` in its run folder."""


def counted(total: int) -> str:
    """What an uninterrupted `COUNT` writes."""
    digest = 1
    for _ in range(total):
        digest = digest * 31 % 1000003
    return str(digest)


def shell(name: str, script: str, **fields: object) -> Step:
    """A step that is a line of bash; `$0` is the run folder."""
    values = {"resources": SMALL, "argv": ["bash", "-ec", script, "{run}"]} | fields
    return Step.model_validate({"name": name} | values)


def counting(total: int, pause: float = 0.05, **fields: object) -> Step:
    """The training step."""
    argv = ["{python}", "-c", COUNT.replace("{", "{{").replace("}", "}}")]
    values = {"argv": [*argv, "{run}", str(total), str(pause)], "resources": SMALL} | fields
    return Step.model_validate(
        {"name": "train", "title": "Training", "outputs": ["model"]} | values
    )


DRIVER = """
import signal
import sys
from pathlib import Path
from deepsynth.run.execution import raise_stopped
from deepsynth.run.run import Run
from deepsynth.runners import get_runner
signal.signal(signal.SIGTERM, raise_stopped)
run = Run(Path(sys.argv[2]))
get_runner(sys.argv[1]).run(run, run.plan.steps, lambda: None)
"""


def drive(on: str, run: Run) -> subprocess.Popen[bytes]:
    """Let a runner do it in a process of its own, as a second terminal would."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, on, str(run.path)], stderr=subprocess.DEVNULL
    )


def make_run(path: Path, *steps: Step) -> Run:
    """A run folder with these steps."""
    settings = {"family": Setting("toy", "file")}
    job = ResolvedJob(Job(family="toy"), settings, "family: toy\n", path.name)
    return Run.create(path, job, Plan(steps=list(steps)))
