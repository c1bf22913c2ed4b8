"""Running on Flyte: each step a typed task, what it makes kept in storage.

`--on flyte:local` runs the tasks in this process; `--on flyte` runs them on the cluster that Flyte
is configured for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.errors import RequestError
from deepsynth.runners.runner import Runner, RunnerKind
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

if TYPE_CHECKING:
    from deepsynth.checks import Finding


class Flyte(RunnerKind):
    """`local` after the colon is this machine, nothing is the cluster."""

    name = "flyte"
    on = "flyte or flyte:local"
    verbs = (
        Verb(
            "deepsynth.runners.flyte.cli:flyte",
            "Run jobs as tasks on a Flyte cluster.",
            groups.PUBLISH,
        ),
    )

    def create(self, detail: str, beside: Path | None = None) -> Runner:
        """The runner of this machine or of the cluster.

        Raises:
            RequestError: Something else is after the colon.
        """
        if detail == "local":
            from deepsynth.runners.flyte.local import FlyteLocalRunner

            return FlyteLocalRunner()
        if detail:
            raise RequestError(
                "flyte takes nothing after a colon but local.",
                where=f"--on flyte:{detail}",
                hint="--on flyte:local for this machine, --on flyte for the cluster.",
            )
        from deepsynth.runners.flyte.cluster import FlyteRunner

        return FlyteRunner()

    def doctor(self) -> Sequence[Finding]:
        """Whether the package is installed, and whether its settings can be read."""
        from deepsynth.runners.flyte.doctor import examine

        return list(examine())


RUNNER = Flyte()
