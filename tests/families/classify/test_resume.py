"""Killed, stopped, tampered with, out of disk: what a run is worth afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.cli import run_command
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from tests.support.tickets import (
    curve,
    deepsynth,
    kinds,
    run_module,
    start,
    wait_until,
    write_job,
)

MADE = ("data", "model", "training", "evaluation", "metrics.json")


def assert_same(run: Path, finished: Path, *names: str) -> None:
    for name in names:
        assert durable.digest(run / name) == durable.digest(finished / name), name
    if "training" in names:
        assert curve(run) == curve(finished)


BOTH_WAYS = pytest.mark.parametrize(
    "how",
    [
        pytest.param([], id="warm"),
        pytest.param(["--cold"], id="cold", marks=pytest.mark.thorough),
    ],
)
"""Steps forked from a warm process, and steps started anew."""


def descendants(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def kill_all(process: subprocess.Popen[str]) -> None:
    """As when the power fails: the runner and its step are gone at once."""
    for pid in [process.pid, *descendants(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def checkpoint(run: Path, update: int) -> Path:
    return run / "steps" / "train" / "work" / f"checkpoint-{update}" / "complete.json"


def start_training(run: Path, how: list[str] | None = None) -> subprocess.Popen[str]:
    """Begin the training of a run and let it make some updates."""
    process = start("run", "--resume", run, *(how or []))
    wait_until(checkpoint(run, 12).exists, what="a checkpoint")
    return process


def resumed_at(run: Path) -> int:
    (event,) = [event for event in Run(run).events() if event["kind"] == "resumed"]
    return event["update"]


@pytest.mark.parametrize("how", [[], ["--cold"]], ids=["warm", "cold"])
def test_killed_in_training_it_goes_on_as_if_nothing_had_happened(
    untrained: Path, finished: Path, how: list[str]
) -> None:
    kill_all(start_training(untrained, how))
    wait_until(lambda: not Run(untrained).is_locked())
    assert run_state(Run(untrained)).state == "interrupted"
    last = max(
        int(path.parent.name[11:]) for path in untrained.glob("steps/train/work/*/complete.json")
    )
    half = checkpoint(untrained, last).parent / "model.safetensors"
    half.write_bytes(half.read_bytes()[:5000])
    done = deepsynth("train", untrained)
    assert done.returncode == 0, done.stderr
    assert 0 < resumed_at(untrained) < last
    assert f"Training: goes on from update {resumed_at(untrained)}" in done.stderr
    assert_same(untrained, finished, "data", "model", "training")


@BOTH_WAYS
def test_ctrl_c_saves_and_exits_130(untrained: Path, finished: Path, how: list[str]) -> None:
    process = start_training(untrained, how)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Go on: deepsynth run --resume {untrained}" in err
    assert "Traceback" not in out + err
    assert run_state(Run(untrained)).state == "stopped"
    assert kinds(untrained, "train") == ["step_started", "step_stopped"]
    assert deepsynth("run", "--resume", untrained, "--quiet", *how).returncode == 0
    assert resumed_at(untrained) >= 12
    assert_same(untrained, finished, *MADE)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["SIGTERM", "deepsynth stop"])
def test_asked_to_stop_it_saves_too(untrained: Path, finished: Path, by: str) -> None:
    process = start_training(untrained)
    if by == "SIGTERM":
        process.terminate()
    else:
        # In this process: another interpreter might start only when the training is over.
        assert run_command(["stop", str(untrained)]) == 0
        assert run_state(Run(untrained)).state == "stopped"
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert deepsynth("run", "--resume", untrained, "--quiet").returncode == 0
    assert_same(untrained, finished, *MADE)


@pytest.mark.slow
@BOTH_WAYS
def test_a_step_that_loses_its_runner_saves_by_itself(
    untrained: Path, finished: Path, how: list[str]
) -> None:
    process = start_training(untrained, how)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not Run(untrained).is_locked(), 20, "the step to end")
    assert deepsynth("train", untrained, "--quiet").returncode == 0
    assert resumed_at(untrained) >= 12
    assert_same(untrained, finished, "model", "training")


@pytest.mark.slow
def test_killed_in_each_step_nothing_with_a_receipt_is_lost(
    tmp_path: Path, tickets_job: Path, finished: Path
) -> None:
    run = tmp_path / "run"
    arguments: list[object] = ["run", tickets_job, "--runs", tmp_path, "--name", "run"]
    for name in ("prepare", "check", "train", "evaluate"):
        process = start(*arguments)
        wait_until(lambda n=name: (run / "logs" / f"{n}.log").exists(), what=name)
        kill_all(process)
        wait_until(lambda: not Run(run).is_locked())
        assert kinds(run, name) == ["step_started"]
        # A killed step may leave anything where its outputs go.
        for output in Run(run).plan.step(name).outputs:
            if "." not in output:
                (run / output).mkdir(exist_ok=True)
                (run / output / "half-written").write_text("half")
        arguments = ["run", "--resume", run]
    assert deepsynth(*arguments).returncode == 0
    for name in ("prepare", "check", "train", "evaluate"):
        assert kinds(run, name).count("step_done") == 1
    assert_same(run, finished, *MADE)


@pytest.mark.slow
def test_the_same_job_started_cold_gives_the_same_bytes(tmp_path: Path, finished: Path) -> None:
    job = write_job(tmp_path / "elsewhere")
    assert deepsynth("run", job, "--runs", tmp_path, "--name", "again", "--cold").returncode == 0
    assert_same(tmp_path / "again", finished, *MADE)


def tamper(run: Path) -> None:
    """Make the model answer otherwise: the classifier's rows change places."""
    import torch
    from safetensors.torch import load_file, save_file

    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = torch.roll(weights[name], 1, dims=0)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_model_that_scores_otherwise_after_loading_fails_the_step(copied: Path) -> None:
    tamper(copied)
    done = run_module("deepsynth.run.step", copied, "evaluate")
    assert done.returncode == 1
    assert "the exported model is not the trained one: accuracy" in done.stderr
    assert "Do not use this model" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (copied / "metrics.json").exists()
    assert run_state(Run(copied)).state == "failed"


@pytest.mark.slow
def test_a_run_never_trusts_a_model_that_was_changed(copied: Path, finished: Path) -> None:
    tamper(copied)
    assert deepsynth("run", "--resume", copied, "--quiet").returncode == 0
    assert kinds(copied, "check")[-1] == "step_skipped"
    assert kinds(copied, "train")[-2:] == ["step_started", "step_done"]
    assert_same(copied, finished, *MADE)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB: room for a run, but not for its checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if (
        not mounted
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=False
        ).returncode
    ):
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_out_of_disk_in_training_it_says_so_and_goes_on_later(
    untrained: Path, finished: Path, small_disk: Path
) -> None:
    run = Path(shutil.copytree(untrained, small_disk / "run"))
    done = deepsynth("train", run, "--quiet")
    assert done.returncode == 2
    assert "there is no space left" in done.stderr
    assert f"deepsynth run --resume {run}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (run / "model").exists()
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    assert deepsynth("train", run, "--quiet").returncode == 0
    assert_same(run, finished, "model", "training")
