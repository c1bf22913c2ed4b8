"""Preemption, time limits, stops: training goes on, with the result of an uninterrupted run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsynth.errors import StepFailed, Stopped
from deepsynth.runners.slurm import Site, SlurmRunner
from deepsynth.step import Resources
from tests.runners.slurm.toy import counted, counting, make_run, shell
from tests.servers.slurm import why_not

PREEMPTIONS = [
    {"SLURM_SIGNAL": signal, "SLURM_GRACE": grace, "SLURM_PREEMPT": mode}
    for signal, grace, mode in (
        ("1", "30", "REQUEUE"),
        ("1", "0", "REQUEUE"),
        ("0", "0", "REQUEUE"),
        ("0", "3", "REQUEUE"),
        ("1", "0", "CANCEL"),
        ("0", "0", "CANCEL"),
        ("1", "30", "CANCEL"),
    )
]
Children = list[tuple[Path, subprocess.Popen[bytes]]]


@pytest.fixture(scope="module")
def preempted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """A preempted training in each kind of site; they go on while other tests wait for Slurm."""
    if reason := why_not():
        pytest.skip(reason)
    children: Children = []
    for settings in PREEMPTIONS:
        folder = tmp_path_factory.mktemp("preempted")
        argv = ["nice", sys.executable, "-m", "tests.runners.slurm.preemption", str(folder)]
        with (folder / "log").open("wb") as output:
            child = subprocess.Popen(
                argv, env=os.environ | settings, stdout=output, stderr=output, cwd=Path.cwd()
            )
        children.append((folder, child))
    yield children
    for _, child in children:
        child.terminate()
        child.wait()


@pytest.mark.slow
def test_time_limit_is_chained_within_the_budget(
    preempted: Children, here: SlurmRunner, tmp_path: Path
) -> None:
    total = 65
    runs = {
        "chained": (Site(time=1, max_time=5), make_run(tmp_path / "chained", counting(total, 1.0))),
        "short": (
            Site(time=1),
            make_run(
                tmp_path / "short",
                shell("train", "sleep 600", resources=Resources(cpus=1, memory_gb=0.2, minutes=1)),
            ),
        ),
    }
    errors: dict[str, Exception] = {}

    def go(name: str) -> None:
        site, run = runs[name]
        try:
            SlurmRunner("here", site, lambda line: None).run(run, run.plan.steps)
        except StepFailed as error:
            errors[name] = error

    threads = [threading.Thread(target=go, args=(name,)) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chained = runs["chained"][1]
    log = (chained.path / "logs" / "train.log").read_text()
    assert (chained.path / "model" / "weights").read_text() == counted(total), log
    assert log.count("from ") >= 2
    assert list(errors) == ["short"]
    assert "time limit" in str(errors["short"])
    assert "max_time" in str(errors["short"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", range(len(PREEMPTIONS)), ids=["-".join(settings.values()) for settings in PREEMPTIONS]
)
def test_preempted_training_goes_on_whatever_the_site_does(
    preempted: Children, number: int
) -> None:
    folder, child = preempted[number]
    assert child.wait(200) == 0, (folder / "log").read_text()


def test_stop_saves_and_a_second_submission_goes_on(here: SlurmRunner, tmp_path: Path) -> None:
    after = shell("after", "true", after=["train"])
    run = make_run(tmp_path / "run", counting(40, 0.1), after)
    here.submit(run)
    work = run.path / "steps" / "train" / "work" / "checkpoint"
    while not work.exists():
        time.sleep(0.05)
    here.stop(run)
    snapshot = here.status(run)
    assert not snapshot.active
    assert snapshot.kind("after") == "failed"
    with pytest.raises(Stopped):
        here.follow(run)
    here.run(run, run.plan.steps)
    log = (run.path / "logs" / "train.log").read_text()
    assert "saved at" in log
    assert log.count("from ") == 2
    assert (run.path / "model" / "weights").read_text() == counted(40)
