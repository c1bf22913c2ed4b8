"""Several processes train one model: how they start, stop at the same update, and wait.

torchrun starts one process a GPU and watches them. It hands no descriptors on to what it starts, so
the process that starts them is the one that notices the end of its runner; it then ends the others,
which save first.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

import torch
import torch.distributed as group
from transformers import TrainerCallback

from deepsynth.errors import Stopped
from deepsynth.run.execution import LIFELINE
from deepsynth.run.run import Run
from deepsynth.training.callbacks import StopSwitch


def world_size() -> int:
    """Processes that train together, as torchrun says; 1 for one that it did not start."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_one_of_several() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process writes for all."""
    return os.environ.get("RANK", "0") == "0"


def start_several(module: str, run: Run, count: int) -> None:
    """Run `python -m module RUN` in several processes that train together.

    Raises:
        Stopped: They were asked to stop, and have saved.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    os.environ.pop(LIFELINE, None)
    try:
        torchrun(["--standalone", f"--nproc-per-node={count}", "-m", module, str(run.path)])
    except SignalException:
        raise Stopped("stopped; the checkpoint is saved.") from None
    except ChildFailedError as error:
        # What went wrong was said by the process that failed.
        _, first = error.get_first_failure()
        sys.exit(max(1, first.exitcode))


class SharedSwitch(StopSwitch):
    """A switch that several processes press at the same update.

    The signal reaches them one after the other; one that stopped an update before the rest would
    leave these waiting for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def agree(self) -> None:
        """Press it if any process was asked to stop; all of them must call this."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        asked = torch.tensor(int(self._asked), device=device)
        group.all_reduce(asked, op=group.ReduceOp.MAX)
        self.pressed = bool(asked)


class AgreeOnStop(TrainerCallback):
    """Comes before every callback that looks at the switch."""

    def __init__(self, switch: SharedSwitch) -> None:
        self._switch = switch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One number goes around."""
        self._switch.agree()
