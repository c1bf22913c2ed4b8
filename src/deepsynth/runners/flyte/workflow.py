"""Writing the Flyte module of a run: a plain, typed task for each step of its plan."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepsynth import __version__, durable
from deepsynth.report.page import templates
from deepsynth.run.run import Run
from deepsynth.run.step import Plan, Step, StepGroup
from deepsynth.runners.flyte.layout import makers, parameter, source_parameter
from deepsynth.runners.flyte.settings import FlyteSettings, StepNeeds, at_once

MODULE = "workflow"
JOB_FILES = ("job.yaml", "resolved.yaml", "plan.json")
ENVIRONMENT = {"DO_NOT_TRACK": "1", "FLYTE_DISABLE_TELEMETRY": "1", "PYTHONSAFEPATH": "1"}
"""Of every task: nobody is told of it, and what lies in its working folder is no module."""
CACHE_VERSION = "1"
"""The key of a step decides what the cache may give; this changes with the form of a result."""


@dataclass(frozen=True)
class StepText:
    """What the template writes of one step."""

    name: str
    title: str
    variable: str
    task: str
    image: str
    needs: StepNeeds
    gpu: str
    report: bool
    signature: str
    forwarded: str
    ignored: tuple[str, ...]
    call: str


def write_workflow(run: Run, steps: list[Step], settings: FlyteSettings, store: str) -> Path:
    """Write `flyte/workflow.py`, with the job beside it, into a run folder; returns its path.

    Args:
        run: The run.
        steps: The steps that become tasks, with everything they need, in order.
        settings: Images and resources.
        store: Folder in storage that keeps what the steps make.

    Raises:
        JobError: The settings name no image for an environment of the plan.
    """
    folder = run.path / "flyte"
    folder.mkdir(exist_ok=True)
    for name in JOB_FILES:
        durable.write_text(folder / name, (run.path / name).read_text(encoding="utf-8"))
    module = folder / f"{MODULE}.py"
    durable.write_text(module, workflow_text(run, steps, settings, store))
    return module


def workflow_text(run: Run, steps: list[Step], settings: FlyteSettings, store: str) -> str:
    """The text of the Flyte module of a run."""
    plan = run.plan
    texts = [_step_text(plan, step, settings) for step in steps]
    group = plan.group
    if group and not set(group.steps) <= {step.name for step in steps}:
        group = None
    sources = sorted({source_parameter(name) for step in steps for name in step.sources})
    return (
        templates(Path(__file__).parent, html=False, py=repr, doc=_in_docstring)
        .get_template("workflow.py.j2")
        .render(
            name=workflow_name(run),
            run=run.path.name,
            family=run.family,
            deepsynth=__version__,
            job=job_digest(run),
            store=store,
            concurrency=at_once(settings, here=store.startswith("file:")),
            checkpoint_minutes=settings.checkpoint_minutes,
            environment=ENVIRONMENT,
            version=CACHE_VERSION,
            image=settings.image,
            steps=texts,
            group=_group_text(plan, group, texts) if group else None,
            signature=", ".join(f"{name}: Dir" for name in sources),
            calls=_calls(texts, group, plan),
        )
    )


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def workflow_name(run: Run) -> str:
    """Name of the tasks' environments: of the family, so that all its jobs share one cache.

    What tells jobs apart is the version, and the key of each step.
    """
    return f"deepsynth-{run.family or 'pages'}"


def job_digest(run: Run) -> str:
    """What tells one resolved job from another: all values and steps, not where they came from."""
    text = (run.path / "resolved.yaml").read_text(encoding="utf-8")
    steps = [step.model_dump(exclude={"sources"}) for step in run.plan.steps]
    return durable.sha256_value([_values(yaml.safe_load(text) or {}), steps])[:12]


def _values(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: entry["value"] if {"value", "from"} <= entry.keys() else _values(entry)
        for key, entry in tree.items()
    }


def version_of(run: Run) -> str:
    """The version tasks are registered under: DeepSynth, its commit if known, and the job."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short=10", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    known = found.returncode == 0 and "site-packages" not in here.parts
    parts = [__version__, *([found.stdout.strip()] if known else []), job_digest(run)]
    return "-".join(parts)


def _step_text(plan: Plan, step: Step, settings: FlyteSettings) -> StepText:
    given = [(source_parameter(name), "Dir") for name in sorted(step.sources)]
    given += [
        (parameter(maker.name), "list[Dir]" if maker.array > 1 else "Dir")
        for maker in makers(plan, step)
    ]
    index = step.array > 1
    task = step.task or f"{parameter(step.name)}_step"
    passed = "".join(f", {name}={name}" for name, _ in given)
    needs = settings.needs(step)
    gpu = needs.gpu or ""
    return StepText(
        name=step.name,
        title=step.title or step.name,
        variable=parameter(step.name),
        task=task,
        image=settings.image_of(step.environment),
        needs=needs,
        gpu=gpu if gpu.isdigit() else repr(gpu),
        report="report.html" in step.outputs,
        signature=", ".join(
            ["key: str", *(["index: int"] if index else []), *(f"{n}: {kind}" for n, kind in given)]
        ),
        forwarded=f"{step.name!r}, key{', index' if index else ''}{passed}",
        ignored=tuple(name for name, _ in given),
        call=f"{parameter(step.name)} = await JOB.call({task}, {step.name!r}{passed})",
    )


def _calls(steps: list[StepText], group: StepGroup | None, plan: Plan) -> list[str]:
    lines: list[str] = []
    for step in steps:
        if group is None or step.name not in group.steps:
            lines.append(step.call)
        elif step.name == group.steps[-1]:
            outside = _outside(plan, group)
            made = ", ".join([*map(parameter, group.steps), *(["*_"])])
            passed = ", ".join(f"{name}={name}" for name, _ in outside)
            lines.append(f"{made} = await {group.task}({passed})")
    return lines


def _outside(plan: Plan, group: StepGroup) -> list[tuple[str, str]]:
    """What the steps of a group need of others, as parameters."""
    found: dict[str, str] = {}
    for name in group.steps:
        step = plan.step(name)
        found |= {source_parameter(source): "Dir" for source in step.sources}
        for maker in makers(plan, step):
            if maker.name not in group.steps:
                found[parameter(maker.name)] = "list[Dir]" if maker.array > 1 else "Dir"
    return sorted(found.items())


def _group_text(plan: Plan, group: StepGroup, steps: list[StepText]) -> dict[str, Any]:
    inside = [step for step in steps if step.name in group.steps]
    return {
        "task": group.task,
        "title": group.title,
        "signature": ", ".join(f"{name}: {kind}" for name, kind in _outside(plan, group)),
        "calls": [step.call for step in inside],
        "types": ["Dir"] * len(inside) + [made.kind for made in group.results],
        "returned": [step.variable for step in inside]
        + [
            f"{'file_in' if made.kind == 'File' else 'folder_in'}"
            f"({parameter(made.step)}, {made.path!r})"
            for made in group.results
        ],
        "reporting": next(step.variable for step in inside if step.report),
    }
