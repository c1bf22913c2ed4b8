"""Families: what can be trained. Adding one is adding a folder here and a line to `_FAMILIES`.

A family knows jobs, steps and runs; it never imports a runner, and no runner imports a family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.job.job import Job, Recommendation, ResolvedJob, with_local_copies
from deepsynth.run.step import Plan

if TYPE_CHECKING:
    from deepsynth.run.run import Run

_FAMILIES = {
    "summarize": "deepsynth.families.summarize",
    "classify": "deepsynth.families.classify",
    "htr": "deepsynth.families.htr",
}


@dataclass(frozen=True)
class Family:
    """What the house needs to know of a family.

    Attributes:
        name: As written in a job's `family:`.
        summary: One line for help texts.
        job_type: The pydantic model of its job.
        measure: Looks at the data just enough to size it (rows, pages); raises `DataError` for
            data that cannot be used at all. The result feeds `recommend`.
        recommend: Proposes values, with reasons, for settings the job leaves open.
        plan: The steps, as command lines, of a resolved job.
        headline: The final figures in a line or a few, for the end of a run.
        predict: Uses the model of a run on texts, and on a file if one is given; yields one plain
            dictionary for each answer.
        show: One answer of `predict` as a line for people.
        template: Folder with what `deepsynth init` writes.
        workspace: Writes more than the template can: gets the folder and the names asked for with
            `--name`, returns the files written. None: `init` copies the template.
    """

    name: str
    summary: str
    job_type: type[Job]
    measure: Callable[[Any], Any]
    recommend: Callable[[Any, Any], list[Recommendation]]
    plan: Callable[[ResolvedJob], Plan]
    headline: Callable[[dict[str, Any]], list[str]]
    predict: Callable[[Run, Sequence[str], Path | None], Iterator[dict[str, Any]]]
    show: Callable[[dict[str, Any]], str]
    template: Path
    workspace: Callable[[Path, Sequence[str]], list[Path]] | None = None

    def resolve(self, loaded: ResolvedJob) -> ResolvedJob:
        """Size the data and let the presets fill what the job leaves open."""
        here = with_local_copies(loaded.job)
        return loaded.with_recommendations(self.recommend(here, self.measure(here)))


def family_names() -> list[str]:
    """The families that exist, in the order they are shown."""
    return list(_FAMILIES)


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        KeyError: There is no such family; callers check `family_names()` first.
    """
    return import_module(_FAMILIES[name]).FAMILY
