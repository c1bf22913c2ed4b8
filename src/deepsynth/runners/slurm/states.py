"""What became of each element of each step at a site, read in one round trip.

Several witnesses are asked, and whichever exist are used: our own receipts, `squeue`, `sacct`
(absent without accounting), `scontrol` (forgets after minutes), and the mark a batch script
leaves when it ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from deepsynth.run.step import Plan, Step
from deepsynth.runners.slurm.connection import Connection, RemoteError
from deepsynth.runners.slurm.script import job_name
from deepsynth.runners.slurm.words import ACTIVE, ENDS, WAITING, reason_in_words

GONE = 66
"""Exit code of the question when the run folder is not there."""

_SECTION = "deepsynth-section"

_QUESTION = r"""
cd {folder} 2>/dev/null || exit 66
section() {{ printf '\n{section} %s\n' "$1"; }}
section jobs; cat slurm/jobs.tsv 2>/dev/null
ids=$(cut -f 2 slurm/jobs.tsv 2>/dev/null | sort -u | paste -sd ,)
section queue; squeue -h -r -u "$(id -un)" --name={names} -t all -o '%i|%T|%r|%M|%S' || echo "!$?"
if [ -n "$ids" ]; then
  section accounting; sacct -X -P -n -j "$ids" -o JobID,State,Elapsed,NodeList 2>/dev/null ||
    for id in ${{ids//,/ }}; do scontrol -o show job "$id" 2>/dev/null; done
fi
section marks; for f in slurm/*.end; do [ -f "$f" ] && echo "$f $(cat "$f")"; done
section receipts; find steps -name 'receipt*.json' -o -name 'outputs-*.sha256'
section clock; date +%s
section events; {events}
true
"""

Kind = Literal["new", "waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class Element:
    """One element of a step at the site.

    Attributes:
        step: Name of the step.
        index: Which element; 0 for a step that is no array.
        kind: What it comes to.
        job: Its job there, as `squeue` shows it; empty when it was never submitted.
        state: Slurm's word for it, or `LOST`.
        words: The same for people.
    """

    step: str
    index: int
    kind: Kind
    job: str = ""
    state: str = ""
    words: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The state of a whole run at one moment.

    Attributes:
        elements: Each element of each step.
        events: New lines of `events.jsonl` there.
        submissions: How often each step was submitted.
        there: Whether the run folder is there at all.
        clock: Seconds since the epoch by the clock there; None when it was not asked.
    """

    elements: list[Element]
    events: bytes = b""
    submissions: dict[str, int] = field(default_factory=dict)
    there: bool = True
    clock: int | None = None

    def of(self, step: str) -> list[Element]:
        """The elements of one step."""
        return [element for element in self.elements if element.step == step]

    def kind(self, step: str) -> Kind:
        """What a step as a whole comes to."""
        kinds = {element.kind for element in self.of(step)}
        order: tuple[Kind, ...] = ("running", "waiting", "failed", "new", "done")
        return next(kind for kind in order if kind in kinds)

    @property
    def active(self) -> list[Element]:
        """The elements that wait or run."""
        return [e for e in self.elements if e.kind in ("waiting", "running")]

    def done(self, steps: Sequence[Step] | None = None) -> bool:
        """Whether every element of `steps`, or of the whole plan, has its receipt."""
        names = {step.name for step in steps} if steps else {e.step for e in self.elements}
        return all(e.kind == "done" for e in self.elements if e.step in names)

    @property
    def failed(self) -> list[Element]:
        """The elements that ended badly."""
        return [element for element in self.elements if element.kind == "failed"]


def take_snapshot(
    connection: Connection, folder: str, plan: Plan, run_id: str, offset: int | None = 0
) -> Snapshot:
    """Ask the site about a run.

    Args:
        connection: The site.
        folder: The run folder there, absolute.
        plan: The steps.
        run_id: Name of the run there.
        offset: Bytes of `events.jsonl` that are known already; None asks for no events.

    Raises:
        ConnectionLost: The site cannot be reached.
        RemoteError: Slurm does not answer there.
    """
    events = "" if offset is None else f"tail -c +{offset + 1} events.jsonl 2>/dev/null"
    names = ",".join(job_name(run_id, step.name) for step in plan.steps)
    done = connection.run(
        _QUESTION.format(folder=shlex.quote(folder), section=_SECTION, names=names, events=events)
    )
    if done.code == GONE:
        elements = [
            Element(s.name, i, "new", words="not submitted")
            for s in plan.steps
            for i in range(s.array)
        ]
        return Snapshot(elements, there=False)
    sections = dict(_sections(done.stdout))
    if "events" not in sections or "\n!" in f"\n{sections['queue']}":
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RemoteError(
            f"Slurm does not answer: {said}",
            where=connection.name,
            hint="This often passes in minutes; what runs goes on. Ask again later.",
        )
    return read_sections(plan, sections)


def read_sections(plan: Plan, sections: dict[str, str]) -> Snapshot:
    """Make a snapshot of what the site answered, section by section."""
    jobs = [line.split("\t") for line in sections["jobs"].splitlines() if line.count("\t") == 3]
    known = _job_states(sections)
    receipts = set(sections["receipts"].split("\n"))
    marks = dict(line.split(" ", 1) for line in sections["marks"].splitlines() if " " in line)
    elements = [
        _element(step, index, jobs, known, receipts, marks)
        for step in plan.steps
        for index in range(step.array)
    ]
    counts: dict[str, int] = {}
    for name, *_ in jobs:
        counts[name] = counts.get(name, 0) + 1
    events = sections["events"].encode()
    whole = events[: events.rfind(b"\n") + 1]
    clock = sections.get("clock", "").strip()
    return Snapshot(elements, whole, counts, clock=int(clock) if clock else None)


def _element(
    step: Step,
    index: int,
    jobs: list[list[str]],
    known: dict[str, tuple[str, str]],
    receipts: set[str],
    marks: dict[str, str],
) -> Element:
    own = [job for name, job, array, _ in jobs if name == step.name and _covers(array, index)]
    job = own[-1] if own else ""
    label = f"{job}_{index}" if job and step.array > 1 else job
    receipt = "receipt.json" if step.array == 1 else f"receipt-{index:05d}.json"
    proofs = {f"steps/{step.name}/{receipt}", f"steps/{step.name}/outputs-{index}.sha256"}
    if proofs & receipts:
        return Element(step.name, index, "done", label, "COMPLETED", "done")
    if not job:
        return Element(step.name, index, "new", words="not submitted")
    state, reason = known.get(label) or known.get(job) or _marked(step, index, marks)
    if state == "FAILED":
        # The batch script knows more than its exit code told Slurm: stopped, or out of time.
        state = {"LOST": "FAILED"}.get(told := _marked(step, index, marks)[0], told)
    if state in WAITING:
        return Element(step.name, index, "waiting", label, state, reason_in_words(reason))
    if state in ACTIVE:
        return Element(step.name, index, "running", label, state, "it runs")
    words = ENDS.get(state, (f"Slurm says {state}", ""))[0]
    if state == "CANCELLED" and reason.startswith("Dependency"):
        words = "it was not started, because a step before it failed"
    return Element(step.name, index, "failed", label, state, words)


def _marked(step: Step, index: int, marks: dict[str, str]) -> tuple[str, str]:
    """The state a job's own mark tells of: `CODE ASKED AGAIN JOB TIME SECONDS`."""
    mark = marks.get(f"slurm/{step.name}-{index}.end", "").split()
    if len(mark) >= 5:
        code, asked, again, *_ = mark
        if again == "yes":
            return "PREEMPTED", ""
        if asked == "TERM":
            return "CANCELLED", ""
        if asked == "USR1":
            return "TIMEOUT", ""
        return ("FAILED" if code != "0" else "COMPLETED"), ""
    return "LOST", ""


def _job_states(sections: dict[str, str]) -> dict[str, tuple[str, str]]:
    """State and reason of every job Slurm still knows, by the id `squeue` shows."""
    states: dict[str, tuple[str, str]] = {}
    for line in sections.get("accounting", "").splitlines():
        if line.startswith("JobId="):
            pairs = (part.partition("=") for part in line.split())
            told = {key: value for key, _, value in pairs}
            label = told["JobId"]
            if told.get("ArrayTaskId", "").isdigit():
                label = f"{told['ArrayJobId']}_{told['ArrayTaskId']}"
            states[label] = (told.get("JobState", ""), told.get("Reason", ""))
        elif "|" in line:
            label, state, *_ = line.split("|")
            states[label] = (state.split()[0].rstrip("+"), "")
    for line in sections["queue"].splitlines():
        if line.count("|") >= 2:
            label, state, reason, *_ = line.split("|")
            states[label] = (state, reason)
    return states


def _covers(array: str, index: int) -> bool:
    """Whether the elements of a submission (`0-3,7`, empty for all) hold `index`."""
    if not array:
        return True
    ends = (part.partition("-") for part in array.split(","))
    return any(int(first) <= index <= int(last or first) for first, _, last in ends)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(f"\n{_SECTION} ")[1:]:
        name, _, content = part.partition("\n")
        yield name, content
