"""The runner `local`: this machine."""

from __future__ import annotations

from pathlib import Path

from deepsynth.errors import RequestError
from deepsynth.runners.runner import Runner, RunnerKind


class Local(RunnerKind):
    """This machine: it takes nothing after a colon."""

    name = "local"
    on = "local"

    def create(self, detail: str, beside: Path | None = None) -> Runner:
        """The runner.

        Raises:
            RequestError: A detail was given.
        """
        from deepsynth.runners.local.runner import LocalRunner

        if detail:
            raise RequestError("local takes nothing after a colon.", where=f"--on local:{detail}")
        return LocalRunner()


RUNNER = Local()
