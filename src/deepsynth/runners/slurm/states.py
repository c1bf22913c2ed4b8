"""What became of each element of each step at a site, read in one round trip.

Several witnesses are asked, and whichever exist are used: our own receipts, `squeue`, `sacct`
(absent without accounting), `scontrol` (forgets after minutes), and the mark a batch script
leaves when it ends.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import Field, ValidationError

from deepsynth.job.settings import Section
from deepsynth.run import receipts
from deepsynth.run.step import Plan, Step
from deepsynth.runners.slurm.connection import RemoteError, last_lines
from deepsynth.runners.slurm.journey import Journey
from deepsynth.runners.slurm.script import job_name
from deepsynth.runners.slurm.words import ACTIVE, ENDS, WAITING, reason_in_words

GONE = 66
"""Exit code of the question when the run folder is not there."""

_PATIENCE = 15
"""Seconds in which Slurm must answer."""

_SECTION = "deepsynth-section"

_QUESTION = r"""
cd {folder} 2>/dev/null || exit 66
section() {{ printf '\n{section} %s\n' "$1"; }}
section jobs; cat slurm/jobs.tsv 2>/dev/null
ids=$(cut -f 2 slurm/jobs.tsv 2>/dev/null | sort -u | paste -sd ,)
# A controller that is down is asked for a minute by squeue, and again by sacct and scontrol.
section queue; timeout {patience} \
  squeue -h -r -u "$(id -un)" --name={names} -t all -o '%i|%T|%r|%M|%S' || {{ echo "!$?"; ids=; }}
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


class Submission(Section):
    """A line of `slurm/jobs.tsv`."""

    step: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    job: str = Field(pattern=r"^[0-9]{1,12}$")
    array: str = Field(pattern=r"^([0-9]{1,7}(-[0-9]{1,7})?(,[0-9]{1,7}(-[0-9]{1,7})?)*)?$")

    def covers(self, index: int) -> bool:
        """Whether an element was submitted with it: `0-3,7`, or all where nothing is said."""
        ends = (part.partition("-") for part in self.array.split(",") if part)
        return not self.array or any(int(a) <= index <= int(b or a) for a, _, b in ends)


class JobState(Section):
    """What Slurm says of a job."""

    state: str = Field(pattern=r"^[A-Z_]{1,40}$")
    reason: str = Field(default="", pattern=r"^[ -~]{0,400}$")


class Mark(Section):
    """What a batch script left when it ended, the last of its allocations."""

    code: int = Field(ge=0, le=255)
    asked: Literal["none", "USR1", "TERM"]
    again: Literal["yes", "no"]

    def state(self) -> str:
        """In Slurm's words."""
        if self.again == "yes":
            return "PREEMPTED"
        asked = {"TERM": "CANCELLED", "USR1": "TIMEOUT"}.get(self.asked)
        return asked or ("FAILED" if self.code else "COMPLETED")


class Answer(Section):
    """What a site answers, read once and believed as far as it fits."""

    jobs: list[Submission]
    states: dict[str, JobState]
    marks: dict[str, Mark]
    receipts: set[str]
    clock: int | None = Field(default=None, ge=0)


def take_snapshot(journey: Journey) -> Snapshot:
    """Ask the site about a run.

    Raises:
        ConnectionLost: The site cannot be reached.
        RemoteError: Slurm does not answer there, or what it answers cannot be.
    """
    plan, record = journey.run.plan, journey.record
    # A run on this machine writes its events into the folder itself: nothing is to be copied.
    remote = journey.site.host is not None
    events = f"tail -c +{record.events + 1} events.jsonl 2>/dev/null" if remote else ""
    names = shlex.quote(",".join(job_name(record.run_id, step.name) for step in plan.steps))
    done = journey.connection.run(
        _QUESTION.format(
            folder=journey.folder,
            section=_SECTION,
            names=names,
            events=events,
            patience=_PATIENCE,
        )
    )
    if done.code == GONE:
        new = read_sections(plan, {})
        return replace(_with_steps_here(new, journey), there=False)
    sections = dict(_sections(done.stdout))
    if "events" not in sections or "\n!" in f"\n{sections['queue']}":
        said = last_lines(done.stderr or f"nothing in {_PATIENCE} seconds", 1)
        raise RemoteError(
            f"Slurm does not answer: {said}",
            where=journey.connection.name,
            hint="This often passes in minutes; what runs goes on. Ask again later.",
        )
    where = f"{journey.connection.name}:{record.folder}"
    return _with_steps_here(read_sections(plan, sections, where), journey)


