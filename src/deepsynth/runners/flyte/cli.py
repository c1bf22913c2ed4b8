"""The verb `flyte`: registering the tasks of a job on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from deepsynth.printing import say
from deepsynth.terminal.verb import Planned

flyte = App(name="flyte", help="Run jobs as tasks on a Flyte cluster.")


@flyte.command
def deploy(
    job: Annotated[Path, Parameter(help="The job file.")],
    /,
    *overrides: Annotated[str, Parameter(help="Settings as key=value, such as train.epochs=3.")],
    planned: Planned,
    dry_run: Annotated[
        bool, Parameter(help="Print the Flyte module, register nothing.", negative=())
    ] = False,
) -> int:
    """Register the tasks of a job on the Flyte cluster, to be run there from its page or by name.

    The version names DeepSynth, its commit and the resolved job. Images, the store and what each
    step gets are read from flyte.yaml.

    For example:

    ```
    deepsynth flyte deploy tickets/job.yaml --dry-run
    ```
    """
    from deepsynth.runners.flyte.deploying import deploy_run

    with planned(job, overrides) as run:
        for line in deploy_run(run, dry_run=dry_run):
            say(line)
    return 0
