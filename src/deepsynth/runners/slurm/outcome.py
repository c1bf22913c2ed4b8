"""How a run stands at a site, in words: one line a step, and the error of one that failed."""

from __future__ import annotations

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.run.execution import told_error
from deepsynth.run.run import ELSEWHERE, Run
from deepsynth.run.status import State
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import last_lines
from deepsynth.runners.slurm.journey import Journey
from deepsynth.runners.slurm.states import Element, Snapshot
from deepsynth.runners.slurm.words import AGAIN, ENDS, explain

MOST_SUBMISSIONS = 20
"""How often a step that ended through no fault of its own is submitted."""

NAMED = 20
"""How many failed elements an error names."""


def describe(snapshot: Snapshot, step: Step) -> str:
    """One line on a step: `Training: other jobs come first; it starts ... (job 17)`."""
    elements = snapshot.of(step.name)
    kind = snapshot.kind(step.name)
    title = step.title or step.name
    first = next(e for e in elements if e.kind == kind)
    if kind in ("new", "done"):
        return f"{title}: {first.words}"
    count = ""
    if step.array > 1:
        tally = {k: sum(e.kind == k for e in elements) for k in ("done", "running", "failed")}
        count = "".join(f", {n} {k}" for k, n in tally.items() if n) + f" of {step.array}"
    return f"{title}: {first.words} (job {first.job}{count})"


def through_no_fault(snapshot: Snapshot) -> Element | None:
    """The first failed element, if all that failed did so through no fault of their own."""
    failed = [e for e in snapshot.failed if e.state != "CANCELLED"]
    if snapshot.active or not failed or any(e.state not in AGAIN for e in failed):
        return None
    if any(snapshot.submissions.get(e.step, 0) >= MOST_SUBMISSIONS for e in failed):
        return None
    return failed[0]


def failure(journey: Journey, snapshot: Snapshot) -> tuple[Element | None, StepFailed]:
    """The element that kept the steps asked for from being done, and the error to show."""
    run = journey.run
    asked = {step.name for step in journey.submitted}
    failed = [e for e in snapshot.failed if e.step in asked]
    if not failed:
        return None, StepFailed(
            "nothing of it runs or waits there, and it is not done.",
            where=run.path,
            hint=f"Submit what is missing: deepsynth run --resume {run.path}",
        )
    first = next((e for e in failed if e.state != "CANCELLED"), failed[0])
    elements = ""
    if run.plan.step(first.step).array > 1:
        same = [str(e.index) for e in failed if e.step == first.step]
        more = f" and {len(same) - NAMED} more" if len(same) > NAMED else ""
        elements = f"elements {', '.join(same[:NAMED])}{more}: "
    if first.state == "FAILED" and (told := _told_here(journey, first)):
        # What is wrong with the place, such as a full disk, is told of the place.
        if remedy := explain(told.what):
            told.where = f"{journey.connection.name}:{journey.record.folder}"
            told.hint = f"{remedy}\n  {told.hint or ''}".rstrip()
        told.what = f"{elements}{told.what}"
        return first, told
    words, hint = ENDS.get(first.state, (first.words, ENDS["FAILED"][1]))
    said = "" if first.state == "CANCELLED" else _last_words(journey, first)
    return first, StepFailed(
        f"{elements}{words} (job {first.job}){f': {said}' if said else '.'}",
        where=f"step {first.step}",
        hint=hint.format(run=run.path, step=first.step),
    )


def _told_here(journey: Journey, element: Element) -> StepFailed | None:
    """The error the step itself recorded, with the paths of this side."""
    there, here = journey.record.folder, str(journey.run.path)
    told = told_error(journey.run, element.step, element.index)
    if told is not None:
        told.what = told.what.replace(there, here)
        told.where = told.where and told.where.replace(there, here)
        told.hint = told.hint and told.hint.replace(there, here)
    return told


def remember(journey: Journey, snapshot: Snapshot) -> None:
    """Write down how the steps of the site stand, for those who only have the run folder."""
    states: dict[str, State] = {}
    # What waited for a step that failed was cancelled with it, and was not stopped by anybody.
    broken = any(element.state != "CANCELLED" for element in snapshot.failed)
    for step in journey.there:
        kind = snapshot.kind(step.name)
        if kind == "failed":
            bad = any(e.kind == kind and e.state != "CANCELLED" for e in snapshot.of(step.name))
            states[step.name] = "failed" if bad else "pending" if broken else "stopped"
        else:
            states[step.name] = "pending" if kind in ("new", "waiting") else kind
    path = journey.run.path / ELSEWHERE
    if durable.read_json(path) != states:
        durable.write_json(path, states)


def stop_requested(run: Run) -> bool:
    """Whether `deepsynth stop` came after the last submission."""
    kinds = [e["kind"] for e in run.events() if e["kind"] in ("submitted", "stop_requested")]
    return kinds[-1:] == ["stop_requested"]


def _last_words(journey: Journey, element: Element) -> str:
    """The last lines Slurm and a failed element printed."""
    step, index = element.step, element.index
    own = f"_{index}" if journey.run.plan.step(step).array > 1 else ""
    script = (
        f"cd {journey.folder} && "
        f"out=$(ls -t slurm/{step}-*{own}.out | head -n 1); log=logs/{step}-{index}.log; "
        f'[ -e "$log" ] || log=logs/{step}.log; '
        'for file in "$out" "$log"; do grep -v \'^ *$\' "$file" | tail -n 2; done 2>/dev/null'
    )
    said = journey.connection.run(script).stdout
    return last_lines(said, 4) if said.strip() else ""