def read_sections(plan: Plan, sections: Mapping[str, str], where: str = "") -> Snapshot:
    """Make a snapshot of what the site answered, section by section.

    Raises:
        RemoteError: It says what cannot be.
    """
    try:
        answer = _read_answer(sections)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = str(first["input"])[:200]
        raise RemoteError(
            f"what is told there of {place} cannot be: {said!r}.", where=where
        ) from None
    elements = [_element(answer, step, index) for step in plan.steps for index in range(step.array)]
    counts = Counter(submission.step for submission in answer.jobs)
    events = sections.get("events", "").encode(errors="replace")
    return Snapshot(elements, events[: events.rfind(b"\n") + 1], counts, clock=answer.clock)


def _read_answer(sections: Mapping[str, str]) -> Answer:
    jobs = [
        line.split("\t") for line in sections.get("jobs", "").splitlines() if line.count("\t") == 3
    ]
    marks = [line.split(" ") for line in sections.get("marks", "").splitlines()]
    clock = sections.get("clock", "").strip()
    told = {
        "jobs": [{"step": step, "job": job, "array": array} for step, job, array, _ in jobs],
        "states": dict(_job_states(sections)),
        "marks": {
            name: {"code": _whole(code), "asked": asked, "again": again}
            for name, code, asked, again, *_ in (words for words in marks if len(words) >= 6)
        },
        "receipts": set(sections.get("receipts", "").splitlines()),
        "clock": _whole(clock) if clock else None,
    }
    return Answer.model_validate(told)


def _whole(text: str) -> int | str:
    """A number; what is none is left for the types to refuse."""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else text


def _element(answer: Answer, step: Step, index: int) -> Element:
    own = [one.job for one in answer.jobs if one.step == step.name and one.covers(index)]
    job = own[-1] if own else ""
    label = f"{job}_{index}" if job and step.array > 1 else job
    receipt = "receipt.json" if step.array == 1 else f"receipt-{index:05d}.json"
    proofs = {f"steps/{step.name}/{receipt}", f"steps/{step.name}/outputs-{index}.sha256"}
    if proofs & answer.receipts:
        return Element(step.name, index, "done", label, "COMPLETED", "done")
    if not job:
        return Element(step.name, index, "new", words="not submitted")
    mark = answer.marks.get(f"slurm/{step.name}-{index}.end")
    told = answer.states.get(label) or answer.states.get(job)
    state, reason = (told.state, told.reason) if told else ("LOST", "")
    if mark and state in ("LOST", "FAILED"):
        # The batch script knows more than its exit code told Slurm: stopped, or out of time.
        state = mark.state()
    if state in WAITING:
        return Element(step.name, index, "waiting", label, state, reason_in_words(reason))
    if state in ACTIVE:
        return Element(step.name, index, "running", label, state, "it runs")
    words = ENDS.get(state, (f"Slurm says {state}", ""))[0]
    if state == "CANCELLED" and reason.startswith("Dependency"):
        words = "it was not started, because a step before it failed"
    return Element(step.name, index, "failed", label, state, words)


def _with_steps_here(snapshot: Snapshot, journey: Journey) -> Snapshot:
    """The snapshot in which the steps of this side stand as they do here."""
    own = {step.name: step for step in journey.here}

    def here(step: Step, index: int) -> Element:
        if receipts.receipt_path(journey.run, step, index).exists():
            return Element(step.name, index, "done", state="COMPLETED", words="done")
        return Element(step.name, index, "new", words="to be done on this side, in its turn")

    elements = [here(own[e.step], e.index) if e.step in own else e for e in snapshot.elements]
    return replace(snapshot, elements=elements)


def _job_states(sections: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """State and reason of the jobs Slurm still knows, by the id `squeue` shows; the last counts."""
    for line in sections.get("accounting", "").splitlines():
        if line.startswith("JobId="):
            pairs = (part.partition("=") for part in line.split())
            told = {key: value for key, _, value in pairs}
            label = told["JobId"]
            if told.get("ArrayTaskId", "").isdigit() and "ArrayJobId" in told:
                label = f"{told['ArrayJobId']}_{told['ArrayTaskId']}"
            if state := told.get("JobState"):
                yield label, {"state": state, "reason": told.get("Reason", "")}
        elif "|" in line:
            label, state, *_ = line.split("|")
            yield label, {"state": state.partition(" ")[0].rstrip("+")}
    for line in sections.get("queue", "").splitlines():
        if line.count("|") >= 2:
            label, state, reason, *_ = line.split("|")
            yield label, {"state": state, "reason": reason}


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(f"\n{_SECTION} ")[1:]:
        name, _, content = part.partition("\n")
        yield name, content
