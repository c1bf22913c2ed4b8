"""Preemption, time limits, stops: training goes on, with the result of an uninterrupted run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deepsynth.errors import Stopped
from deepsynth.runners.slurm import SlurmRunner
from tests.runners.slurm.conftest import PREEMPTIONS, Survivor
from tests.runners.slurm.toy import counted, counting, make_run, shell
from tests.servers.slurm import why_not


def asked(survivors: list[Survivor]) -> list[Survivor]:
    if reason := why_not():
        pytest.skip(reason)
    return survivors


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PREEMPTIONS)), ids=map("-".join, PREEMPTIONS))
def test_preempted_training_goes_on_whatever_the_site_does(
    survivors: list[Survivor], number: int
) -> None:
    asked(survivors)[number].check()


@pytest.mark.slow
def test_time_limit_is_chained_within_the_budget(survivors: list[Survivor]) -> None:
    asked(survivors)[-1].check()


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
