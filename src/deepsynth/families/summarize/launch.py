"""Step `train` on several GPUs: one process a GPU, started and watched by torchrun.

torchrun hands no descriptors on to what it starts, so this process is the one that notices the end
of its runner; it then ends the others, which save first.
"""

from __future__ import annotations

import os
import sys

from deepsynth.errors import Stopped
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.run.execution import LIFELINE, step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Train the model of a run in as many processes as its job asks for GPUs."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    job = run.job(SummarizeJob)
    os.environ.pop(LIFELINE, None)
    training = ["-m", "deepsynth.families.summarize.train", str(run.path)]
    try:
        torchrun(["--standalone", f"--nproc-per-node={job.gpus}", *training])
    except SignalException:
        raise Stopped("stopped; the checkpoint is saved.") from None
    except ChildFailedError as error:
        # What went wrong was said by the process that failed.
        _, first = error.get_first_failure()
        sys.exit(max(1, first.exitcode))


if __name__ == "__main__":
    step_process(main)
