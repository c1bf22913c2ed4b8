"""Steps of a run at a site that are done on this side, because DeepSynth is not installed there.

A site's own tool needs nothing of ours on the cluster: what comes before it (compiling) and after
it (reading its results, scoring) is done where the command was typed.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from deepsynth import durable
from deepsynth.run import receipts
from deepsynth.run.environments import get_environment
from deepsynth.run.execution import execute
from deepsynth.run.run import ELSEWHERE, Run
from deepsynth.run.status import State
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.record import Record
from deepsynth.runners.slurm.site import Site
from deepsynth.runners.slurm.states import Element, Snapshot


def steps_there(site: Site, steps: Sequence[Step]) -> list[Step]:
    """The steps that are submitted to the site."""
    return [step for step in steps if site.does(step)]


def steps_here(site: Site, steps: Sequence[Step]) -> list[Step]:
    """The steps that are done on this side."""
    return [step for step in steps if not site.does(step)]


def in_turns(site: Site, steps: Sequence[Step]) -> list[tuple[bool, list[Step]]]:
    """Steps in order, as groups of neighbours on the same side: whether there, and which."""
    return [(there, list(group)) for there, group in groupby(steps, site.does)]


def require_environments(steps: Sequence[Step]) -> None:
    """See that the environments of steps are here, before anything is sent or submitted.

    Raises:
        MissingDependency: One is not installed.
    """
    for step in steps:
        get_environment(step.environment)


def do_here(run: Run, steps: Sequence[Step], lock: int, tick: Callable[[], None]) -> bool:
    """Do steps as the local runner does; whether any of them was not done before.

    Raises:
        StepFailed: A step failed.
        Stopped: Asked to stop; the step saved itself.
    """
    outcomes = [
        execute(run, step, index, locks=[lock], tick=tick)
        for step in steps
        for index in range(step.array)
    ]
    return "done" in outcomes


def renew(run: Run, record: Record, connection: Connection, steps: Sequence[Step]) -> None:
    """Undo, on both sides, steps done there with what was made anew on this side since.

    Raises:
        ConnectionLost: The site cannot be reached; nothing was undone.
    """
    undone: list[str] = []
    for step in steps:
        for index in range(step.array):
            receipt = receipts.receipt_path(run, step, index).relative_to(run.path).as_posix()
            proof = f"steps/{step.name}/outputs-{index}.sha256"
            undone += [receipt, proof, *receipts.outputs_of(step, index)]
    connection.check(
        f"cd {shlex.quote(record.folder)} && rm -rf -- {shlex.join(undone)}",
        "what was done there cannot be undone",
    )
    record.save(run, sent=False)
    for name in undone:
        path = run.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def with_steps_here(snapshot: Snapshot, run: Run, site: Site) -> Snapshot:
    """A snapshot of the site in which the steps of this side stand as they do here."""
    own = {step.name: step for step in steps_here(site, run.plan.steps)}
    elements = [
        _element(run, own[element.step], element.index) if element.step in own else element
        for element in snapshot.elements
    ]
    return replace(snapshot, elements=elements)


def remember(snapshot: Snapshot, run: Run, site: Site) -> None:
    """Write down how the steps of the site stand, for those who only have the run folder."""
    states: dict[str, State] = {}
    # What waited for a step that failed was cancelled with it, and was not stopped by anybody.
    broken = any(element.state != "CANCELLED" for element in snapshot.failed)
    for step in steps_there(site, run.plan.steps):
        kind = snapshot.kind(step.name)
        if kind == "failed":
            bad = any(e.kind == kind and e.state != "CANCELLED" for e in snapshot.of(step.name))
            states[step.name] = "failed" if bad else "pending" if broken else "stopped"
        else:
            states[step.name] = "pending" if kind in ("new", "waiting") else kind
    path = run.path / ELSEWHERE
    if durable.read_json(path) != states:
        durable.write_json(path, states)


def _element(run: Run, step: Step, index: int) -> Element:
    if receipts.receipt_path(run, step, index).exists():
        return Element(step.name, index, "done", state="COMPLETED", words="done")
    return Element(step.name, index, "new", words="to be done on this side, in its turn")
