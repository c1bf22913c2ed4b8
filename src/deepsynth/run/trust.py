"""Whether the steps of a run are those its job makes: a run folder may come from anybody.

Its `plan.json` holds command lines. They are done only if the family, asked again, makes the same
ones of the run's job; what a plan says besides (settings, places that are read) has no more power
than the job itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deepsynth import __version__, durable
from deepsynth.errors import RunError
from deepsynth.run.run import PLAN, Run
from deepsynth.run.step import Plan

_OF_THE_JOB = ("settings", "sources", "resources")


def require_plan(
    run: Run, plan: Plan, *, tell: Callable[[str], object], elsewhere: bool = False
) -> Run:
    """The run, if its steps are those of `plan`.

    A run planned by another version of DeepSynth gets the steps of this one; what was done before
    is then done again where it has to be, and says so.

    Args:
        run: Somebody's.
        plan: What its job makes here and now.
        tell: Says that it was planned anew, and why.
        elsewhere: Its steps are at another place already, so they cannot be replaced here.

    Raises:
        RunError: They are others.
    """
    if _commands(run.plan) == _commands(plan):
        return run
    changed = _first_difference(run.plan, plan)
    if run.plan.deepsynth == __version__:
        raise RunError(
            f"its steps are not those its job makes: {changed}. Nothing of it was executed.",
            where=run.path / PLAN,
            hint=f"Make a run of the job, after reading it: deepsynth run {run.path / 'job.yaml'}",
        )
    planned_by = run.plan.deepsynth or "an earlier version"
    if elsewhere:
        raise RunError(
            f"it was planned by DeepSynth {planned_by}, and goes on at another place: {changed}.",
            where=run.path / PLAN,
            hint="Go on with that version, or make a new run of its job.",
        )
    durable.write_text(run.path / PLAN, plan.as_text())
    said = f"Planned anew: it was planned by DeepSynth {planned_by}; {changed}."
    run.event("note", text=said)
    tell(said)
    return Run(run.path)


def _commands(plan: Plan) -> list[dict[str, Any]]:
    steps = (step.model_dump(mode="json") for step in plan.steps)
    return [{k: v for k, v in step.items() if k not in _OF_THE_JOB} for step in steps]


def _first_difference(theirs: Plan, ours: Plan) -> str:
    names = [[step.name for step in plan.steps] for plan in (theirs, ours)]
    if names[0] != names[1]:
        return f"the steps are {', '.join(names[0])} there, and {', '.join(names[1])} here"
    for there, here in zip(_commands(theirs), _commands(ours), strict=True):
        for key, value in here.items():
            if there[key] != value:
                return f"{key} of the step {here['name']} is another"
    return "the steps are others"
