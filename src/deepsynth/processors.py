"""How many cores this process has: on a shared machine fewer than the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container its share of processor time: quota and period, or `max`."""


def available() -> int:
    """Cores for workers: those Slurm or a container gave, at least one.

    A node of 64 cores of which 4 were asked would else be given 64 workers, whose memory is more
    than was asked for, too.
    """
    whole = os.cpu_count() or 1
    cores = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else whole]
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdigit():
        cores.append(int(given))
    try:
        quota, period = map(int, CGROUP.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        pass  # no container, or no limit
    else:
        cores.append(math.ceil(quota / period))
    return max(1, min(cores))
