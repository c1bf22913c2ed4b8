"""The whole journey on the Slurm of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.errors import RequestError
from deepsynth.run.receipts import is_done, step_key
from deepsynth.run.run import Run
from deepsynth.runners.slurm.runner import SlurmRunner, attach
from tests.support.toy import SMALL, counted, counting, make_run, shell


def test_chain_runs_to_receipts(here: SlurmRunner, tmp_path: Path) -> None:
    prepare = shell("prepare", 'mkdir -p "$0/data"; echo 20 > "$0/data/n"', outputs=["data"])
    run = make_run(tmp_path / "été 1", prepare, counting(20, after=["prepare"], inputs=["data"]))
    here.run(run, run.plan.steps)
    assert (run.path / "model" / "weights").read_text() == counted(20)
    for step in run.plan.steps:
        assert is_done(run, step, step_key(run, step))
    assert "trained 20" in "\n".join(here.logs(run, "train"))
    kinds = [event["kind"] for event in run.events()]
    assert kinds.count("step_done") == 2
    assert kinds[-1] == "run_done"


def test_a_step_longer_than_its_partition_takes_several_allocations(
    here: SlurmRunner, tmp_path: Path
) -> None:
    day = SMALL.model_copy(update={"minutes": 1440})
    run = make_run(tmp_path / "run", counting(5, resources=day))
    here.run(run, run.plan.steps)
    script = (run.path / "slurm" / "train.sbatch").read_text()
    assert "#SBATCH --time=01:00:00\n" in script
    assert "24 allocations may be used" in script
    here.site = here.site.model_copy(update={"time": "2-0"})
    with pytest.raises(RequestError, match="2-0 is more than the 1:00:00 that the partition"):
        here.submit(make_run(tmp_path / "again", counting(5)))


def test_a_moved_run_and_a_fetched_log_are_found(here: SlurmRunner, tmp_path: Path) -> None:
    run = make_run(tmp_path / "before", counting(5))
    here.run(run, run.plan.steps)
    moved = Run(run.path.rename(tmp_path / "after"))
    assert attach(moved).status(moved).done()
    assert "trained 5" in list(attach(moved).logs(moved, "train"))
