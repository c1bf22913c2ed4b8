"""Registering the tasks of a job, or showing what would be registered, without a network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepsynth.run.run import Run
from deepsynth.runners.flyte.cluster import connect, explained, store_of
from deepsynth.runners.flyte.local import load_workflow, prepare_flyte
from deepsynth.runners.flyte.settings import load_settings
from deepsynth.runners.flyte.workflow import version_of, write_workflow


def deploy_run(run: Run, *, dry_run: bool) -> Iterator[str]:
    """Register the tasks of a run's plan; yields lines for people.

    With `dry_run` the module is shown and its tasks are put into Flyte's own form, which finds
    what Flyte would refuse; nothing is sent.

    Raises:
        JobError: flyte.yaml names no store the cluster could reach, or no image.
        RequestError: No cluster is configured.
        DeepSynthError: The cluster refuses.
    """
    settings = load_settings()
    store = store_of(settings)
    prepare_flyte()
    module_path = write_workflow(run, run.plan.steps, settings, store)
    version = version_of(run)
    if dry_run:
        import flyte

        flyte.init(root_dir=module_path.parent, log_level=logging.CRITICAL)
        module = load_workflow(module_path)
        yield module_path.read_text(encoding="utf-8")
        for task in tasks_of(module):
            yield f"# would register {describe(task, version, module_path.parent)}"
        return
    endpoint = connect(settings, module_path.parent)
    import flyte

    module = load_workflow(module_path)
    with explained(endpoint):
        deployed: Any = flyte.deploy(module.driver_env, version=version, copy_style="all")
    for deployment in deployed:
        yield deployment.summary_repr()


def tasks_of(module: Any) -> list[Any]:
    """The tasks of a generated module, in the order they are written."""
    from flyte.extend import TaskTemplate

    return [value for value in vars(module).values() if isinstance(value, TaskTemplate)]


def describe(task: Any, version: str, folder: Path) -> str:
    """A task in Flyte's own form, in one line.

    Raises:
        DeepSynthError: Flyte cannot register it.
    """
    from flyte._internal.runtime.task_serde import translate_task_to_wire
    from flyte.models import SerializationContext
    from flyteidl2.core.tasks_pb2 import Resources

    with explained(task.name):
        context = SerializationContext(
            version=version, project="-", domain="-", org="-", root_dir=folder
        )
        wire = translate_task_to_wire(task, context).task_template
    entries = wire.container.resources.requests
    asked = ", ".join(f"{Resources.ResourceName.Name(e.name).lower()} {e.value}" for e in entries)
    return f"{wire.id.name} version {version}: {asked}"
