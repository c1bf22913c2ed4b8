"""Run: a folder that records everything, written so that anything can read it.

```
RUN/
  job.yaml          the job as written            resolved.yaml   every value, its origin, why
  plan.json         the steps                     events.jsonl    what happened, when
  metrics.jsonl     the curve, one line a point   metrics.json    the final figures
  steps/NAME/       receipt.json, work/           logs/NAME.log   what the step printed
  data/ checks/ model/ evaluation/                what the steps made
  report.html       the page to read
```

Nothing here depends on a running process: the state of a run is read from its files, so a
refresh, a second terminal or another machine sees the same.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from deepsynth import durable
from deepsynth.errors import DeepSynthError, RunError
from deepsynth.job.job import AnyJob, Setting, read_settings, typed_job
from deepsynth.run import records
from deepsynth.run.step import Plan, Step

PLAN = "plan.json"
RESOLVED = "resolved.yaml"
COPIES = "DEEPSYNTH_COPIES"
"""Environment variable of a step: where on this machine the copy of each location in storage is."""
ELSEWHERE = "elsewhere.json"
"""In a run folder: the state of each step that is done at another place, as last heard of."""
PROGRESS_SECONDS = 0.5
"""Progress events are written at most this often."""


class Described(Protocol):
    """What a run is to do, as its folder records it: a resolved job, or a request to draw pages.

    Attributes:
        text: As it was written.
        name: Of the job.
    """

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    def to_yaml(self) -> str:
        """The text of `resolved.yaml`."""
        ...


class Run:
    """An existing run folder.

    Args:
        path: The folder. Use `Run.create` for a new one and `Run.open` for one a user named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_progress = 0.0

    @classmethod
    def create(cls, path: Path, resolved: Described, plan: Plan) -> Run:
        """Make the folder in one step: it is there with job, resolved job and plan, or not at all.

        Raises:
            RunError: The folder exists and is not an empty one, or cannot be written.
        """
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise RunError(
                    "this exists already.", where=path, hint="Choose another --name or --runs."
                )
            with durable.appearing(path) as draft:
                for folder in ("steps", "logs"):
                    (draft / folder).mkdir(parents=True)
                durable.write_text(draft / "job.yaml", resolved.text)
                durable.write_text(draft / "resolved.yaml", resolved.to_yaml())
                durable.write_text(draft / PLAN, plan.as_text())
        except OSError as error:
            raise RunError(
                f"the run folder cannot be made: {error.strerror}.",
                where=path,
                hint="Choose a folder you may write to with --runs DIR, or free some space.",
            ) from error
        run = cls(path)
        run.event("run_created", job=resolved.name)
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in `path`; of one in object storage (`s3://...`), a copy to read.

        Raises:
            RunError: There is no run there, or a link in it leads elsewhere.
            LocationError: There is nothing at that location in storage.
            StorageError: The storage failed.
        """
        from deepsynth import storage
        from deepsynth.storage.stores import as_url

        if location := as_url(path):
            path = storage.local_copy(location)
        if not is_run(path):
            what = "this is not a run folder." if path.exists() else "there is no such run."
            near = sorted(p.parent.name for p in path.parent.glob("*/plan.json"))
            hint = f"Runs there: {', '.join(near[:12])}." if near else "Make one: deepsynth run JOB"
            raise RunError(what, where=path, hint=hint)
        if link := durable.link_out_of(path):
            raise RunError(
                "this link leads out of the run: what is read or written there is not the run's.",
                where=link,
                hint="Put the file or folder itself in its place.",
            )
        return cls(path)

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Every value of the job by its dotted name, with its origin and reason."""
        try:
            return read_settings((self.path / RESOLVED).read_text(encoding="utf-8"))
        except (DeepSynthError, ValueError, OSError) as error:
            raise self._unreadable(RESOLVED, error) from None

    @property
    def family(self) -> str:
        """Name of the family of the job; empty for a run that trains nothing, such as drawing."""
        return str(self.settings["family"].value) if "family" in self.settings else ""

    def job(self, job_type: type[AnyJob]) -> AnyJob:
        """The job, typed; one of any family is had from `families.job_of`."""
        try:
            return typed_job(job_type, self.settings)
        except ValidationError as error:
            raise self._unreadable(RESOLVED, error) from None

    def _unreadable(self, name: str, error: Exception) -> RunError:
        if isinstance(error, ValidationError):
            item = error.errors()[0]
            said = f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}"
        else:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return RunError(
            f"this is not what a run holds there: {said}.",
            where=self.path / name,
            hint="It was damaged or changed by hand. Make a new run of its job.",
        )

    @cached_property
    def plan(self) -> Plan:
        """The steps."""
        try:
            return Plan.model_validate_json((self.path / PLAN).read_bytes())
        except (ValidationError, OSError) as error:
            raise self._unreadable(PLAN, error) from None

    def source(self, step: Step, name: str) -> Path:
        """Where the source called `name` of a step is: staged in the run, or where the job says.

        What is in object storage is copied to this machine, anew when it changed there; the
        process of a step is told by its runner where that copy is.

        Raises:
            LocationError: There is nothing at that location in storage.
            StorageError: The storage failed.
        """
        from deepsynth import storage

        staged = self.path / "sources" / name
        place = step.sources[name]
        if staged.exists():
            return staged / Path(place).name
        copies: dict[str, str] = json.loads(os.environ.get(COPIES, "{}"))
        return storage.local_path(copies.get(place, place))

    def work(self, step: str) -> Path:
        """A step's own folder, for checkpoints; kept until the step has its receipt."""
        folder = self.path / "steps" / step / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def begin(self, runner: str, **fields: Any) -> None:
        """Record that a runner begins, or goes on; what another one last heard counts no longer.

        Args:
            runner: As it is found again: its kind, or `KIND:DETAIL`.
            fields: What else the event tells, such as `pid`.
        """
        if runner not in self.runners()[-1:]:
            (self.path / ELSEWHERE).unlink(missing_ok=True)
        self.event("run_started", runner=runner, **fields)

    def runners(self) -> list[str]:
        """The runners that worked on this run, as they are found again; the last one last."""
        return [str(event["runner"]) for event in self.events() if event["kind"] == "run_started"]

    def event(self, kind: str, **fields: Any) -> None:
        """Record that something happened."""
        durable.append_line(
            self.path / "events.jsonl", {"time": round(time.time(), 3), "kind": kind, **fields}
        )

    def events(self) -> list[dict[str, Any]]:
        """Everything that happened, oldest first."""
        return records.events(durable.read_lines(self.path / "events.jsonl"))

    def was_started(self) -> bool:
        """Whether any runner ever worked on this run."""
        return (self.path / "run.lock").exists()

    def has_receipts(self) -> bool:
        """Whether any step was ever done."""
        return any((self.path / "steps").glob("*/receipt*.json"))

    def progress(self, step: str, done: int, total: int, unit: str, note: str = "") -> None:
        """Tell how far a step is; cheap enough to call for every item."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_SECONDS or done >= total:
            self._last_progress = now
            self.event("progress", step=step, done=done, total=total, unit=unit, note=note)

    def metric(self, step: str, update: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve; a value that is not finite is written as null."""
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        durable.append_line(
            self.path / "metrics.jsonl",
            {"time": round(time.time(), 3), "step": step, "update": update, **finite},
        )

    def metrics(self) -> list[dict[str, Any]]:
        """The curve, oldest first."""
        return records.points(durable.read_lines(self.path / "metrics.jsonl"))

    def rewind_metrics(self, step: str, update: int) -> None:
        """Forget a step's points after `update`: training goes on from there."""
        kept = [m for m in self.metrics() if m["step"] != step or m["update"] <= update]
        durable.write_text(
            self.path / "metrics.jsonl",
            "".join(json.dumps(m, ensure_ascii=False) + "\n" for m in kept),
        )

    def final_metrics(self) -> dict[str, Any] | None:
        """The figures of `metrics.json`, or None while there are none."""
        found = durable.read_json(self.path / "metrics.json")
        return found if isinstance(found, dict) else None

    @contextmanager
    def lock(self) -> Generator[int]:
        """Be the only one who works on this run; yields the descriptor that holds the lock.

        The kernel frees it when the last process that inherited it ends, however it ends, so a
        step that outlives its runner still keeps others away.

        Raises:
            RunError: Somebody else works on it; says who.
        """

        def busy() -> RunError:
            owner = self.owner() or {}
            return RunError(
                f"process {owner.get('pid', '?')} on {owner.get('host', '?')} works on it.",
                where=self.path,
                hint=f"Wait for it, or stop it: deepsynth stop {self.path}",
            )

        with ExitStack() as stack:
            try:
                lock = stack.enter_context(durable.locked(self.path / "run.lock", busy))
            except OSError as error:
                raise RunError(
                    f"this run cannot be written to: {error.strerror}.",
                    where=self.path,
                    hint="Copy it to a folder you may write to, or change the rights of this one.",
                ) from error
            os.truncate(lock, 0)
            os.write(lock, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            yield lock

    def owner(self) -> dict[str, Any] | None:
        """Process and host that last locked this run."""
        return records.owner(durable.read_json(self.path / "run.lock"))

    def is_locked(self) -> bool:
        """Whether a process on this machine works on the run now."""
        return durable.is_locked(self.path / "run.lock")


def is_run(path: Path) -> bool:
    """Whether `path` is a run folder."""
    try:
        return (path / PLAN).is_file() and (path / RESOLVED).is_file()
    except OSError:  # a name too long for a file, a folder that may not be entered
        return False
