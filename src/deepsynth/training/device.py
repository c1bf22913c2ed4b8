"""Whether a training that could use a GPU was given one, said before it spends hours without."""

from __future__ import annotations

import os
from typing import Literal

from deepsynth.printing import say
from deepsynth.run.run import Run

Gpus = Literal["auto", 0, 1]
"""GPUs a job asks of a computing centre: one where the site offers any, none, or one in any case.
"""

ASKED = "DEEPSYNTH_GPUS"
"""Set by a runner where there are GPUs: `asked gpu:1`, or `not asked` where the site says nothing.
"""


def tell_device(run: Run, *, gpu: bool, step: str = "train") -> None:
    """Say that a step works on a CPU though there are GPUs where it runs, and why.

    Args:
        run: Its run; gets a note, which displays show at once.
        gpu: Whether it found a GPU.
        step: Its name.
    """
    told = os.environ.get(ASKED)
    if gpu or not told:
        return
    asked, _, what = told.partition(" ")
    why = (
        f"{what} was asked for, but the environment finds no GPU. Was its torch built for CPUs "
        "only? Look with deepsynth doctor --on SITE."
        if asked == "asked"
        else "there are GPUs here, and none was asked for. Write gres: gpu:1 into sites.yaml, or "
        "gpus: 1 into the job."
    )
    text = f"{step}: on the CPU, which may take many times as long; {why}"
    say(text, flush=True)
    run.event("note", step=step, text=text)
