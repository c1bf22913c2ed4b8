"""Runners: where steps execute. Adding one is adding a module here and a line to `_RUNNERS`.

A runner knows jobs, steps and runs; it never imports a family, and no family imports a runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from deepsynth.run.run import Run
from deepsynth.run.step import Step

_RUNNERS = {
    "local": "deepsynth.runners.local",
    "slurm": "deepsynth.runners.slurm",
    "flyte": "deepsynth.runners.flyte",
}


class Runner(Protocol):
    """What the command line asks of a runner."""

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None]) -> None:
        """Do the steps, in order, that have no valid receipt; return when all have one.

        `tick` is called several times a second, so that the caller can show what the run records.

        Raises:
            StepFailed: A step failed.
            Stopped: The work was asked to stop.
        """
        ...

    def dry_run(self, run: Run, steps: list[Step]) -> str:
        """The exact commands or scripts that `run` would execute; does nothing."""
        ...

    def lines(self, run: Run) -> list[str]:
        """What only the runner knows of a run, such as its place in a queue; may be empty."""
        ...

    def stop(self, run: Run) -> None:
        """Ask whoever works on the run to save and stop, from any terminal."""
        ...

    def fetch(self, run: Run, *, everything: bool = False) -> None:
        """Bring what the steps made into the run folder, verified.

        Args:
            run: The run.
            everything: Also what only later steps read, such as compiled data.
        """
        ...

    def logs(self, run: Run, step: str, *, follow: bool) -> Iterator[str]:
        """What a step printed, line by line; with `follow`, until the run ends."""
        ...


def get_runner(name: str, beside: Path | None = None) -> Runner:
    """The runner a user names with `--on`.

    Args:
        name: `local`, `slurm` (of this machine), `flyte`, `flyte:local`, or a site of sites.yaml.
        beside: Folder of the job, in which a `sites.yaml` may lie.

    Raises:
        RequestError: There is no such runner or site.
    """
    kind, _, detail = name.partition(":")
    if kind not in _RUNNERS:
        kind, detail = "slurm", name
    module: Any = import_module(_RUNNERS[kind])
    if kind == "slurm":
        return module.create(detail, beside)
    return module.create(detail)


def runner_of(run: Run) -> Runner:
    """The runner that worked on a run last; `local` for one that nobody worked on.

    A run at a site carries what is needed to reach it, so this works from another machine that
    has only the run folder.
    """
    names = [event["runner"] for event in run.events() if event["kind"] == "run_started"]
    kind, _, detail = (names[-1] if names else "local").partition(":")
    module: Any = import_module(_RUNNERS[kind])
    return module.attach(run) if hasattr(module, "attach") else module.create(detail)
