"""The verbs that work on a run: run, prepare, check, train, evaluate."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from deepsynth.checks import Finding, Severity, worst
from deepsynth.checks.report import by_severity, measured_findings, read_findings
from deepsynth.errors import (
    EXIT_REQUEST,
    EXIT_STOPPED,
    DeepSynthError,
    RequestError,
    RunError,
    StepFailed,
)
from deepsynth.families import Family, family_of, get_family, job_of, load_job
from deepsynth.job.job import ResolvedJob, settings_of
from deepsynth.job.settings import setting_names
from deepsynth.run.execution import raise_stopped
from deepsynth.run.run import Run, is_run
from deepsynth.runners import Runner, get_runner, on_help, runner_of
from deepsynth.storage.stores import as_url
from deepsynth.terminal.display import RunDisplay
from deepsynth.terminal.findings import print_findings
from deepsynth.verbs.locations import bring, keep, remember

Runs = Annotated[
    Path,
    Parameter(help="Folder in which new run folders are made, or a location such as s3://B/RUNS."),
]
Name = Annotated[str | None, Parameter(help="Name of the run folder; job and time by default.")]
On = Annotated[
    str | None,
    Parameter(
        help=f"Where the steps execute: {on_help()}. A run goes on where it was; a new one starts "
        "on this machine."
    ),
]
Quiet = Annotated[bool, Parameter(help="Show no progress.", negative=())]
Offline = Annotated[
    bool,
    Parameter(help="Ask no server: use what earlier runs left in the caches.", negative=()),
]
Cold = Annotated[
    bool,
    Parameter(
        help="Start every step anew, instead of from one process that has imported what it needs.",
        negative=(),
    ),
]
Target = Annotated[Path, Parameter(help="A job file, or a run folder.")]
Overrides = Annotated[str, Parameter(help="Settings as key=value, such as train.epochs=3.")]


def run(
    job: Annotated[Path | None, Parameter(help="The job file.")] = None,
    /,
    *overrides: Overrides,
    on: On = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    resume: Annotated[Path | None, Parameter(help="Go on with this run instead.")] = None,
    dry_run: Annotated[
        bool, Parameter(help="Print what would be executed; do nothing.", negative=())
    ] = False,
    offline: Offline = False,
    cold: Cold = False,
    quiet: Quiet = False,
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
    _stay_here(offline, cold, on)
    if dry_run and job is not None:
        with planned(job, overrides, name=name) as shown:
            print(get_runner(on, job.parent).dry_run(shown, shown.plan.steps))
        return 0
    if resume is not None:
        if job is not None:
            raise RequestError(
                "a run to resume has its own job.", where=job, hint="Give one or the other."
            )
        location = as_url(resume)
        target = Run.open(bring(location) if location else resume)
    elif job is None:
        raise RequestError("no job is given.", hint="deepsynth run JOB, or --resume RUN")
    else:
        target = _open_or_create(job, overrides, runs, name)
    return _do(target, None, on, quiet, cold, job.parent if job else None)


def prepare(
    target: Target,
    /,
    *overrides: Overrides,
    on: On = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    offline: Offline = False,
    cold: Cold = False,
    quiet: Quiet = False,
) -> int:
    """Read, clean and split the data of a job; nothing is trained.

    For example:

    ```
    deepsynth prepare tickets/job.yaml
    ```
    """
    _stay_here(offline, cold, on)
    made = _open_or_create(target, overrides, runs, name)
    return _do(made, "prepare", on, quiet, cold, target.parent)


def train(
    target: Target,
    /,
    *overrides: Overrides,
    on: On = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    offline: Offline = False,
    cold: Cold = False,
    quiet: Quiet = False,
) -> int:
    """Train the model of a job or run, preparing and checking first.

    For example:

    ```
    deepsynth train tickets/job.yaml train.epochs=5
    ```
    """
    _stay_here(offline, cold, on)
    made = _open_or_create(target, overrides, runs, name)
    return _do(made, "train", on, quiet, cold, target.parent)


def evaluate(
    target: Target,
    /,
    *overrides: Overrides,
    on: On = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    offline: Offline = False,
    cold: Cold = False,
    quiet: Quiet = False,
) -> int:
    """Score the model of a job or run and write its report, training first if need be.

    For example:

    ```
    deepsynth evaluate runs/tickets
    ```
    """
    _stay_here(offline, cold, on)
    made = _open_or_create(target, overrides, runs, name)
    return _do(made, "evaluate", on, quiet, cold, target.parent)


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
    offline: Offline = False,
    cold: Cold = False,
    quiet: Quiet = False,
) -> int:
    """Look for what would go wrong, without a GPU and before anything expensive runs.

    Exit code 1 when there is an error finding. A job is checked without leaving a run folder.

    For example:

    ```
    deepsynth check tickets/job.yaml
    deepsynth check tickets/job.yaml --learn --json
    ```
    """
    _stay_here(offline, False, None)
    if is_run(target):
        _refuse_overrides(target, overrides)
        findings = _check(Run.open(target), quiet or as_json, cold)
    else:
        with planned(target, overrides, learn=learn) as made:
            findings = _check(made, quiet or as_json, cold)
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        print_findings(findings)
    return 1 if worst(findings) is Severity.ERROR else 0


def _stay_here(offline: bool, cold: bool, on: str | None) -> None:
    """Refuse for a centre what is about this machine; tell its steps to ask no server."""
    if (offline or cold) and on is not None and not get_runner(on).here:
        offline_there = (
            "At a centre, put `export HF_HUB_OFFLINE=1` into the setup of its environment."
        )
        raise RequestError(
            "this is about this machine, not about a centre.",
            where="--offline" if offline else "--cold",
            hint=offline_there if offline else "Elsewhere every step is started anew.",
        )
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _check(run: Run, quiet: bool, cold: bool) -> list[Finding]:
    try:
        runner = get_runner()
        runner.warm = not cold
        _work(run, "check", runner, quiet)
    except StepFailed:
        # An error finding ends the step; any other failure leaves no findings behind.
        findings = read_findings(run.path / "checks")
        if worst(findings) is not Severity.ERROR:
            raise
    return by_severity([*read_findings(run.path / "checks"), *measured_findings(run, "check")])


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
        path = Path(folder) / (name or resolved.name)
        yield Run.create(path, resolved, _family_of(resolved).plan(resolved))


def _open_or_create(target: Path, overrides: tuple[str, ...], runs: Path, name: str | None) -> Run:
    if location := as_url(target):
        target = bring(location)
    if is_run(target):
        _refuse_overrides(target, overrides)
        return Run.open(target)
    resolved = _resolve(target, overrides)
    path = runs / (name or f"{resolved.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if location := as_url(path):
        path = bring(location)
    if is_run(path):
        existing = Run.open(path)
        _refuse_other_job(existing, resolved)
        return existing
    made = Run.create(_make_room(path), resolved, _family_of(resolved).plan(resolved))
    return remember(made, location) if location else made


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


def _refuse_overrides(target: Path, overrides: tuple[str, ...]) -> None:
    if overrides:
        raise RequestError(
            "the settings of an existing run cannot be changed.",
            where=overrides[0],
            hint=f"Make a new run: deepsynth run {target / 'job.yaml'} {' '.join(overrides)}",
        )


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


def _resolve(path: Path, overrides: Sequence[str], *, learn: bool | None = None) -> ResolvedJob:
    loaded = load_job(path, overrides)
    if learn is not None and "check.learn" in setting_names(type(loaded.job)):
        loaded = load_job(path, [*overrides, f"check.learn={str(learn).lower()}"])
    return _family_of(loaded).resolve(loaded)


def _family_of(resolved: ResolvedJob) -> Family:
    return get_family(resolved.job.family)


def _do(
    run: Run, last: str | None, on: str | None, quiet: bool, cold: bool, beside: Path | None
) -> int:
    is_new = not run.was_started()
    try:
        runner = get_runner(on, beside) if on else runner_of(run)
        runner.warm = not cold
        _work(run, last, runner, quiet)
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
    return 0


def _work(run: Run, last: str | None, runner: Runner, quiet: bool) -> None:
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
    console = Console(highlight=False, file=sys.stdout)
    final = run.final_metrics()
    if final is not None:
        for line in family_of(run).headline(final):
            console.print(line, markup=False)
    report = run.path / "report.html"
    console.print(f"Run: {run.path}", soft_wrap=True, markup=False)
    if report.exists():
        console.print(f"Report: {report}", soft_wrap=True, markup=False)
