"""Runner and RunnerKind: what a runner does, and all it says of itself. Nobody else names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from deepsynth.errors import RequestError

if TYPE_CHECKING:
    from deepsynth.checks import Finding
    from deepsynth.run.run import Run
    from deepsynth.run.step import Step
    from deepsynth.terminal.verb import Verb


class Runner(ABC):
    """Works on runs at one place: this machine, a site, a cluster.

    Attributes:
        here: Whether all that there is of a run lies in its folder on this machine. A run that is
            also elsewhere is never removed unasked: its folder is the way to what lies there.
        warm: Whether it may fork steps from a process that has imported what they need.
    """

    here: ClassVar[bool] = False
    warm: bool = True

    @abstractmethod
    def run(self, run: Run, steps: list[Step], tick: Callable[[], None]) -> None:
        """Do the steps, in order, that have no valid receipt; return when all have one.

        Holds `run.lock()` and calls `run.begin("KIND")` or `run.begin("KIND:DETAIL")` first, from
        which the run is found again. `tick` is called several times a second, so that the caller
        can show what the run records.

        Raises:
            StepFailed: A step failed.
            Stopped: The work was asked to stop.
        """

    @abstractmethod
    def dry_run(self, run: Run, steps: list[Step]) -> str:
        """The exact commands or scripts that `run` would execute; does nothing."""

    @abstractmethod
    def stop(self, run: Run) -> None:
        """Ask whoever works on the run to save and stop, from any terminal."""

    def stop_all(self) -> list[str]:
        """Ask all runs at this place to save and stop; says which.

        Raises:
            RequestError: This place cannot tell its runs.
        """
        raise RequestError(
            "no run is given.", hint="deepsynth stop RUN, or --on SITE for all runs of a site."
        )

    @abstractmethod
    def logs(self, run: Run, step: str, *, follow: bool) -> Iterator[str]:
        """What a step printed, line by line; with `follow`, until the run ends."""

    def lines(self, run: Run) -> list[str]:
        """What only the runner knows of a run, such as its place in a queue; may be empty."""
        return []

    def fetch(self, run: Run, *, everything: bool = False) -> None:  # noqa: B027
        """Bring what the steps made into the run folder, verified; by default it is there already.

        Args:
            run: The run.
            everything: Also what only later steps read, such as compiled data.
        """

    def demands(self, steps: Sequence[Step]) -> Iterable[Finding]:
        """What the steps of a plan would ask of this place; contacts nobody."""
        return []

    def doctor(self) -> Iterable[Finding]:
        """What `deepsynth doctor --on` says of this place; may take a minute."""
        return []

    def setup(self, environment: str | None, lock: Path | None, *, offline: bool) -> str:
        """Install an environment at this place, by default none: there is nothing to set up.

        Args:
            environment: As steps name it; None for the one DeepSynth itself runs in.
            lock: Its pinned requirements, if it has its own.
            offline: Download here and send; the place needs no network.

        Returns:
            A line for people: what is ready, and where.

        Raises:
            RequestError: There is nothing to set up at this place.
        """
        raise RequestError("there is nothing to set up there.", where="--on")


class RunnerKind(ABC):
    """A kind of runner: what its folder says of itself. It loads nothing heavy.

    Attributes:
        name: As after `--on`, and before the colon of `NAME:DETAIL`.
        on: What a person writes after `--on`, for help texts: `a site of sites.yaml`.
        verbs: Its own verbs of the command line.
    """

    name: ClassVar[str]
    on: ClassVar[str]
    verbs: ClassVar[tuple[Verb, ...]] = ()

    @abstractmethod
    def create(self, detail: str, beside: Path | None = None) -> Runner:
        """The runner of a place.

        Args:
            detail: What follows the colon, or one of `places`; empty where only `name` was given.
            beside: Folder of the job, where settings of the kind may lie.

        Raises:
            RequestError: There is no such place.
        """

    def attach(self, run: Run, detail: str) -> Runner:
        """The runner of a run that one of this kind began, by default as it was named then.

        Args:
            run: The run.
            detail: What followed the colon in its event `run_started`.
        """
        return self.create(detail)

    def places(self, beside: Path | None = None) -> list[str]:
        """Names that `--on` takes besides `name`, such as those of a user's computing centres."""
        return []

    def advice(self, name: str) -> str | None:
        """How a place called `name` would be made one of this kind, or None where none can be."""
        return None

    def doctor(self) -> Iterable[Finding]:
        """What `deepsynth doctor` says of it on this machine; takes a moment, contacts nobody."""
        return []
