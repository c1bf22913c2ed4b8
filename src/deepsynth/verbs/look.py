"""The verbs that look at runs, or stop one: status, logs, stop, compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from deepsynth import families
from deepsynth.duration import duration
from deepsynth.errors import DeepSynthError, RequestError, RunError
from deepsynth.families.family import Comparison
from deepsynth.printing import say
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from deepsynth.runners import get_runner, runner_of
from deepsynth.terminal.console import Console

_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "stopped": "yellow",
    "interrupted": "yellow",
    "pending": "dim",
    "broken": "red",
}
_BEGUN = ("running", "done", "failed")
On = Annotated[
    str | None,
    Parameter(help="Where it runs, for a run folder that was not sent from this machine."),
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.", negative=())]


def status(
    run: Annotated[Path | None, Parameter(help="A run folder; all runs when left out.")] = None,
    /,
    *,
    on: On = None,
    runs: Annotated[Path, Parameter(help="Folder of the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Say how a run stands, or list all runs.

    For example:

    ```
    deepsynth status
    deepsynth status runs/tickets
    ```
    """
    console = Console()
    if run is None:
        found = [Run(path.parent) for path in sorted(runs.glob("*/plan.json"))]
        states = {one.path: _state_of(one) for one in found}
        if as_json:
            told = {path.name: state for path, (state, _) in states.items()}
            say(json.dumps(told, ensure_ascii=False, indent=2))
        elif not found:
            said = f"There are no runs in {runs}. Make one: deepsynth run JOB"
            console.print(said, soft_wrap=True)
        for path, (state, why) in ({} if as_json else states).items():
            console.print(_state(state, 12) + f"{path}{why}", soft_wrap=True)
        return 0
    opened = Run.open(run)
    problem: DeepSynthError | None = None
    lines: list[str] = []
    try:
        lines = runner_of(opened, on).lines(opened)
    except DeepSynthError as error:
        problem = error  # what was last heard is shown before it
    state = run_state(opened)
    if as_json:
        steps = [vars(step) for step in state.steps]
        say(json.dumps({"state": state.state, "steps": steps}, ensure_ascii=False, indent=2))
        if problem is not None:
            raise problem
        return 0
    console.print(Text(f"{opened.path}: ") + _state(state.state), soft_wrap=True)
    for step in state.steps:
        detail = duration(step.seconds) if step.seconds else ""
        if step.progress and step.state == "running":
            p = step.progress
            detail += f", {p['done']} of {p['total']} {p['unit']} {p['note']}"
        console.print(Text("  ") + _state(step.state, 12) + f"{step.title:38} {detail}")
        if step.error:
            console.print(f"    {step.error['what']}", soft_wrap=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    if problem is not None:
        raise problem
    if state.state in ("failed", "stopped", "interrupted"):
        console.print(f"Go on: deepsynth run --resume {opened.path}", soft_wrap=True)
    return 0


def logs(
    run: Annotated[Path, Parameter(help="A run folder.")],
    step: Annotated[str | None, Parameter(help="A step; the last that printed by default.")] = None,
    /,
    *,
    on: On = None,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), help="Go on until the run ends.", negative=())
    ] = False,
) -> int:
    """Print what a step printed.

    For example:

    ```
    deepsynth logs runs/tickets train -f
    ```
    """
    opened = Run.open(run)
    runner = runner_of(opened, on)
    names = [s.name for s in opened.plan.steps]
    if step is not None and step not in names:
        raise RequestError(f"there is no step {step!r}.", hint=f"Steps: {', '.join(names)}.")
    if step is None:
        runner.lines(opened)  # hears what became of steps elsewhere
        begun = {e["step"] for e in opened.events() if e["kind"] == "step_started"}
        begun |= {s.name for s in run_state(opened).steps if s.state in _BEGUN}
        printed = [n for n in names if n in begun or (opened.path / f"logs/{n}.log").exists()]
        if not printed:
            raise RunError("no step has printed anything yet.", where=run)
        step = printed[-1]
    for line in runner.logs(opened, step, follow=follow):
        say(line.replace("\r", "\n"), flush=follow)
    return 0


