"""The whole journey on the Slurm of this machine."""

from __future__ import annotations

from pathlib import Path

from deepsynth.receipts import is_done, step_key
from deepsynth.runners.slurm import SlurmRunner
from tests.runners.slurm.toy import counted, counting, make_run, shell


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
