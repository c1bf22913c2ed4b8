"""The journey of a run at a site: send, submit, follow, survive, bring the model back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.errors import DeepSynthError, RunError, Stopped
from deepsynth.run.execution import told_error
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.local import LocalRunner
from deepsynth.runners.runner import Runner
from deepsynth.runners.slurm import fetching, submission
from deepsynth.runners.slurm.connection import Connection, ConnectionLost, FolderGone, RemoteError
from deepsynth.runners.slurm.here import (
    do_here,
    in_turns,
    remember,
    renew,
    require_environments,
    steps_here,
    steps_there,
    with_steps_here,
)
from deepsynth.runners.slurm.limits import fit_partitions
from deepsynth.runners.slurm.logs import step_log
from deepsynth.runners.slurm.outcome import (
    describe,
    failure,
    stop_requested,
    through_no_fault,
)
from deepsynth.runners.slurm.record import need_record, record_lock
from deepsynth.runners.slurm.site import Site, load_site
from deepsynth.runners.slurm.states import Element, Snapshot, take_snapshot
from deepsynth.runners.slurm.transfer import Transfer

if TYPE_CHECKING:
    from deepsynth.checks import Finding

STOP_SECONDS = 150
"""How long stopped steps may take to save before they are ended."""

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 15.0
"""Seconds between two questions to the site, growing while nothing changes."""


def tell(line: str) -> None:
    """Say one line to whoever watches this process."""
    print(line, file=sys.stderr, flush=True)


class SlurmRunner(Runner):
    """Runs at one site.

    Args:
        name: The site, as after `--on`.
        site: Its settings.
        say: Told one line for people whenever something notable happens.
    """

    def __init__(self, name: str, site: Site, say: Callable[[str], None] = tell) -> None:
        self.name = name
        self.site = site
        self.say = say
        self._told: dict[str, str] = {}

    @cached_property
    def connection(self) -> Connection:
        """The site's login shell."""
        return Connection(self.site.host)

    @cached_property
    def transfer(self) -> Transfer:
        """Copies to and from the site."""
        return Transfer(self.connection)

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None] = lambda: None) -> None:
        """Submit what has no receipt, follow it to the end, and bring the result back verified.

        Steps that need DeepSynth, where the site has none, are done on this side in their turn.

        Raises:
            StepFailed: A step failed; says which, why and what to do.
            Stopped: Ctrl-C; the run goes on at the site.
        """
        with run.lock() as lock:
            require_environments(steps_here(self.site, steps))
            turns = in_turns(self.site, steps)
            for number, (there, part) in enumerate(turns, start=1):
                if there:
                    self._journey(run, part, tick)
                    continue
                self._begin(run)
                later = [step for there, part in turns[number:] if there for step in part]
                if do_here(run, part, lock, tick) and later:
                    with record_lock(run):
                        renew(run, need_record(run), self.connection, later)
            run.event("run_done")

    def _journey(self, run: Run, steps: Sequence[Step], tick: Callable[[], None]) -> None:
        try:
            self.submit(run, steps, tick)
            self.follow(run, steps, tick)
            self._bring(run, everything=False, tick=tick)
        except (KeyboardInterrupt, Stopped):
            if stop_requested(run):
                raise
            raise Stopped(
                f"not followed any more; it goes on at {self.name}.",
                where=run.path,
                hint=f"Follow it again: deepsynth run --resume {run.path}\n"
                f"  Or end it: deepsynth stop {run.path}",
            ) from None

    def _begin(self, run: Run) -> None:
        """Make sure that the run can be taken up from its folder alone."""
        with record_lock(run):
            submission.begin(run, self.connection, self.name, self.site)
            run.begin(f"slurm:{self.name}")

    def scripts(self, run: Run, steps: Sequence[Step] | None = None) -> dict[str, str]:
        """The text of every file in `slurm/` of the run at the site, by name."""
        return submission.scripts(run, self.site, steps_there(self.site, steps or run.plan.steps))

    def dry_run(self, run: Run, steps: Sequence[Step] | None = None) -> str:
        """The files that would be sent and the exact text of each script; contacts nobody."""
        return submission.dry_run(run, self.name, self.site, steps or run.plan.steps)

    def submit(
        self, run: Run, steps: Sequence[Step] | None = None, tick: Callable[[], None] = lambda: None
    ) -> Snapshot:
        """Send what is needed and submit every step, or array element, that is not done there.

        What is queued or running already stays as it is, so it is safe to give again after a lost
        connection, a failure or a stop.

        Raises:
            ConnectionLost: The site cannot be reached.
            TransferFailed: Something did not arrive whole.
            RequestError: The site's `time` is more than its partition gives.
            RemoteError: Slurm refused; nothing of this submission stays in the queue.
        """
        steps = steps_there(self.site, steps or run.plan.steps)
        self._begin(run)
        with record_lock(run):
            record = need_record(run)
            snapshot = self._ask(run)
            every = steps_there(self.site, run.plan.steps)
            if not record.sent or not snapshot.there:
                sent = submission.send(run, record, self.transfer, every, tick)
                known = record.events if snapshot.there else 0
                record = record.save(run, sent=True, sources=sent, events=known)
            elif changed := submission.changed_sources(run, record, every):
                names = ", ".join(changed)
                if snapshot.active:
                    self.say(f"{names} changed since; what waits or runs there reads the old.")
                else:
                    self.say(f"{names} changed since; what was made of it is done again.")
                    record = submission.send_again(run, record, self.transfer, changed, tick)
                    snapshot = self._ask(run)
            todo = submission.missing(snapshot, steps)
            if todo:
                fitting = fit_partitions(self.name, self.site, self.connection, steps)
                record = record.save(run, site=fitting)
                submission.submit(run, record, self.connection, steps, todo)
                record.save(run, fetched=False)
        return self.status(run)

    def status(self, run: Run) -> Snapshot:
        """What became of every element; also brings new events and metrics into the run folder.

        Raises:
            ConnectionLost: The site cannot be reached.
            RemoteError: Slurm does not answer, or the run folder there is gone.
        """
        record = need_record(run)
        with record_lock(run):
            snapshot = self._ask(run)
            if not snapshot.there:
                raise FolderGone(
                    f"the run folder {record.folder} is not there any more.",
                    where=self.connection.name,
                    hint=f"Submit it again from here: deepsynth run --resume {run.path}",
                )
            if self.site.host is not None:
                fetching.mirror(self.connection, run, need_record(run), snapshot)
            remember(snapshot, run, self.site)
        return snapshot

    def follow(
        self, run: Run, steps: Sequence[Step] | None = None, tick: Callable[[], None] = lambda: None
    ) -> Snapshot:
        """Watch until the end, telling each change of state.

        Raises:
            StepFailed: A step ended badly; says which, why and what to do.
            Stopped: `deepsynth stop` ended it, here or from another terminal.
        """
        steps = steps_there(self.site, steps or run.plan.steps)
        snapshot: Snapshot | None = None
        for snapshot in self.watch(run, steps, tick):
            for step in steps:
                line = describe(snapshot, step)
                if self._told.get(step.name) != line:
                    self._told[step.name] = line
                    self.say(line)
        if snapshot is None or not snapshot.done(steps):
            raise self._failure(run, snapshot or self.status(run), steps)
        return snapshot

    def watch(
        self, run: Run, steps: Sequence[Step], tick: Callable[[], None] = lambda: None
    ) -> Iterator[Snapshot]:
        """Yield what the site answers, until nothing waits or runs.

        A lost connection is waited out. Steps that ended through no fault of their own (preempted,
        node failed) are submitted again.
        """
        pause = FIRST_PAUSE
        last: list[Element] = []
        lost = ended_before = False
        while True:
            try:
                snapshot = self.status(run)
                if lost:
                    self.say("The connection is back.")
                    lost = False
                if self._again(run, snapshot, steps):
                    continue
            except FolderGone:
                raise
            except (ConnectionLost, RemoteError) as error:
                if not lost:
                    self.say(f"{error}\n  Trying on; Ctrl-C leaves the run going on there.")
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

    def lines(self, run: Run) -> list[str]:
        """How each step stands, one line each."""
        snapshot = self.status(run)
        return [describe(snapshot, step) for step in run.plan.steps]

    def logs(self, run: Run, step: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of a step's log, read here once it was fetched; `follow` goes on until its end.

        Raises:
            RunError: The run has no such step.
        """
        if step not in {s.name for s in run.plan.steps}:
            names = ", ".join(s.name for s in run.plan.steps)
            raise RunError(f"the run has no step {step}.", where=run.path, hint=f"Steps: {names}.")
        if run.plan.step(step) in steps_here(self.site, run.plan.steps):
            yield from LocalRunner().logs(run, step, follow=follow)
            return
        yield from step_log(
            run, step, self.connection, lambda: follow and self._works_on(run, step)
        )

    def _works_on(self, run: Run, step: str) -> bool:
        return any(e.step == step for e in self.status(run).active)

    def stop(self, run: Run) -> None:
        """Take what waits out of the queue, ask what runs to save and end, and wait for it.

        Raises:
            RunError: Nothing of it waits or runs.
            ConnectionLost: The site cannot be reached; nothing was stopped.
        """
        jobs = " ".join(sorted({e.job.partition("_")[0] for e in self.status(run).active}))
        if not jobs and steps_here(self.site, run.plan.steps) and run.is_locked():
            LocalRunner().stop(run)
            return
        if not jobs:
            raise RunError(f"nothing of it waits or runs at {self.name}.", where=run.path)
        self.connection.check(
            f"scancel --state=PENDING {jobs}; scancel --batch --signal=TERM {jobs}; true",
            "the jobs cannot be stopped",
        )
        run.event("stop_requested", site=self.name)
        end = time.monotonic() + STOP_SECONDS
        while self.status(run).active:
            if time.monotonic() > end:
                self.connection.check(f"scancel {jobs}", "the jobs cannot be stopped")
                end += STOP_SECONDS
            time.sleep(0.5)

    def fetch(self, run: Run, *, everything: bool = False) -> None:
        """Bring what the steps made, with logs and metrics, and verify it.

        What is left to be done on this side once the site is through is done, too.

        Args:
            run: The run.
            everything: Also what only later steps read, such as compiled data.

        Raises:
            ConnectionLost: The connection was cut again and again.
            TransferFailed: A file is not what its receipt says.
        """
        self._bring(run, everything=everything, tick=lambda: None)
        turns = in_turns(self.site, run.plan.steps)
        if not turns[-1][0] and need_record(run).fetched and not run.is_locked():
            with run.lock() as lock:
                do_here(run, turns[-1][1], lock, lambda: None)

    def doctor(self) -> list[Finding]:
        """What `deepsynth doctor` says of the site, with one login."""
        from deepsynth.runners.slurm.doctor import examine

        return examine(self.name, self.site)

    def setup(self, environment: str | None, lock: Path | None, *, offline: bool) -> str:
        """Build an environment there, with the versions that are used here; says where it is."""
        from deepsynth.runners.slurm.install import install

        return install(self.site, name=environment or "this", lock=lock, offline=offline)

    def _bring(self, run: Run, *, everything: bool, tick: Callable[[], None]) -> None:
        snapshot = self.status(run)
        there = steps_there(self.site, run.plan.steps)
        with record_lock(run):
            record = need_record(run)
            count = 0
            if self.site.host is not None:
                with submission.transfer_shown(run, "Fetching", tick) as progress:
                    count = fetching.fetch(
                        self.transfer,
                        run,
                        record,
                        there,
                        everything=everything,
                        progress=progress,
                    )
            fetching.reconcile(run, snapshot, there)
            record.save(run, fetched=snapshot.done(there))
        run.event("fetched", site=self.name, files=count)

    def _ask(self, run: Run) -> Snapshot:
        record = need_record(run)
        # A run on this machine writes its events into the folder itself: nothing is to be copied.
        known = record.events if self.site.host is not None else None
        told = take_snapshot(self.connection, record.folder, run.plan, record.run_id, known)
        return with_steps_here(told, run, self.site)

    def _failure(self, run: Run, snapshot: Snapshot, steps: Sequence[Step]) -> DeepSynthError:
        """The error of a run that is not done; recorded where the step itself could not."""
        if stop_requested(run):
            hint = f"Go on where it stopped: deepsynth run --resume {run.path}"
            return Stopped("stopped.", where=run.path, hint=hint)
        first, error = failure(run, snapshot, self.connection, steps)
        if first is not None and told_error(run, first.step, first.index) is None:
            run.event("step_failed", step=first.step, index=first.index, error=error.as_dict())
        return error

    def _again(self, run: Run, snapshot: Snapshot, steps: Sequence[Step]) -> bool:
        """Submit again what ended through no fault of its own; whether anything was."""
        failed = through_no_fault(snapshot)
        if failed is None:
            return False
        self.say(f"{failed.step}: {failed.words}; it is submitted again.")
        self.submit(run, steps)
        return True


def _sleep(seconds: float, tick: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while True:
        tick()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(0.1, left))


def create(detail: str, beside: Path | None = None) -> SlurmRunner:
    """The runner of a site: `--on hpc`; without a name, the Slurm of this machine as it is.

    Args:
        detail: Name of the site.
        beside: Folder of the job; a `sites.yaml` there comes first.

    Raises:
        RequestError: There is no such site.
    """
    if not detail:
        return SlurmRunner("slurm", Site())
    return SlurmRunner(detail, load_site(detail, beside))


def attach(run: Run) -> SlurmRunner:
    """The runner of a run that was submitted, from its folder alone.

    Raises:
        RunError: It was not submitted to a Slurm site.
    """
    record = need_record(run)
    return SlurmRunner(record.site_name, record.site)
