"""Checkpoints of a step in the store, so that another pod goes on where one was killed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from deepsynth import storage
from deepsynth.errors import DeepSynthError
from deepsynth.printing import say
from deepsynth.run.run import Run
from deepsynth.run.step import Step


class Checkpoints:
    """What a step keeps in its work folder, put into the store now and then.

    Only one copy is kept there. What cannot be sent or fetched never fails the step.

    Args:
        run: The run folder the step works in.
        step: The step.
        url: Where in the store; of this key and element alone.
        seconds: Time between two copies.
    """

    def __init__(self, run: Run, step: Step, url: str, seconds: float) -> None:
        self._run, self._url, self._seconds = run, url, seconds
        self._folder = run.path / "steps" / step.name
        self._saved: list[tuple[str, int, int]] = []
        self._next = time.monotonic() + seconds

    def restore(self) -> None:
        """Put the copy in the store where the step looks for its checkpoints, if there is one."""
        fetched = self._run.path / ".checkpoint"
        shutil.rmtree(fetched, ignore_errors=True)
        try:
            if storage.read_publication(self._url) is None:
                return
            storage.fetch(self._url, fetched)
        except DeepSynthError as error:
            say(f"The step begins anew, its checkpoint is not usable: {error}", flush=True)
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(fetched, self._run.path, dirs_exist_ok=True)
        shutil.rmtree(fetched)
        self._saved = self._state()
        say("Going on from a checkpoint in the store.", flush=True)

    def is_due(self) -> bool:
        """Whether it is time for a copy."""
        return time.monotonic() >= self._next

    def save(self) -> None:
        """Copy the checkpoints to the store if they changed, in place of the copy before.

        A checkpoint that is just being written may be copied half: it says itself whether it is
        whole, and the one before it is copied as well.
        """
        state = self._state()
        if state == self._saved or not state:
            return
        copy = self._run.path / ".saving"
        shutil.rmtree(copy, ignore_errors=True)
        try:
            for path in self._files():
                target = copy / path.relative_to(self._run.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                # By link: the step may remove an older checkpoint while this one is sent.
                os.link(path, target)
            before = storage.read_publication(self._url)
            after = storage.publish(copy, self._url, replace=True)
            if before and before.generation != after.generation:
                storage.remove(before)
            self._saved = state
        except (DeepSynthError, OSError) as error:
            say(f"The checkpoint could not be put into the store: {error}", flush=True)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
            self._next = time.monotonic() + self._seconds

    def discard(self) -> None:
        """Remove the copy: the step is done."""
        try:
            if publication := storage.read_publication(self._url):
                storage.remove(publication)
        except DeepSynthError as error:
            say(f"The checkpoint in the store could not be removed: {error}", flush=True)

    def _files(self) -> list[Path]:
        """The checkpoints, the key they belong to, and the curve so far."""
        work = sorted(path for path in (self._folder / "work").rglob("*") if path.is_file())
        others = [self._folder / "key.json", self._run.path / "metrics.jsonl"]
        return [*work, *(path for path in others if path.exists())] if work else []

    def _state(self) -> list[tuple[str, int, int]]:
        found: list[tuple[str, int, int]] = []
        for path in self._files():
            if path.parent == self._run.path:
                continue  # the curve alone is no reason for a copy
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((str(path), status.st_size, status.st_mtime_ns))
        return found
