"""How a run stands at a site, in words: one line a step, and the error of one that failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deepsynth.errors import DeepSynthError, StepFailed
from deepsynth.run import Run
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.record import need_record
from deepsynth.runners.slurm.states import Element, Snapshot
from deepsynth.runners.slurm.words import ENDS
from deepsynth.step import Step

NAMED = 20
"""How many failed elements an error names."""


def describe(snapshot: Snapshot, step: Step) -> str:
    """One line on a step: `Training: other jobs come first; it starts ... (job 17)`."""
    elements = snapshot.of(step.name)
    kind = snapshot.kind(step.name)
    title = step.title or step.name
    if kind in ("new", "done"):
        return f"{title}: {'not submitted' if kind == 'new' else 'done'}"
    first = next(e for e in elements if e.kind == kind)
    count = ""
    if step.array > 1:
        tally = {k: sum(e.kind == k for e in elements) for k in ("done", "running", "failed")}
        count = "".join(f", {n} {k}" for k, n in tally.items() if n) + f" of {step.array}"
    return f"{title}: {first.words} (job {first.job}{count})"


def failure(
    run: Run, snapshot: Snapshot, connection: Connection, steps: Sequence[Step]
) -> DeepSynthError:
    """Why `steps` are not done, as the error to show."""
    failed = [e for e in snapshot.failed if e.step in {step.name for step in steps}]
    if not failed:
        return StepFailed(
            "nothing of it runs or waits there, and it is not done.",
            where=run.path,
            hint=f"Submit what is missing: deepsynth run --resume {run.path}",
        )
    first = next((e for e in failed if e.state != "CANCELLED"), failed[0])
    if first.state == "FAILED" and (told := _told(run, first)):
        return told
    words, hint = ENDS.get(first.state, (first.words, ENDS["FAILED"][1]))
    where = f"step {first.step}"
    if run.plan.step(first.step).array > 1:
        same = [str(e.index) for e in failed if e.step == first.step]
        more = f" and {len(same) - NAMED} more" if len(same) > NAMED else ""
        where += f", elements {', '.join(same[:NAMED])}{more}"
    said = "" if first.state == "CANCELLED" else _last_words(run, connection, first)
    return StepFailed(
        f"{words} (job {first.job}){f': {said}' if said else '.'}",
        where=where,
        hint=hint.format(run=run.path, step=first.step),
    )


def _told(run: Run, element: Element) -> StepFailed | None:
    """The error the step itself recorded, with the paths of this side."""
    for event in reversed(run.events()):
        if event["kind"] == "step_failed" and event["step"] == element.step:
            if event["index"] != element.index:
                continue
            there, here = need_record(run).folder, str(run.path)
            error = {
                k: v.replace(there, here) if isinstance(v, str) else v
                for k, v in event["error"].items()
            }
            return StepFailed(
                error["what"],
                where=error["where"],
                hint=error["hint"],
                exit_code=error["exit_code"],
            )
    return None


def _last_words(run: Run, connection: Connection, element: Element) -> str:
    """The last lines a failed element printed."""
    step = element.step
    script = (
        f"cd {shlex.quote(need_record(run).folder)} && "
        f"cat logs/{step}.log "
        f"\"$(ls -t slurm/{step}-*.out | head -n 1)\" 2>/dev/null | grep -v '^ *$' | tail -n 3"
    )
    return " | ".join(connection.run(script).stdout.splitlines())
