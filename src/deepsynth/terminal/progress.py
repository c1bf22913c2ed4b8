"""Showing `Progress`: bars on a terminal, a line for each tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from deepsynth.run.progress import Progress, Report, silent
from deepsynth.terminal.console import Console


@contextmanager
def progress_shown(*, quiet: bool = False) -> Generator[Report]:
    """Show on standard error what the report is told inside the block."""
    console = Console(file=sys.stderr, soft_wrap=True)
    if quiet:
        yield silent
    elif console.is_terminal:
        with Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeRemainingColumn(),
            console=console,
        ) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(console)


class _Bars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, state: Progress) -> None:
        if not state.total:
            self._bars.console.print(f"{state.what}: {state.note}")
            return
        if state.what not in self._tasks:
            self._tasks[state.what] = self._bars.add_task(state.what, total=None, amount="")
        task = self._bars.tasks[self._tasks[state.what]]
        scale, unit = _scale(state.unit)
        speed = f", {_number(task.speed, scale)} {unit}/s" if task.speed else ""
        self._bars.update(
            task.id,
            completed=state.done - state.resumed,
            total=state.total - state.resumed,
            amount=f"{_of(state)}{speed}",
        )


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths: dict[str, int] = {}

    def __call__(self, state: Progress) -> None:
        if not state.total:
            self._console.print(f"{state.what}: {state.note}")
            return
        tenth = 10 * state.done // state.total
        if tenth > self._tenths.get(state.what, 0):
            self._tenths[state.what] = tenth
            self._console.print(f"{state.what}: {_of(state)}")


def _of(state: Progress) -> str:
    scale, unit = _scale(state.unit)
    return f"{_number(state.done, scale)} of {_number(state.total, scale)} {unit}".rstrip()


def _scale(unit: str) -> tuple[float, str]:
    return (1e6, "MB") if unit == "bytes" else (1, unit)


def _number(value: float, scale: float) -> str:
    return f"{value / scale:,.1f}" if scale > 1 else f"{value:,.0f}"
