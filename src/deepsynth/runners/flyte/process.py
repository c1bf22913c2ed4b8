"""The process of a step inside a task, and what is seen of it while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deepsynth import durable
from deepsynth.errors import RunError
from deepsynth.printing import say
from deepsynth.run.execution import GRACE_SECONDS, LIFELINE, LOCKS, lifeline, step_error
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.flyte.checkpoints import Checkpoints

POLL_SECONDS = 0.1


class Watch:
    """What the tasks of this process show, and to whom.

    Without a run to show it in, as in a pod, the log of a step goes to the output of the task.

    Attributes:
        run: The run folder of the user, when the tasks run on the user's own machine.
        lock: Descriptor of its lock.
        stopping: Set to ask all steps to save and end.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.lock: int | None = None
        self.stopping = threading.Event()

    @contextmanager
    def of(self, run: Run, lock: int) -> Generator[None]:
        """Show everything in `run` inside the block; the steps inherit its lock."""
        self.run, self.lock = run, lock
        self.stopping.clear()
        try:
            yield
        finally:
            self.run = self.lock = None


WATCH = Watch()


@contextmanager
def alone(folder: Path) -> Generator[int]:
    """Be the only task that works in `folder`; yields the descriptor that holds the lock.

    Raises:
        RunError: Another process does the same step with the same inputs now.
    """
    busy = RunError(
        "another run does the same step with the same inputs at this moment.",
        where=folder,
        hint="Wait for it, then run again: what it made is used, not made anew.",
    )
    with durable.locked(folder / "lock", lambda: busy) as lock:
        yield lock


async def run_step(
    run: Run, step: Step, index: int, lock: int, checkpoints: Checkpoints | None
) -> None:
    """Do one element of a step in a process of its own, and show what it records meanwhile.

    Args:
        run: The folder it works in.
        step: The step.
        index: Which element.
        lock: Descriptor of the lock of that folder.
        checkpoints: Where its checkpoints are kept besides, when the folder may vanish.

    Raises:
        StepFailed: It failed.
        Stopped: It was asked to stop.
    """
    if WATCH.run is None:
        # A pod is asked to end by this signal; elsewhere the runner gets it, and sets `stopping`.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, WATCH.stopping.set)
    tail = _Tail(run, step.name)
    locks = [lock] if WATCH.lock is None else [lock, WATCH.lock]
    with lifeline() as alive:
        child = subprocess.Popen(
            [sys.executable, "-m", "deepsynth.run.step", str(run.path), step.name, str(index)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {LIFELINE: str(alive), LOCKS: ",".join(map(str, locks))},
            pass_fds=(alive, *locks),
        )
        asked, saving = False, None
        try:
            while child.poll() is None:
                await asyncio.sleep(POLL_SECONDS)
                tail.show()
                if checkpoints and checkpoints.is_due() and (saving is None or saving.done()):
                    saving = asyncio.create_task(asyncio.to_thread(checkpoints.save))
                if WATCH.stopping.is_set() and not asked:
                    child.terminate()
                    asked = True
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(GRACE_SECONDS)
            tail.show()
            if saving:
                await saving
    if child.returncode:
        if checkpoints:
            await asyncio.to_thread(checkpoints.save)
        raise step_error(run, step, index, child.returncode)


class _Tail:
    """Passes on what a step adds to its events, its curve and its log."""

    def __init__(self, run: Run, step: str) -> None:
        self.run, self.step = run, step
        self.log = run.path / "logs" / f"{step}.log"
        self.read = {path: _size(path) for path in (run.path / "events.jsonl", self.log)}
        self.curve = _size(run.path / "metrics.jsonl")

    def show(self) -> None:
        events, log = (self._news(path) for path in (self.run.path / "events.jsonl", self.log))
        if WATCH.run is None:
            say(log.decode(errors="replace"), end="", flush=True)
            return
        for path, news in (("events.jsonl", events), (f"logs/{self.step}.log", log)):
            if news:
                with (WATCH.run.path / path).open("ab") as stream:
                    stream.write(news)
        if (size := _size(self.run.path / "metrics.jsonl")) != self.curve:
            self.curve = size
            replace_curve(WATCH.run, self.step, self.run)

    def _news(self, path: Path) -> bytes:
        """Whole lines added since the last time."""
        if not path.exists():
            return b""
        with path.open("rb") as stream:
            stream.seek(self.read[path])
            news = stream.read()
        news = news[: news.rfind(b"\n") + 1]
        self.read[path] += len(news)
        return news


def replace_curve(run: Run, step: str, source: Run) -> None:
    """Let the points of one step in `run` be those of `source`."""
    points = [point for point in run.metrics() if point["step"] != step]
    points += [point for point in source.metrics() if point["step"] == step]
    lines = (json.dumps(point, ensure_ascii=False) + "\n" for point in points)
    durable.write_text(run.path / "metrics.jsonl", "".join(lines))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
