"""The verb `flyte`: registering the tasks of a job on a cluster."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from deepsynth.terminal import groups


def deploy(
    job: Annotated[Path, Parameter(help="The job file.")],
    /,
    *overrides: Annotated[str, Parameter(help="Settings as key=value, such as train.epochs=3.")],
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
    from deepsynth.families import get_family
    from deepsynth.job.job import load_job
    from deepsynth.run.run import Run
    from deepsynth.runners.flyte.deploying import deploy_run

    loaded = load_job(job, overrides)
    family = get_family(loaded.job.family)
    resolved = family.resolve(loaded)
    with tempfile.TemporaryDirectory(prefix="deepsynth-flyte-") as folder:
        run = Run.create(Path(folder) / resolved.name, resolved, family.plan(resolved))
        for line in deploy_run(run, dry_run=dry_run):
            print(line)
    return 0


def register(app: App) -> None:
    """Add `deepsynth flyte deploy` to the command line."""
    group = App(name="flyte", help="Run jobs as tasks on a Flyte cluster.", group=groups.PUBLISH)
    group.command(deploy)
    app.command(group)
