"""Families: what can be trained. Adding one is adding a folder here and a line to `FAMILIES`.

A family from outside adds itself by an entry point of the group `deepsynth.families`; how, says
docs/adding-a-family.md. A family knows jobs, steps and runs; it never imports a runner, and no
runner imports a family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.checks import Finding, Severity
from deepsynth.errors import JobError, RunError
from deepsynth.families.family import Family, JobFlags, ManagedEnvironment, Metric
from deepsynth.registry import Registry

if TYPE_CHECKING:
    from deepsynth.job.job import Job, ResolvedJob
    from deepsynth.run.run import Run

__all__ = [
    "FAMILIES",
    "Family",
    "JobFlags",
    "ManagedEnvironment",
    "Metric",
    "environments",
    "every_family",
    "family_names",
    "family_of",
    "get_family",
    "job_of",
    "load",
    "load_job",
]

FAMILIES = Registry(
    "deepsynth.families",
    Family,
    {
        "summarize": "deepsynth.families.summarize:FAMILY",
        "classify": "deepsynth.families.classify:FAMILY",
        "htr": "deepsynth.families.htr:FAMILY",
    },
)
"""What can be trained."""


def family_names() -> list[str]:
    """The families that exist, in the order they are shown; those from outside last."""
    return list(FAMILIES)


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        KeyError: There is no such family; callers check `family_names()` first.
        MissingDependency: It comes from outside and cannot be loaded.
    """
    return FAMILIES.get(name)


def every_family() -> Iterator[Family]:
    """Every family that can be loaded; of the others `doctor` tells."""
    return FAMILIES.loadable()


def environments() -> dict[str, ManagedEnvironment]:
    """The environments that families need besides the one DeepSynth is in, by name."""
    found = (family.environment for family in every_family())
    return {environment.name: environment for environment in found if environment}


def doctor() -> Iterator[Finding]:
    """What every family says of its environment on this machine."""
    for error in FAMILIES.broken():
        where, fix = error.where or "", error.hint or ""
        yield Finding(Severity.ERROR, "family-broken", where, error.what, fix)
    for environment in environments().values():
        yield from environment.probe()


def load_job(path: Path, overrides: Iterable[str] = ()) -> ResolvedJob:
    """Read a job file and apply `key=value` overrides; what it leaves open stays open.

    Raises:
        JobError: With file and line, what is wrong, and what was probably meant.
    """
    from deepsynth.job.job import read_job

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
    if not run.family:
        raise RunError(
            "this run draws pages: it has no family and no model.",
            where=run.path,
            hint=f"Its datasets lie in {run.path / 'datasets'}.",
        )
    if run.family not in FAMILIES:
        raise RunError(
            f"this run is of a family not known here: {run.family}.",
            where=run.path,
            hint=f"Install the package that brings it; known: {', '.join(FAMILIES)}.",
        )
    return get_family(run.family)


def _job_type(name: object, where: str) -> type[Job]:
    """What `family:` of a job says, as the type of the job."""
    known = list(FAMILIES)
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
