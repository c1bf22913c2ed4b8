"""Watching a run at a site until nothing of it waits or runs, through lost connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import ConnectionLost, FolderGone, RemoteError
from deepsynth.runners.slurm.states import Element, Snapshot

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 15.0
"""Seconds between two questions to the site, growing while nothing changes."""


def watch(
    ask: Callable[[], Snapshot],
    steps: Sequence[Step],
    *,
    again: Callable[[Snapshot], bool],
    say: Callable[[str], None],
    tick: Callable[[], None],
) -> Iterator[Snapshot]:
    """Yield what the site answers, until nothing waits or runs; a lost connection is waited out.

    Args:
        ask: Asks the site.
        steps: Those that are waited for.
        again: Submits again what ended through no fault of its own; whether anything was.
        say: Told of a connection that is lost, or back.
        tick: Called several times a second.

    Raises:
        FolderGone: The run folder there was deleted.
    """
    pause = FIRST_PAUSE
    last: list[Element] = []
    lost = ended_before = False
    while True:
        try:
            snapshot = ask()
            if lost:
                say("The connection is back.")
                lost = False
            if again(snapshot):
                continue
        except FolderGone:
            raise
        except (ConnectionLost, RemoteError) as error:
            if not lost:
                say(f"{error}\n  Trying on; Ctrl-C leaves the run going on there.")
                lost = True
            pause = min(pause * 1.5, LONGEST_PAUSE)
            _sleep(pause, tick)
            continue
        yield snapshot
        ended = not snapshot.active
        if snapshot.done(steps) or (ended and ended_before):
            return
        # A receipt may show up on a shared file system a moment after its job has ended.
        ended_before = ended
        changed = snapshot.elements != last or snapshot.events
        last = snapshot.elements
        pause = FIRST_PAUSE if changed else min(pause * 1.3, LONGEST_PAUSE)
        _sleep(1.5 if ended else pause, tick)


def _sleep(seconds: float, tick: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while True:
        tick()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(0.1, left))
