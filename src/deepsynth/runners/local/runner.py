"""Steps one after the other, as processes of this machine."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from deepsynth.errors import RunError
from deepsynth.run.execution import GRACE_SECONDS, command_line, execute
from deepsynth.run.run import Run
from deepsynth.run.starting import WarmSteps, plainly
from deepsynth.run.step import Step
from deepsynth.runners.runner import Runner


class LocalRunner(Runner):
    """Runs the steps of a plan here and now."""

    here = True

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None]) -> None:
        """Do what has no receipt, holding the run's lock."""
        with run.lock() as lock, WarmSteps(run, steps) as warm:
            start = warm.start if self.warm else plainly
            run.begin("local", pid=os.getpid())
            for step in steps:
                for index in range(step.array):
                    execute(run, step, index, locks=[lock], tick=tick, start=start)
            run.event("run_done")

    def dry_run(self, run: Run, steps: list[Step]) -> str:
        """The command line of each step."""
        return "\n".join(
            shlex.join(command_line(run, step, index))
            for step in steps
            for index in range(step.array)
        )

    def stop(self, run: Run) -> None:
        """Send SIGTERM to the process that works on the run, and wait until it let go.

        Raises:
            RunError: Nobody works on it, it is another machine, or it does not end.
        """
        owner = run.owner()
        if owner and owner["host"] != socket.gethostname():
            raise RunError(f"it runs on {owner['host']}.", where=run.path, hint="Stop it there.")
        if owner is None or not run.is_locked():
            raise RunError("nothing is running here.", where=run.path)
        # A runner that is gone: the step it started notices within a second and saves by itself.
        with suppress(ProcessLookupError):
            os.kill(owner["pid"], signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while run.is_locked():
            if time.monotonic() > deadline:
                raise RunError(
                    f"process {owner['pid']} does not end.",
                    where=run.path,
                    hint=f"End it the hard way: kill -9 {owner['pid']}; checkpoints are kept.",
                )
            time.sleep(0.1)

    def logs(self, run: Run, step: str, *, follow: bool) -> Iterator[str]:
        """Lines of the step's log; with `follow`, until nobody works on the run any more."""
        path = run.path / "logs" / f"{step}.log"
        if not path.exists():
            raise RunError(f"the step {step} has not printed anything yet.", where=run.path)
        with path.open(encoding="utf-8", errors="replace") as stream:
            while True:
                if line := stream.readline():
                    yield line.rstrip("\n")
                elif follow and run.is_locked():
                    time.sleep(0.2)
                else:
                    return
