"""Runners: where steps execute. Adding one is adding a folder here and a line to `RUNNERS`.

A runner from outside adds itself by an entry point of the group `deepsynth.runners`; how, says
docs/adding-a-runner.md. A runner knows jobs, steps and runs; it never imports a family, and no
family imports a runner.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.errors import RequestError, RunError
from deepsynth.registry import Registry
from deepsynth.runners.runner import Runner, RunnerKind

if TYPE_CHECKING:
    from deepsynth.checks import Finding
    from deepsynth.run.run import Run

__all__ = ["RUNNERS", "Runner", "RunnerKind", "get_runner", "runner_of"]

RUNNERS = Registry(
    "deepsynth.runners",
    RunnerKind,
    {
        "local": "deepsynth.runners.local:RUNNER",
        "slurm": "deepsynth.runners.slurm:RUNNER",
        "flyte": "deepsynth.runners.flyte:RUNNER",
    },
)
"""The kinds of runner. A new run starts on the first."""


def get_runner(name: str | None = None, beside: Path | None = None) -> Runner:
    """The runner a user names with `--on`; the one of this machine for None.

    Args:
        name: A kind of runner, `KIND:DETAIL`, or a place that a kind knows by its name.
        beside: Folder of the job, in which settings of a runner may lie.

    Raises:
        RequestError: There is no such runner or place.
    """
    name = name or next(iter(RUNNERS))
    kind, _, detail = name.partition(":")
    if kind in RUNNERS:
        return RUNNERS.get(kind).create(detail, beside)
    known, advice = list(RUNNERS), list[str]()
    for kind in kinds():
        places = kind.places(beside)
        if name in places:
            return kind.create(name, beside)
        known += places
        advice += filter(None, [kind.advice(name)])
    near = get_close_matches(name, known, n=1)
    raise RequestError(
        f"there is no runner and no site {name}.",
        where="--on",
        hint="\n  ".join(
            [f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}.", *advice]
        ),
    )


def runner_of(run: Run, on: str | None = None, beside: Path | None = None) -> Runner:
    """The runner a user names for a run, else the one that worked on it last.

    That of this machine, if nobody did. A run at a site carries what is needed to reach it; where
    the folder may be somebody else's, the user must name the site.

    Args:
        run: The run.
        on: As after `--on`, if it was given.
        beside: Folder of the job, in which settings of a runner may lie.

    Raises:
        RequestError: There is no such runner or place.
        RunError: It was run by a kind of runner, or at a site, that is not known here.
    """
    if on is not None:
        return get_runner(on, beside)
    begun = run.runners()
    if not begun:
        return get_runner()
    kind, _, detail = begun[-1].partition(":")
    if kind not in RUNNERS:
        raise RunError(
            f"it was run by a runner that is not known here: {kind}.",
            where=run.path,
            hint=f"Install the package that brings it; known: {', '.join(RUNNERS)}.",
        )
    return RUNNERS.get(kind).attach(run, detail)


def kinds() -> Iterator[RunnerKind]:
    """Every kind of runner that can be loaded; of the others `doctor` tells."""
    return RUNNERS.loadable()


def on_help() -> str:
    """What may follow `--on`, for help texts."""
    return ", ".join(kind.on for kind in kinds())


def doctor() -> Iterator[Finding]:
    """What every runner says of itself on this machine."""
    from deepsynth.checks import Finding, Severity

    for error in RUNNERS.broken():
        where, fix = error.where or "", error.hint or ""
        yield Finding(Severity.ERROR, "runner-broken", where, error.what, fix)
    for kind in kinds():
        yield from kind.doctor()