def stop(
    run: Annotated[
        Path | None, Parameter(help="A run folder; none, with --on: all runs of a site.")
    ] = None,
    /,
    *,
    on: On = None,
) -> int:
    """Ask a run to save and stop; `deepsynth run --resume` goes on later.

    For example:

    ```
    deepsynth stop runs/tickets
    deepsynth stop --on hpc
    ```
    """
    if run is None:
        stopped = get_runner(on).stop_all()
        say("\n".join(f"Stopped: {name}" for name in stopped) or "Nothing waits or runs there.")
        return 0
    opened = Run.open(run)
    runner = runner_of(opened, on)
    say("Asking it to save and end; that may take two minutes.", file=sys.stderr, flush=True)
    runner.stop(opened)
    say(f"Stopped. Go on: deepsynth run --resume {opened.path}")
    return 0


def fetch(
    run: Annotated[Path, Parameter(help="A run folder.")],
    /,
    *,
    on: On = None,
    everything: Annotated[
        bool, Parameter(help="Also compiled data, which only later steps read.", negative=())
    ] = False,
) -> int:
    """Bring what a run made elsewhere into its folder here, and verify it.

    For example:

    ```
    deepsynth fetch runs/letters
    ```
    """
    opened = Run.open(run)
    runner_of(opened, on).fetch(opened, everything=everything)
    state = run_state(opened).state
    say(f"Fetched: {opened.path}" + f" (so far; it is {state})" * (state != "done"))
    return 0


def compare(
    *runs: Annotated[Path, Parameter(help="Two or more run folders.")], as_json: AsJson = False
) -> int:
    """Put the figures of several runs side by side, then the settings in which they differ.

    For example:

    ```
    deepsynth compare runs/three-epochs runs/five-epochs
    ```
    """
    if len(runs) < 2:
        raise RequestError("give at least two runs.", hint="deepsynth compare RUN RUN")
    opened = [Run.open(path) for path in runs]
    unfinished = [run.path for run in opened if run.final_metrics() is None]
    if unfinished:
        raise RunError(
            "this run has no figures yet.",
            where=unfinished[0],
            hint=f"Finish it: deepsynth run --resume {unfinished[0]}",
        )
    figures = [_flat(run.final_metrics() or {}) for run in opened]
    settings = [{k: s.value for k, s in run.settings.items()} for run in opened]
    differing = [
        key
        for key in dict.fromkeys(key for found in settings for key in found)
        if len({json.dumps(found.get(key)) for found in settings}) > 1
    ]
    shown = _first(opened, [k for k in figures[0] if all(k in found for found in figures)])
    if as_json:
        say(
            json.dumps(
                {
                    str(run.path): {
                        "figures": {k: found[k] for k in shown},
                        "settings": {k: values.get(k) for k in differing},
                    }
                    for run, found, values in zip(opened, figures, settings, strict=True)
                },
                ensure_ascii=False,
                indent=2,
            )
        )
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for run in opened:
        table.add_column(run.path.name, justify="right", overflow="fold")
    compared = _compared(opened) or Comparison(
        [], {key: [found[key] for found in figures] for key in shown}
    )
    for line in compared.said:
        say(line)
    for key, values in compared.figures.items():
        table.add_row(key, *("" if value is None else _number(value) for value in values))
    table.add_section()
    for key in differing:
        table.add_row(key, *(str(values.get(key, "")) for values in settings))
    Console().print(table)
    return 0


def _compared(runs: Sequence[Run]) -> Comparison | None:
    """What the family of all of them shows; None where they have none or are of several."""
    if len({run.family for run in runs}) > 1 or not runs[0].family:
        return None
    made = families.family_of(runs[0]).compare
    return made(runs) if made else None


def _first(runs: Sequence[Run], shown: Sequence[str]) -> list[str]:
    """The names of figures, those by which runs of their families are compared before others."""
    own = [metric.key for run in runs if run.family for metric in families.family_of(run).metrics]
    return [
        *(key for key in dict.fromkeys(own) if key in shown),
        *(k for k in shown if k not in own),
    ]


def _state_of(run: Run) -> tuple[str, str]:
    """State of a run for the list of all, and why it has none: a broken one hides no other."""
    try:
        return run_state(run).state, ""
    except RunError as error:
        return "broken", f": {error.what}"
    except OSError as error:
        return "broken", f": it cannot be read: {error.strerror}."


def _state(state: str, width: int = 0) -> Text:
    return Text(f"{state:{width}}", style=_COLOURS[state])


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = value
    return flat


def _number(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
