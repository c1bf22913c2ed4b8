"""Step and Plan: a step is a command line, with what it reads, writes and needs.

That one idea lets the same plan run as local processes, as sbatch text, or as Flyte tasks, and
lets families with clashing dependencies live in separate environments.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from deepsynth import __version__
from deepsynth.errors import RunError
from deepsynth.job.settings import Section

_OF_THE_RUN = ("job.yaml", "resolved.yaml", "plan.json", "steps", "logs", "sources", "run.lock")
"""What a run keeps itself: no step makes it, and so no step's outputs are removed there."""


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("one line of printable characters is wanted")
    return text


def _in_the_run(path: str) -> str:
    parts = PurePosixPath(_one_line(path)).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in path:
        raise ValueError("a path inside the run is wanted, without ..")
    if parts[0] in _OF_THE_RUN:
        raise ValueError("that is kept by the run itself")
    return path


Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
"""A name that is a folder, a part of a command and a part of a job's name elsewhere."""

SourceName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$", max_length=200)]
"""Name of something outside the run that is read; also the folder it is staged in elsewhere."""

Title = Annotated[str, StringConstraints(max_length=200), AfterValidator(_one_line)]
"""A line for people; it also stands in batch scripts and generated workflows."""

RunPath = Annotated[str, StringConstraints(max_length=400), AfterValidator(_in_the_run)]
"""A path relative to the run folder."""


class Resources(Section):
    """What a step asks of the machine it runs on."""

    cpus: int = Field(default=1, ge=1, description="Processor cores.")
    memory_gb: float = Field(default=4.0, gt=0, description="Memory in GB (10^9 bytes).")
    core_gb: float = Field(
        default=0.0, ge=0, description="Memory each core more than `cpus` takes, in GB."
    )
    gpus: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Accelerators; 0: it runs on a CPU; auto: one, where the place offers any.",
    )
    minutes: int = Field(default=60, ge=1, description="Time limit in minutes.")


class Step(Section):
    """One command line of a plan.

    In `argv` and `outputs`, `{python}` stands for the interpreter of the step's environment,
    `{run}` for the run folder and `{index}` for the element of an array; in `argv` also `{cpus}`
    for the cores it was given and `{sources[NAME]}` for the place of a source.
    """

    name: Word
    title: Title = Field(default="", description="What it does, for people: `Training`.")
    argv: list[str] = Field(min_length=1)
    environment: Word = Field(
        default="this", description="Name of the environment; see environments.py."
    )
    after: list[Word] = Field(default_factory=list, description="Steps that must be done before.")
    sources: dict[SourceName, str] = Field(
        default_factory=dict, description="Files and folders outside the run that are read."
    )
    inputs: list[RunPath] = Field(
        default_factory=list, description="Paths in the run that are read; made by other steps."
    )
    outputs: list[RunPath] = Field(
        default_factory=list, description="Paths in the run that are made, and owned, by the step."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings that decide the outputs; part of the key."
    )
    array: int = Field(default=1, ge=1, le=100_000, description="Elements of a sharded step.")
    warm: list[str] = Field(
        default_factory=list,
        description="Modules it imports in the course of its work; a warm process has them ready.",
    )
    resources: Resources = Field(default_factory=Resources)
    task: str = Field(
        default="",
        pattern=r"^([a-z_][a-z0-9_]*)?$",
        description="Name pipelines know it by, where that is not NAME_step.",
    )


class StepResult(Section):
    """What a group of steps gives besides what each of them makes."""

    step: str = Field(description="The step that makes it.")
    path: str = Field(description="Where, in what the step makes.")
    kind: Literal["Dir", "File"]


class StepGroup(Section):
    """Steps that pipelines also know as one task, with results of their own."""

    task: str = Field(pattern=r"^[a-z_][a-z0-9_]*$")
    title: Title = Field(description="What it does, for people.")
    steps: list[str] = Field(min_length=1, description="The steps it calls, in order.")
    results: list[StepResult] = Field(description="Its own results, in order.")


class Plan(Section):
    """The steps of a run, in an order in which they can be done."""

    steps: list[Step]
    group: StepGroup | None = None
    deepsynth: str = Field(default="", description="Version that planned it.")

    def as_text(self) -> str:
        """The text of `plan.json`, signed with the version that planned it: this one."""
        signed = self.model_copy(update={"deepsynth": __version__})
        return signed.model_dump_json(indent=2) + "\n"

    @model_validator(mode="after")
    def _ordered(self) -> Plan:
        seen: set[str] = set()
        owners: dict[str, str] = {}
        for step in self.steps:
            if step.name in seen:
                raise ValueError(f"step {step.name} is there twice")
            if missing := set(step.after) - seen:
                raise ValueError(f"step {step.name} comes before {', '.join(sorted(missing))}")
            for output in step.outputs:
                if output in owners:
                    raise ValueError(f"{output} is made by {owners[output]} and {step.name}")
                owners[output] = step.name
            seen.add(step.name)
        return self

    def step(self, name: str) -> Step:
        """The step called `name`.

        Raises:
            RunError: The plan has no such step.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise RunError(
            f"its plan has no step {name}.",
            hint="It was damaged or changed by hand. Make a new run of its job.",
        )

    def upto(self, name: str) -> list[Step]:
        """The step called `name` and everything it needs, in order."""
        wanted = {name}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted |= set(step.after)
        return [step for step in self.steps if step.name in wanted]


if __name__ == "__main__":
    # `python -m deepsynth.run.step RUN NAME [INDEX]` is how a runner that starts processes of its
    # own (a batch script, a container) does one step with receipts.
    from deepsynth.run.execution import main

    raise SystemExit(main())
