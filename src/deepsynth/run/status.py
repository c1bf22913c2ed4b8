"""The state of a run, read from its files alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from deepsynth import durable
from deepsynth.run import records
from deepsynth.run.receipts import has_receipt
from deepsynth.run.records import State
from deepsynth.run.run import ELSEWHERE, Run

_ENDS: dict[str, State] = {
    "step_done": "done",
    "step_failed": "failed",
    "step_stopped": "stopped",
}


@dataclass
class StepState:
    """How one step stands.

    Attributes:
        name: The step.
        title: What it does.
        state: `interrupted` means it was killed without a word; `--resume` goes on.
        seconds: Wall time so far, or of the attempt that ended.
        progress: The last progress event, if any.
        error: What a failed step said, if anything.
    """

    name: str
    title: str
    state: State = "pending"
    seconds: float = 0.0
    progress: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@dataclass
class RunState:
    """How a run stands: `done` when all its steps are, else the state of the one that matters."""

    state: State
    steps: list[StepState] = field(default_factory=list)


def run_state(run: Run) -> RunState:
    """Work out the state of a run from its events, receipts and lock.

    Of steps that another place does, what was last heard counts (`elsewhere.json`).
    """
    steps = {step.name: StepState(step.name, step.title or step.name) for step in run.plan.steps}
    started: dict[str, float] = {}
    for event in run.events():
        state = steps.get(event.get("step", ""))
        if state is None:
            continue
        if event["kind"] == "step_started":
            started[state.name] = event["time"]
            state.state, state.progress, state.error = "running", None, None
        elif event["kind"] == "progress":
            state.progress = event
        elif event["kind"] in _ENDS:
            state.seconds = event["time"] - started.get(state.name, event["time"])
            state.state = _ENDS[event["kind"]]
            state.error = event.get("error")
    alive = run.is_locked()
    heard = records.elsewhere(durable.read_json(run.path / ELSEWHERE))
    for step in run.plan.steps:
        state = steps[step.name]
        if step.name in heard:
            state.state = heard[step.name]
            if state.state == "running" and state.name in started:
                state.seconds = max(0.0, time.time() - started[state.name])
            continue
        if state.state == "running":
            state.seconds = time.time() - started.get(state.name, time.time())
            if not alive:
                state.state = "interrupted"
        if state.state in ("pending", "done"):
            state.state = "done" if has_receipt(run, step) else "pending"
    ordered = list(steps.values())
    telling: list[State] = [s.state for s in ordered if s.state not in ("done", "pending")]
    everything = all(s.state == "done" for s in ordered)
    if telling:
        return RunState(telling[0], ordered)
    return RunState("done" if everything else "pending", ordered)
