"""Preemption, time limits, stops: training goes on, with the result of an uninterrupted run."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.errors import Stopped
from deepsynth.run.step import Resources
from deepsynth.runners.slurm.runner import SlurmRunner
from tests.runners.slurm.conftest import Survivor
from tests.support.tickets import wait_until
from tests.support.toy import COUNT, counted, counting, make_run, shell


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "preemption-1-30-REQUEUE",
        "preemption-0-0-REQUEUE",
        "preemption-0-0-CANCEL",
        pytest.param("preemption-1-0-REQUEUE", marks=pytest.mark.thorough),
        pytest.param("preemption-0-3-REQUEUE", marks=pytest.mark.thorough),
        pytest.param("preemption-1-0-CANCEL", marks=pytest.mark.thorough),
        pytest.param("preemption-1-30-CANCEL", marks=pytest.mark.thorough),
    ],
)
def test_preempted_training_goes_on_whatever_the_site_does(
    survivors: dict[str, Survivor], kind: str
) -> None:
    """Sites differ: whether users' signals are sent, seconds of grace, what preempting does."""
    survivors[kind].check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["limits"])
def test_time_limit_is_chained_within_the_budget(survivors: dict[str, Survivor], kind: str) -> None:
    survivors[kind].check()


def test_stop_saves_and_a_second_submission_goes_on(here: SlurmRunner, tmp_path: Path) -> None:
    after = shell("after", "true", after=["train"])
    run = make_run(tmp_path / "run", counting(40, 0.01), after)
    (run.path / "hold").touch()
    here.submit(run)
    wait_until((run.path / "steps" / "train" / "work" / "checkpoint").exists)
    here.stop(run)
    (run.path / "hold").unlink()
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


def test_an_array_is_stopped_element_by_element(here: SlurmRunner, tmp_path: Path) -> None:
    script = COUNT.replace('"checkpoint"', 'os.environ["DEEPSYNTH_INDEX"]')
    script = script.replace('(run / "model").mkdir(exist_ok=True)', "")
    script = script.replace('"model" / "weights"', '("made-" + os.environ["DEEPSYNTH_INDEX"])')
    argv = ["{python}", "-c", script.replace("{", "{{").replace("}", "}}"), "{run}", "30", "0.01"]
    elements = Resources(cpus=3, memory_gb=0.2, minutes=10)
    train = shell("train", "", argv=argv, array=4, outputs=["made-{index}"], resources=elements)
    run = make_run(tmp_path / "run", train)
    (run.path / "hold").touch()
    here.submit(run)
    work = run.path / "steps" / "train" / "work"
    wait_until(lambda: len(list(work.glob("?"))) == 2)  # the node has cores for two of them
    here.stop(run)
    (run.path / "hold").unlink()
    told = here.status(run)
    assert [e.state for e in told.elements] == ["CANCELLED"] * 4
    assert not list(run.path.glob("made-*"))
    here.run(run, run.plan.steps)
    log = (run.path / "logs" / "train.log").read_text().splitlines()
    assert sum(line.startswith("saved at") for line in log) == 2
    assert sum(line.startswith("from 0") for line in log) == 4
    assert [path.read_text() for path in sorted(run.path.glob("made-*"))] == [counted(30)] * 4
