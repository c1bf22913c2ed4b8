"""A training that another job pushes out of its node: `python -m ... FOLDER SIGNAL GRACE PREEMPT`.

Its Slurm is in FOLDER; the rest are settings of tests/servers/slurm/start.sh.
A process of its own, so that several Slurms with other settings are tried at the same time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Site
from tests.servers.slurm import running_slurm
from tests.support.toy import GPU, counted, counting, make_run


def main() -> None:
    folder, (signalled, grace, preempt) = Path(sys.argv[1]), sys.argv[2:]
    # Slurm looks at a grace time that is over every half minute or so: the training must last.
    updates = 400 if grace == "3" else 80
    settings = {"SLURM_SIGNAL": signalled, "SLURM_GRACE": grace, "SLURM_PREEMPT": preempt}
    with running_slurm(folder / "slurm", **settings) as conf:
        os.environ["SLURM_CONF"] = str(conf)
        run = make_run(folder / "run", counting(updates, 0.1, resources=GPU))
        runner = SlurmRunner("here", Site(partition="publicgpu", gres="gpu:2"))
        runner.submit(run)
        work = run.path / "steps" / "train" / "work" / "checkpoint"
        while not work.exists():
            time.sleep(0.1)
        other = ["-p", "grantgpu", "--gres=gpu:2", "-o", "/dev/null", "--wrap", "sleep 2"]
        subprocess.run(["sbatch", *other], check=True, cwd=folder)
        runner.follow(run)
        runner.fetch(run)
        log = (run.path / "logs" / "train.log").read_text()
        print(log)
        print(*(path.read_text() for path in (run.path / "slurm").glob("*.out")))
        starts = [int(line.split()[1]) for line in log.splitlines() if line.startswith("from")]
        assert starts[0] == 0
        assert len(starts) > 1
        assert all(start > 0 for start in starts[1:]), "it began again from nothing"
        assert (run.path / "model" / "weights").read_text() == counted(updates)


if __name__ == "__main__":
    main()
