"""Runners: where steps execute. Adding one is adding a module here and a line to `_RUNNERS`.

A runner knows jobs, steps and runs; it never imports a family, and no family imports a runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

from deepsynth.errors import RequestError
from deepsynth.run import Run
from deepsynth.step import Step

_RUNNERS = {"local": "deepsynth.runners.local", "flyte": "deepsynth.runners.flyte"}


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

    def stop(self, run: Run) -> None:
        """Ask whoever works on the run to save and stop, from any terminal."""
        ...

    def logs(self, run: Run, step: str, *, follow: bool) -> Iterator[str]:
        """What a step printed, line by line; with `follow`, until the run ends."""
        ...


def get_runner(name: str) -> Runner:
    """The runner a user names with `--on`: `local`, or `KIND:DETAIL` where a kind takes one.

    Raises:
        RequestError: There is no such runner.
    """
    kind, _, detail = name.partition(":")
    if kind not in _RUNNERS:
        raise RequestError(
            f"there is no place called {name!r} to run on.",
            where="--on",
            hint=f"One of: {', '.join(_RUNNERS)}.",
        )
    module: Any = import_module(_RUNNERS[kind])
    return module.create(detail)
