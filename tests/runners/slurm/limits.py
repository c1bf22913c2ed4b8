"""Trainings that run into their time limit: `python -m ... FOLDER`, Slurm in FOLDER.

Slurm counts in minutes: a process of its own, so that other tests go on meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from deepsynth.errors import StepFailed
from deepsynth.run.step import Resources
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Site
from tests.servers.slurm import running_slurm
from tests.support.toy import counted, counting, make_run, shell

TOTAL = 65
MINUTE = Resources(cpus=1, memory_gb=0.2, minutes=1)


def main() -> None:
    folder = Path(sys.argv[1])
    runs = {
        "chained": (Site(time=1, max_time=5), counting(TOTAL, 1.0)),
        "short": (Site(time=1), shell("train", "sleep 600", resources=MINUTE)),
    }
    errors: dict[str, Exception] = {}

    def go(name: str) -> None:
        site, step = runs[name]
        run = make_run(folder / name, step)
        try:
            SlurmRunner("here", site, lambda line: None).run(run, run.plan.steps)
        except StepFailed as error:
            errors[name] = error

    with running_slurm(folder / "slurm") as conf:
        os.environ["SLURM_CONF"] = str(conf)
        threads = [threading.Thread(target=go, args=(name,)) for name in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    log = (folder / "chained" / "logs" / "train.log").read_text()
    print(log, errors)
    assert (folder / "chained" / "model" / "weights").read_text() == counted(TOTAL)
    assert log.count("from ") >= 2
    assert list(errors) == ["short"]
    assert "time limit" in str(errors["short"])
    assert "max_time" in str(errors["short"])


if __name__ == "__main__":
    main()
