"""The verbs that work on a run: run, prepare, check, evaluate; `train` has a module of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deepsynth.checks import Finding, Severity, worst
from deepsynth.checks.report import by_severity, measured_findings, read_findings
from deepsynth.errors import (
    EXIT_REQUEST,
    EXIT_STOPPED,
    DeepSynthError,
    RequestError,
    StepFailed,
)
from deepsynth.families import family_of
from deepsynth.printing import say
from deepsynth.run.execution import raise_stopped
from deepsynth.run.run import Run, is_run
from deepsynth.runners import Runner, get_runner, on_help, runner_of
from deepsynth.storage.stores import as_url
from deepsynth.terminal.console import Console
from deepsynth.terminal.display import RunDisplay
from deepsynth.terminal.findings import print_findings
from deepsynth.verbs.locations import bring, keep
from deepsynth.verbs.runs import open_or_create, open_planned, planned, refuse_overrides

Target = Annotated[Path, Parameter(help="A job file, or a run folder.")]
Overrides = Annotated[str, Parameter(help="Settings as key=value, such as train.epochs=3.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Here:
    """How steps are started on this machine, and what is shown of them."""

    offline: Annotated[
        bool,
        Parameter(help="Ask no server: use what earlier runs left in the caches.", negative=()),
    ] = False
    cold: Annotated[
        bool,
        Parameter(
            help="Start every step anew, instead of from one process that has imported what it "
            "needs.",
            negative=(),
        ),
    ] = False
    quiet: Annotated[bool, Parameter(help="Show no progress.", negative=())] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Work(Here):
    """Where a run lies and where its steps execute."""

    on: Annotated[
        str | None,
        Parameter(
            help=f"Where the steps execute: {on_help()}. A run goes on where it was; a new one "
            "starts on this machine."
        ),
    ] = None
    runs: Annotated[
        Path,
        Parameter(
            help="Folder in which new run folders are made, or a location such as s3://B/RUNS."
        ),
    ] = Path("runs")
    name: Annotated[
        str | None, Parameter(help="Name of the run folder; job and time by default.")
    ] = None


_HERE, _WORK = Here(), Work()


def run(
    job: Annotated[Path | None, Parameter(help="The job file.")] = None,
    /,
    *overrides: Overrides,
    resume: Annotated[Path | None, Parameter(help="Go on with this run instead.")] = None,
    dry_run: Annotated[
        bool, Parameter(help="Print what would be executed; do nothing.", negative=())
    ] = False,
    work: Work = _WORK,
) -> int:
    """Do everything a job says: prepare, check, train, evaluate.

    Ctrl-C stops cleanly; `--resume` goes on where it stopped.

    For example:

    ```
    deepsynth run tickets/job.yaml
    deepsynth run tickets/job.yaml train.epochs=5 --name five-epochs
    deepsynth run --resume runs/five-epochs
    deepsynth run tickets/job.yaml --on hpc --dry-run
    ```
    """
    _stay_here(work, work.on)
    if resume is not None:
        if job is not None:
            raise RequestError(
                "a run to resume has its own job.", where=job, hint="Give one or the other."
            )
        location = as_url(resume)
        begun = open_planned(bring(location) if location else resume)
        if not dry_run:
            return work_on(begun, None, work)
        say(runner_of(begun, work.on).dry_run(begun, begun.plan.steps))
        return 0
    if job is None:
        raise RequestError("no job is given.", hint="deepsynth run JOB, or --resume RUN")
    if not dry_run:
        return work_until(None, job, overrides, work)
    with planned(job, overrides, name=work.name) as shown:
        say(runner_of(shown, work.on, job.parent).dry_run(shown, shown.plan.steps))
    return 0


def prepare(target: Target, /, *overrides: Overrides, work: Work = _WORK) -> int:
    """Read, clean and split the data of a job; nothing is trained.

    For example:

    ```
    deepsynth prepare tickets/job.yaml
    ```
    """
    return work_until("prepare", target, overrides, work)


def evaluate(target: Target, /, *overrides: Overrides, work: Work = _WORK) -> int:
    """Score the model of a job or run and write its report, training first if need be.

    For example:

    ```
    deepsynth evaluate runs/tickets
    ```
    """
    return work_until("evaluate", target, overrides, work)


def check(
    target: Target,
    /,
    *overrides: Overrides,
    learn: Annotated[
        bool, Parameter(help="Also prove that the model can overfit one batch.", negative=())
    ] = False,
    as_json: Annotated[
        bool, Parameter(name="--json", help="Print the findings as JSON.", negative=())
    ] = False,
    on: Annotated[
        str | None, Parameter(help="Also say what the run would ask of this place.")
    ] = None,
    here: Here = _HERE,
) -> int:
    """Look for what would go wrong, without a GPU and before anything expensive runs.

    Exit code 1 when there is an error finding. A job is checked without leaving a run folder.

    For example:

    ```
    deepsynth check tickets/job.yaml
    deepsynth check tickets/job.yaml --learn --json
    ```
    """
    _stay_here(here, None)
    place = get_runner(on, target.parent) if on else None
    if is_run(target):
        refuse_overrides(target, overrides)
        findings = _check(open_planned(target), here, place, quiet=here.quiet or as_json)
    else:
        with planned(target, overrides, learn=learn) as made:
            findings = _check(made, here, place, quiet=here.quiet or as_json)
    if as_json:
        say(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        print_findings(findings)
    return 1 if worst(findings) is Severity.ERROR else 0


def work_until(last: str | None, target: Path, overrides: Sequence[str], work: Work) -> int:
    """Do the steps of a job or run up to the one called `last`, all of them for None.

    Raises:
        DeepSynthError: It went wrong; a folder in which nothing was made is removed again.
    """
    _stay_here(work, work.on)
    run = open_or_create(target, overrides, work.runs, work.name)
    return work_on(run, last, work, beside=target.parent)


def work_on(run: Run, last: str | None, work: Work, beside: Path | None = None) -> int:
    """Do the steps of a run up to the one called `last`, all of them for None.

    Raises:
        DeepSynthError: It went wrong; a new folder in which nothing was made is removed again.
    """
    is_new = not run.was_started()
    try:
        runner = runner_of(run, work.on, beside)
        runner.warm = not work.cold
        _do(run, last, runner, quiet=work.quiet)
    except DeepSynthError as error:
        if (
            is_new
            and error.exit_code == EXIT_REQUEST
            and runner_of(run).here
            and not (run.has_receipts() or run.is_locked())
        ):
            # Nothing was made; a folder that only says so would stand in the way of the next try.
            # One that leads to a site or a cluster stays: it is the way to what lies there.
            shutil.rmtree(run.path)
        if error.exit_code == EXIT_STOPPED:
            more = f"\n  {error.hint}" if error.hint else ""
            error.hint = f"Go on: deepsynth run --resume {run.path}{more}"
        try:
            keep(run)
        except DeepSynthError as unkept:
            error.hint = f"{error.hint or ''}\n  Not put into storage: {unkept}".strip()
        raise
    keep(run)
    _print_result(run)
    if run.family and run.final_metrics() and (family := family_of(run)).keep:
        for path in family.keep(run):
            say(f"Kept: {path}")
    return 0


def _stay_here(here: Here, on: str | None) -> None:
    """Refuse for a centre what is about this machine; tell its steps to ask no server."""
    if (here.offline or here.cold) and on is not None and not get_runner(on).here:
        offline_there = (
            "At a centre, put `export HF_HUB_OFFLINE=1` into the setup of its environment."
        )
        raise RequestError(
            "this is about this machine, not about a centre.",
            where="--offline" if here.offline else "--cold",
            hint=offline_there if here.offline else "Elsewhere every step is started anew.",
        )
    if here.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _check(run: Run, here: Here, place: Runner | None, *, quiet: bool) -> list[Finding]:
    try:
        runner = get_runner()
        runner.warm = not here.cold
        _do(run, "check", runner, quiet=quiet)
    except StepFailed:
        # An error finding ends the step; any other failure leaves no findings behind.
        findings = read_findings(run.path / "checks")
        if worst(findings) is not Severity.ERROR:
            raise
    found = [*read_findings(run.path / "checks"), *measured_findings(run, "check")]
    return by_severity([*found, *(place.demands(run.plan.steps) if place else [])])


def _do(run: Run, last: str | None, runner: Runner, *, quiet: bool) -> None:
    if last is not None and last not in [step.name for step in run.plan.steps]:
        raise RequestError(
            f"a run of this family has no step {last}.",
            where=run.path,
            hint=f"Steps: {', '.join(step.name for step in run.plan.steps)}.",
        )
    steps = run.plan.upto(last) if last else run.plan.steps
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup deepsynth run ...` ignores SIGHUP so that the run outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_stopped)
    with RunDisplay(run, quiet=quiet) as display:
        runner.run(run, steps, display.tick)


def _print_result(run: Run) -> None:
    console = Console(file=sys.stdout)
    final = run.final_metrics()
    if final is not None and run.family:
        for line in family_of(run).headline(final):
            console.print(line)
    report = run.path / "report.html"
    console.print(f"Run: {run.path}", soft_wrap=True)
    if report.exists():
        console.print(f"Report: {report}", soft_wrap=True)
