"""Families: what can be trained. Adding one is adding a folder here and a line to `_FAMILIES`.

A family from outside adds itself by an entry point of the group `deepsynth.families`; how, says
docs/adding-a-family.md. A family knows jobs, steps and runs; it never imports a runner, and no
runner imports a family.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from deepsynth.errors import JobError, MissingDependency, RunError
from deepsynth.families.family import Family, ManagedEnvironment, Metric, Verb
from deepsynth.hub.model_card import ModelCard
from deepsynth.job.job import Job, ResolvedJob, read_job
from deepsynth.run.run import Run

__all__ = [
    "Family",
    "ManagedEnvironment",
    "Metric",
    "ModelCard",
    "Verb",
    "environments",
    "family_names",
    "family_of",
    "get_family",
    "job_of",
    "load",
    "load_job",
]

_FAMILIES = {
    "summarize": "deepsynth.families.summarize",
    "classify": "deepsynth.families.classify",
    "htr": "deepsynth.families.htr",
}
_ENTRY_POINTS = "deepsynth.families"


def family_names() -> list[str]:
    """The families that exist, in the order they are shown; those from outside last."""
    return [*_FAMILIES, *_from_outside()]


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        KeyError: There is no such family; callers check `family_names()` first.
        MissingDependency: It comes from outside and cannot be loaded.
    """
    if name in _FAMILIES:
        return import_module(_FAMILIES[name]).FAMILY
    return _load_entry_point(_from_outside()[name])


def environments() -> dict[str, ManagedEnvironment]:
    """The environments that families need besides the one DeepSynth is in, by name."""
    found = (get_family(name).environment for name in family_names())
    return {environment.name: environment for environment in found if environment}


def load_job(path: Path, overrides: Iterable[str] = ()) -> ResolvedJob:
    """Read a job file and apply `key=value` overrides; what it leaves open stays open.

    Raises:
        JobError: With file and line, what is wrong, and what was probably meant.
    """
    return read_job(path, overrides, _job_type)


def load(path: Path, overrides: Iterable[str] = ()) -> ResolvedJob:
    """Read a job file, size its data, and fill what it leaves open with the family's presets.

    Raises:
        JobError: The job cannot be read.
        DataError: Its data cannot be used.
    """
    loaded = load_job(path, overrides)
    return get_family(loaded.job.family).resolve(loaded)


def job_of(run: Run) -> Job:
    """The typed job of a run of any family; a family itself asks `run.job(ItsJob)`."""
    return run.job(family_of(run).job_type)


def family_of(run: Run) -> Family:
    """The family of a run.

    Raises:
        RunError: It is of a family that is not known here.
    """
    name = run.family
    if name not in family_names():
        raise RunError(
            f"this run is of a family not known here: {name}.",
            where=run.path,
            hint=f"Install the package that brings it; known: {', '.join(family_names())}.",
        )
    return get_family(name)


def _job_type(name: object, where: str) -> type[Job]:
    """What `family:` of a job says, as the type of the job."""
    known = family_names()
    if name is None:
        raise JobError(
            "the job does not say its family.",
            where=where,
            hint=f"Add a line `family: NAME`; one of: {', '.join(known)}.",
        )
    if name not in known:
        near = get_close_matches(str(name), known, n=1)
        raise JobError(
            f"family {name!r} is not known.",
            where=where,
            hint=f"Did you mean {near[0]}?" if near else f"One of: {', '.join(known)}.",
        )
    return get_family(str(name)).job_type


def _from_outside() -> dict[str, EntryPoint]:
    found = {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
    return {name: point for name, point in sorted(found.items()) if name not in _FAMILIES}


def _load_entry_point(point: EntryPoint) -> Family:
    package = point.dist.name if point.dist else point.value
    try:
        family = point.load()
    except Exception as error:
        raise MissingDependency(
            f"the family {point.name} cannot be loaded: {type(error).__name__}: {error}",
            where=package,
            hint=f"Mend or remove it: pip install --upgrade {package}, pip uninstall {package}",
        ) from error
    if not isinstance(family, Family) or family.name != point.name:
        raise MissingDependency(
            f"the entry point {point.name} = {point.value} is no Family of that name.",
            where=package,
            hint="docs/adding-a-family.md says what a family needs.",
        )
    return family
