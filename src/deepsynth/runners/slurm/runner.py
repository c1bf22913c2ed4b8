"""The runner of a site: send, submit, follow, survive, bring the model back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.errors import DeepSynthError, RequestError, RunError, Stopped
from deepsynth.printing import say
from deepsynth.run.environments import get_environment
from deepsynth.run.execution import execute, told_error
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.local.runner import LocalRunner
from deepsynth.runners.runner import Runner
from deepsynth.runners.slurm import fetching, stopping, submission
from deepsynth.runners.slurm.connection import Connection, FolderGone
from deepsynth.runners.slurm.following import watch
from deepsynth.runners.slurm.journey import (
    Journey,
    in_turns,
    is_ours,
    need_record,
    record_lock,
)
from deepsynth.runners.slurm.outcome import (
    describe,
    failure,
    remember,
    stop_requested,
    through_no_fault,
)
from deepsynth.runners.slurm.site import Site, fit_partitions, load_site
from deepsynth.runners.slurm.states import Snapshot, take_snapshot
from deepsynth.runners.slurm.transfer import Transfer

if TYPE_CHECKING:
    from deepsynth.checks import Finding

HERE = "slurm"
"""Name of the Slurm of this machine as it is, which no sites.yaml need tell of."""


def tell(line: str) -> None:
    """Say one line to whoever watches this process."""
    say(line, file=sys.stderr, flush=True)


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

    def journey(self, run: Run, asked: Sequence[Step] | None = None) -> Journey:
        """What is known of a run at the site.

        Raises:
            RunError: It was not submitted, or to another site.
        """
        record = need_record(run)
        submission.refuse_other_site(run, record, self.site)
        return Journey(run, self.site, record, self.transfer, asked or run.plan.steps)

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None] = lambda: None) -> None:
        """Submit what has no receipt, follow it to the end, and bring the result back verified.

        Steps that need DeepSynth, where the site has none, are done on this side in their turn.

        Raises:
            MissingDependency: The environment of a step of this side is not installed.
            StepFailed: A step failed; says which, why and what to do.
            Stopped: Ctrl-C; the run goes on at the site.
        """
        with run.lock() as lock:
            turns = in_turns(self.site, steps)
            for step in (step for there, part in turns if not there for step in part):
                get_environment(step.environment)
            for number, (there, part) in enumerate(turns, start=1):
                if there:
                    self._do_there(run, part, tick)
                    continue
                self._begin(run)
                later = [step for there, part in turns[number:] if there for step in part]
                if _do_here(run, part, lock, tick) and later:
                    with record_lock(run):
                        self.journey(run).undo(later)
            run.event("run_done")

    def _do_there(self, run: Run, steps: Sequence[Step], tick: Callable[[], None]) -> None:
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
        """Make sure that the run can be taken up from its folder."""
        with record_lock(run):
            submission.begin(run, self.name, self.site, self.connection)
            run.begin(f"slurm:{self.name}")

    def scripts(self, run: Run) -> dict[str, str]:
        """The text of every file in `slurm/` of the run at the site, by name."""
        there = [step for step in run.plan.steps if self.site.does(step)]
        return submission.scripts(run, self.site, there)

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
        self._begin(run)
        with record_lock(run):
            journey = self.journey(run, steps)
            snapshot = take_snapshot(journey)
            if not journey.record.sent or not snapshot.there:
                sent = submission.send(journey, tick)
                known = journey.record.events if snapshot.there else 0
                journey = journey.with_record(sent=True, sources=sent, events=known)
            elif changed := submission.changed_sources(journey):
                names = ", ".join(changed)
                if snapshot.active:
                    self.say(f"{names} changed since; what waits or runs there reads the old.")
                else:
                    self.say(f"{names} changed since; what was made of it is done again.")
                    journey = submission.send_again(journey, changed, tick)
                    snapshot = take_snapshot(journey)
            if todo := submission.missing(snapshot, journey.submitted):
                asked = journey.submitted
                site = fit_partitions(self.name, self.site, self.connection, asked, self.say)
                submission.submit(replace(journey, site=site), todo)
                journey.with_record(fetched=False)
        return self.status(run)

    def status(self, run: Run) -> Snapshot:
        """What became of every element; also brings new events and metrics into the run folder.

        Raises:
            ConnectionLost: The site cannot be reached.
            RemoteError: Slurm does not answer, or the run folder there is gone.
        """
        with record_lock(run):
            journey = self.journey(run)
            snapshot = take_snapshot(journey)
            if not snapshot.there:
                raise FolderGone(
                    f"the run folder {journey.record.folder} is not there any more.",
                    where=self.connection.name,
                    hint=f"Submit it again from here: deepsynth run --resume {run.path}",
                )
            if (journey.record.site, journey.record.site_name) != (self.site, self.name):
                journey = journey.with_record(site=self.site, site_name=self.name)
            if self.site.host is not None:
                fetching.mirror(journey, snapshot)
            remember(journey, snapshot)
        return snapshot

    def follow(
        self, run: Run, steps: Sequence[Step] | None = None, tick: Callable[[], None] = lambda: None
    ) -> Snapshot:
        """Watch until the end, telling each change of state.

        Steps that ended through no fault of their own (preempted, node failed) are submitted again.

        Raises:
            StepFailed: A step ended badly; says which, why and what to do.
            Stopped: `deepsynth stop` ended it, here or from another terminal.
        """
        there = self.journey(run, steps).submitted
        snapshot: Snapshot | None = None
        for snapshot in watch(
            lambda: self.status(run),
            there,
            again=lambda snapshot: self._again(run, snapshot, there),
            say=self.say,
            tick=tick,
        ):
            for step in there:
                line = describe(snapshot, step)
                if self._told.get(step.name) != line:
                    self._told[step.name] = line
                    self.say(line)
        if snapshot is None or not snapshot.done(there):
            raise self._failure(self.journey(run, steps), snapshot or self.status(run))
        return snapshot

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
        if not self.site.does(run.plan.step(step)):
            yield from LocalRunner().logs(run, step, follow=follow)
            return

        def goes_on() -> bool:
            return follow and any(e.step == step for e in self.status(run).active)

        yield from fetching.step_log(self.journey(run), step, goes_on)

    def stop(self, run: Run) -> None:
        """Take what waits out of the queue, ask what runs to save and end, and wait for it.

        Raises:
            RunError: Nothing of it waits or runs.
            ConnectionLost: The site cannot be reached; nothing was stopped.
        """
        jobs = sorted({e.job.partition("_")[0] for e in self.status(run).active})
        if not jobs and self.journey(run).here and run.is_locked():
            LocalRunner().stop(run)
            return
        if not jobs:
            raise RunError(f"nothing of it waits or runs at {self.name}.", where=run.path)
        stopping.ask_to_stop(self.connection, jobs)
        run.event("stop_requested", site=self.name)
        stopping.wait_until_stopped(self.connection, jobs, lambda: self.status(run).active)

    def stop_all(self) -> list[str]:
        """Take all runs in the workspace out of the queue, or ask them to save and end."""
        return stopping.stop_all(self.site, self.connection)

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
        there, last = in_turns(self.site, run.plan.steps)[-1]
        if not there and need_record(run).fetched and not run.is_locked():
            with run.lock() as lock:
                _do_here(run, last, lock, lambda: None)

    def demands(self, steps: Sequence[Step]) -> list[Finding]:
        """Whether the steps that can use a GPU ask for one."""
        from deepsynth.runners.slurm.doctor import gpu_demands

        return gpu_demands(self.name, self.site, steps)

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
        with record_lock(run):
            journey = self.journey(run)
            count = 0
            if self.site.host is not None:
                with submission.transfer_shown(run, "Fetching", tick) as progress:
                    count = fetching.fetch(journey, everything=everything, progress=progress)
            fetching.reconcile(journey, snapshot)
            journey.with_record(fetched=snapshot.done(journey.there))
        run.event("fetched", site=self.name, files=count)

    def _failure(self, journey: Journey, snapshot: Snapshot) -> DeepSynthError:
        """The error of a run that is not done; recorded where the step itself could not."""
        run = journey.run
        if stop_requested(run):
            hint = f"Go on where it stopped: deepsynth run --resume {run.path}"
            return Stopped("stopped.", where=run.path, hint=hint)
        first, error = failure(journey, snapshot)
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


def _do_here(run: Run, steps: Sequence[Step], lock: int, tick: Callable[[], None]) -> bool:
    """Do steps as the local runner does; whether any of them was not done before.

    Raises:
        StepFailed: A step failed.
        Stopped: Asked to stop; the step saved itself.
    """
    outcomes = [
        execute(run, step, index, locks=[lock], tick=tick)
        for step in steps
        for index in range(step.array)
    ]
    return "done" in outcomes


def create(detail: str, beside: Path | None = None) -> SlurmRunner:
    """The runner of a site: `--on hpc`; without a name, the Slurm of this machine as it is.

    Args:
        detail: Name of the site.
        beside: Folder of the job, in which a `sites.yaml` may lie.

    Raises:
        RequestError: There is no such site.
    """
    return SlurmRunner(detail, load_site(detail, beside)) if detail else SlurmRunner(HERE, Site())


def attach(run: Run) -> SlurmRunner:
    """The runner of a run that was submitted, from its folder.

    The folder may be anybody's: the site it names is reached only if this machine wrote it there,
    or if the user's own site of that name is the same.

    Raises:
        RunError: It was not submitted to a Slurm site, or to one that is not the user's.
    """
    record = need_record(run)
    try:
        known = create("" if record.site_name == HERE else record.site_name).site
    except RequestError:
        known = None
    if not is_ours(record, known):
        raise RunError(
            f"it says itself where it is: at {record.site_name} ({record.site.host or 'here'}). "
            "That is believed only if this machine sent it, or if your own sites.yaml says so.",
            where=run.path,
            hint=f"Name the site yourself: --on {record.site_name}",
        )
    return SlurmRunner(record.site_name, record.site)
