"""Runs of jobs: planned, made or found again before anybody works on them."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepsynth.errors import RequestError, RunError
from deepsynth.families import family_of, get_family, job_of, load_job
from deepsynth.job.job import ResolvedJob, settings_of
from deepsynth.job.settings import setting_names
from deepsynth.pages import steps
from deepsynth.run.run import Run, is_run
from deepsynth.run.step import Plan
from deepsynth.run.trust import require_plan
from deepsynth.runners import runner_of
from deepsynth.storage.stores import as_url
from deepsynth.terminal.console import Console
from deepsynth.verbs.locations import bring, remember


@contextmanager
def planned(
    job: Path,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    learn: bool | None = None,
) -> Generator[Run]:
    """A run of a job, planned but not begun, in a folder that goes when the block ends."""
    resolved = _resolve(job, overrides, learn=learn)
    with tempfile.TemporaryDirectory(prefix="deepsynth-plan-") as folder:
        yield _create(Path(folder) / (name or resolved.name), resolved)


def open_or_create(target: Path, overrides: Sequence[str], runs: Path, name: str | None) -> Run:
    """The run that is meant: `target` itself, or the one of a job by that name, made if need be.

    Raises:
        JobError: The job cannot be read.
        RequestError: Settings are given for a run that exists.
        RunError: There is another run by that name, or none can be made there.
    """
    if location := as_url(target):
        target = bring(location)
    if is_run(target):
        refuse_overrides(target, overrides)
        return open_planned(target)
    resolved = _resolve(target, overrides)
    path = runs / (name or f"{resolved.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if location := as_url(path):
        path = bring(location)
    if is_run(path):
        existing = open_planned(path)
        _refuse_other_job(existing, resolved)
        return existing
    made = _create(_make_room(path), resolved)
    return remember(made, location) if location else made


def open_planned(path: Path) -> Run:
    """The run in `path`, sure to have the steps its job makes; see `run.trust`.

    Raises:
        RunError: There is no run there, or its steps are others.
    """
    run = Run.open(path)
    console = Console(stderr=True, soft_wrap=True)
    elsewhere = not runner_of(run).here
    return require_plan(run, _plan_of(run), tell=console.print, elsewhere=elsewhere)


def _plan_of(run: Run) -> Plan:
    """The steps that its job makes, asked again."""
    if not run.family:
        return steps.plan_of(run)
    family = family_of(run)
    job = run.job(family.job_type)
    return family.plan(ResolvedJob(job, settings_of(job, run.settings), "", run.path.name))


def refuse_overrides(target: Path, overrides: Sequence[str]) -> None:
    """Say that a run keeps its settings.

    Raises:
        RequestError: There are overrides.
    """
    if overrides:
        raise RequestError(
            "the settings of an existing run cannot be changed.",
            where=overrides[0],
            hint=f"Make a new run: deepsynth run {target / 'job.yaml'} {' '.join(overrides)}",
        )


def _resolve(path: Path, overrides: Sequence[str], *, learn: bool | None = None) -> ResolvedJob:
    loaded = load_job(path, overrides)
    if learn is not None and "check.learn" in setting_names(type(loaded.job)):
        loaded = load_job(path, [*overrides, f"check.learn={str(learn).lower()}"])
    return get_family(loaded.job.family).resolve(loaded)


def _create(path: Path, resolved: ResolvedJob) -> Run:
    return Run.create(path, resolved, get_family(resolved.job.family).plan(resolved))


def _make_room(path: Path) -> Path:
    if not re.fullmatch(r"[^/\0]{1,120}", path.name) or path.name in (".", ".."):
        raise RunError(
            "this is no name for a run.", where=path, hint="Give a short plain one with --name."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder of runs cannot be made: {error.strerror}.",
            where=path.parent,
            hint="Choose another with --runs DIR.",
        ) from error
    return path


def _refuse_other_job(existing: Run, resolved: ResolvedJob) -> None:
    theirs, ours = settings_of(job_of(existing), existing.settings), resolved.settings
    for key in dict.fromkeys([*theirs, *ours]):
        there = theirs[key].value if key in theirs else None
        here = ours[key].value if key in ours else None
        if there != here:
            raise RunError(
                f"this run is of another job: {key} is {there!r} there and {here!r} here.",
                where=existing.path,
                hint="Choose another --name.",
            )
