"""Showing a run while it goes on: bars with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from deepsynth import durable
from deepsynth.duration import duration
from deepsynth.run import records
from deepsynth.run.run import Run
from deepsynth.terminal.console import Console

LINE_SECONDS = 15.0
"""Without a terminal, progress is told this often."""


class RunDisplay:
    """Follows `events.jsonl` of a run and shows it; `tick` is cheap enough to call all the time.

    Args:
        run: The run to follow; events that are there already are not shown again.
        quiet: Show nothing.
        console: Where to; standard error by default.
    """

    def __init__(self, run: Run, *, quiet: bool = False, console: Console | None = None) -> None:
        self._titles = {step.name: step.title or step.name for step in run.plan.steps}
        self._events = run.path / "events.jsonl"
        self._offset = self._events.stat().st_size if self._events.exists() else 0
        self._quiet = quiet
        self._console = console or Console(stderr=True)
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0
        self._redone: set[str] = set()
        self._started: dict[str, tuple[float, int]] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
        )
        self._bars = self._console.is_terminal and not quiet

    def __enter__(self) -> RunDisplay:
        if self._bars:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tick()
        if self._bars:
            for task in self._progress.tasks:
                if not task.finished:
                    self._progress.update(task.id, visible=False)
            self._progress.stop()

    def tick(self) -> None:
        """Show what was recorded since the last call."""
        for event in self._new_events():
            if not self._quiet:
                self._show(event)

    def _new_events(self) -> list[dict[str, Any]]:
        lines, self._offset = read_new_lines(self._events, self._offset)
        return records.events(lines)

    def _show(self, event: dict[str, Any]) -> None:
        name: str = event.get("step", "")
        title = self._titles.get(name) or name
        match event["kind"]:
            case "step_started" if self._bars:
                self._tasks[name] = self._progress.add_task(title, total=None, unit="", note="")
            case "step_started":
                self._console.print(f"{title} ...")
            case "progress" if self._bars and name in self._tasks:
                self._progress.update(
                    self._tasks[name],
                    completed=event["done"],
                    total=event["total"],
                    unit=event["unit"],
                    note=event["note"],
                )
            case "progress":
                self._line(title, event)
            case "step_done" if self._bars and name in self._tasks:
                task = self._progress.tasks[self._tasks[name]]
                total = task.total or 1
                self._progress.update(self._tasks[name], completed=total, total=total)
            case "step_done":
                self._console.print(f"{title}: done in {duration(event['seconds'])}")
            case "step_skipped":
                self._console.print(f"{title}: done before", style="dim")
            case "step_redone" if name not in self._redone:
                self._redone.add(name)
                why = f"{title} is done again: {event['why']}."
                self._console.print(why, soft_wrap=True)
            case "resumed":
                self._console.print(f"{title}: goes on from update {event['update']}")
            case "note":
                self._console.print(event["text"], style="dim", soft_wrap=True)
            case _:
                pass

    def _line(self, title: str, event: dict[str, Any]) -> None:
        started, first = self._started.setdefault(title, (event["time"], event["done"]))
        now = time.monotonic()
        if now - self._last_line < LINE_SECONDS:
            return
        self._last_line = now
        speed = (event["done"] - first) / max(event["time"] - started, 1e-6)
        left = f", about {duration((event['total'] - event['done']) / speed)} left" if speed else ""
        note = f", {event['note']}" if event["note"] else ""
        self._console.print(
            f"{title}: {event['done']} of {event['total']} {event['unit']}{left}{note}"
        )


def read_new_lines(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole JSON lines of `path` after byte `offset`, and the offset after them."""
    if not path.is_file():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    return durable.parse_lines(whole), offset + len(whole)
