"""Running on Flyte: each step a typed task, what it makes kept in storage.

`--on flyte:local` runs the tasks in this process; `--on flyte` runs them on the cluster that Flyte
is configured for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepsynth.errors import RequestError

if TYPE_CHECKING:
    from deepsynth.runners import Runner


def create(detail: str) -> Runner:
    """The runner: `local` after the colon is this machine, nothing is the cluster.

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
