"""Two processes train one model under torchrun, as two GPUs would; here on a CPU, over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepsynth.families.summarize.lora import load_adapter
from deepsynth.families.summarize.model import load_model
from deepsynth.families.summarize.prepared import read_samples
from deepsynth.run.run import Run
from deepsynth.training.checkpoints import is_complete
from tests.families.summarize.test_bad_input import make_run, rows


@pytest.mark.slow
def test_two_processes_stop_together_go_on_and_make_one_model(tmp_path: Path) -> None:
    train = {
        "preset": "balanced",
        "batch_size": 2,
        "gradient_accumulation": 1,
        "epochs": 105,
        "learning_rate": 0.01,
        "evaluations": 2,
        "generate_samples": 0,
        "cache_dir": str(tmp_path / "cache"),
    }
    run = make_run(tmp_path, rows(8), train=train, gpus=2)
    command = [sys.executable, "-m", "deepsynth.families.summarize.train", str(run.path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        deadline = time.monotonic() + 300
        while not run.metrics() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=120)
    assert child.returncode == 130, said
    (saved,) = run.work("train").glob("checkpoint-*")
    assert is_complete(saved)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [event for event in run.events() if event["kind"] == "resumed"]
    # 8 samples, 2 processes with batches of 2: two updates an epoch, every second one written
    # down, and the 105th, which is saved.
    curve = [m for m in run.metrics() if "loss" in m]
    updates = [m["update"] for m in curve]
    assert updates == sorted(set(updates))
    assert {105, 210} <= set(updates)
    assert curve[-1]["loss"] < curve[0]["loss"] / 3
    load_adapter(load_model(str(run.path / "base")), run.path / "model" / "adapter")
    summary = json.loads((run.path / "training" / "summary.json").read_text())
    assert summary["updates"] == 210
    assert len(read_samples(Run.open(run.path), "train", "train")) == 8
