"""What a step printed at a site, read from there while it grows."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator

from deepsynth.run.run import Run
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.record import need_record

PAUSE = 1.0
"""Seconds between two looks at a log that grows."""


def step_log(
    run: Run, step: str, connection: Connection, goes_on: Callable[[], bool]
) -> Iterator[str]:
    """Lines of a step's log; the one here once it was fetched.

    Args:
        run: The run.
        step: Name of the step; of an array, the logs of all its elements are read.
        connection: The site.
        goes_on: Asked before each look; once it is false, the look that follows is the last.

    Raises:
        ConnectionLost: The site cannot be reached.
    """
    record = need_record(run)
    here = run.path / "logs" / f"{step}.log"
    if record.fetched and here.exists():
        yield from here.read_text(encoding="utf-8", errors="replace").splitlines()
        return
    folder = shlex.quote(record.folder)
    script = (
        f"cd {folder} && {{ cat logs/{step}.log || cat logs/{step}-*.log || "
        f'cat "$(ls -t slurm/{step}-*.out | head -n 1)"; }} 2>/dev/null | tail -n +'
    )
    seen = 0
    while True:
        last = not goes_on()
        *lines, rest = connection.run(f"{script}{seen + 1}").stdout.split("\n")
        seen += len(lines)
        yield from lines
        if last:
            if rest:
                yield rest
            return
        time.sleep(PAUSE)
