"""How the command of a step is started: plainly, or as a fork of a warm process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from deepsynth.errors import MissingDependency
from deepsynth.run.environments import get_environment, our_variables
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.run.warm import NotWarm, WarmProcess, take


class Process(Protocol):
    """A started command; it leads a session of its own."""

    @property
    def pid(self) -> int:
        """Its number, and that of its process group."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as `subprocess.Popen.wait` gives it."""
        ...


class Start(Protocol):
    """A way of starting the command of a step."""

    def __call__(
        self,
        step: Step,
        command: list[str],
        *,
        log: int,
        environment: Mapping[str, str],
        named: Mapping[str, int],
        locks: Sequence[int],
    ) -> Process:
        """Start it.

        Args:
            step: The step.
            command: Its command line on this machine.
            log: Descriptor of both its outputs; its input is empty.
            environment: All its variables.
            named: Descriptors it inherits, whose numbers it finds in these variables.
            locks: Further descriptors it inherits, to hold them as long as it lives.
        """
        ...


def plainly(
    step: Step,
    command: list[str],
    *,
    log: int,
    environment: Mapping[str, str],
    named: Mapping[str, int],
    locks: Sequence[int],
) -> Process:
    """Start a command as a new process; see `Start`."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**environment, **{name: str(number) for name, number in named.items()}},
        pass_fds=[*named.values(), *locks],
        start_new_session=True,
    )


class WarmSteps:
    """Starts the steps of a run from warm processes, one for each environment that pays.

    They are made when the first step is started, and import in the background what the steps that
    follow need. A step that needs no interpreter of ours is started plainly; so is every step once
    warming has failed, which its log and the run say.

    Args:
        run: The run.
        steps: The steps that may be started, in order.
    """

    def __init__(self, run: Run, steps: Sequence[Step]) -> None:
        self._run = run
        self._steps = list(steps)
        self._warm: dict[str, WarmProcess] | None = None

    def __enter__(self) -> WarmSteps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (self._warm or {}).values():
            process.close()

    def start(
        self,
        step: Step,
        command: list[str],
        *,
        log: int,
        environment: Mapping[str, str],
        named: Mapping[str, int],
        locks: Sequence[int],
    ) -> Process:
        """Start a command; see `Start`."""
        if self._warm is None:
            self._warm = self._warm_up(step, log)
        process = self._warm.get(step.environment)
        if process is not None and _is_module(step):
            try:
                return process.start(
                    command[2],
                    command[3:],
                    environment=environment,
                    stdout=log,
                    stderr=log,
                    named=named,
                    keep=locks,
                    needs=step.warm,
                )
            except NotWarm as error:
                self._say(step, error, log)
                os.write(log, process.said().encode())
                self._warm.pop(step.environment).close()
        return plainly(step, command, log=log, environment=environment, named=named, locks=locks)

    def _warm_up(self, step: Step, log: int) -> dict[str, WarmProcess]:
        """Begin to import what this step and those after it need, in each environment."""
        warm: dict[str, WarmProcess] = {}
        if sys.platform != "linux":
            return warm
        if came := take():
            if came.fits(os.environ):
                warm["this"] = came
            else:
                came.close()
        names = [each.name for each in self._steps]
        coming = [each for each in self._steps[names.index(step.name) :] if _is_module(each)]
        for name in dict.fromkeys(each.environment for each in coming):
            here = [each for each in coming if each.environment == name]
            # A single start gains nothing, unless it is warmed while another step works.
            single = name == step.environment and sum(each.array for each in here) == 1
            if single or name in warm:
                continue
            modules = [module for each in here for module in (each.argv[2], *each.warm)]
            with suppress(MissingDependency):  # told when its turn comes
                python = get_environment(name).python
                try:
                    warm[name] = WarmProcess(
                        list(dict.fromkeys(modules)),
                        python=python,
                        environment=os.environ | our_variables(),
                    )
                except NotWarm as error:
                    self._say(step, error, log)
        return warm

    def _say(self, step: Step, error: NotWarm, log: int) -> None:
        text = f"started without a warm process: {error}"
        os.write(log, f"{text}\n".encode())
        self._run.event("note", step=step.name, text=f"{step.title or step.name}: {text}")


def _is_module(step: Step) -> bool:
    return step.argv[:2] == ["{python}", "-m"]
