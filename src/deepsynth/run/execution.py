"""Doing one step: skip it if its receipt holds, else run its command line and write the receipt.

Both sides of the process border are here: `execute` starts and watches the command of a step,
`step_process` is what a step module of ours runs inside.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

from deepsynth import durable
from deepsynth.errors import (
    EXIT_REQUEST,
    EXIT_STOPPED,
    DataError,
    DeepSynthError,
    RunError,
    StepFailed,
    Stopped,
)
from deepsynth.printing import say
from deepsynth.run import receipts
from deepsynth.run.environments import get_environment, our_variables
from deepsynth.run.run import COPIES, Run
from deepsynth.run.starting import Process, Start, plainly
from deepsynth.run.step import Step
from deepsynth.storage.stores import is_url

GRACE_SECONDS = 120
"""How long a step may take to save and end after it was asked to stop."""

_LEAST_FREE = 256 * 1024
"""Bytes; a disk with less has no room for what any step writes."""
LIFELINE = "DEEPSYNTH_LIFELINE"
"""Environment variable with the descriptor that reads as ended once the runner is gone."""
LOCKS = "DEEPSYNTH_LOCKS"
"""Environment variable with descriptors, parted by commas, that hold locks as long as a step lives.
"""

Outcome = Literal["done", "skipped"]


def execute(
    run: Run,
    step: Step,
    index: int = 0,
    *,
    locks: Sequence[int] = (),
    tick: Callable[[], None] = lambda: None,
    start: Start = plainly,
) -> Outcome:
    """Do one element of a step unless its receipt says it was done.

    Args:
        run: The run it belongs to.
        step: The step.
        index: Which element of a sharded step.
        locks: Descriptors of locks, such as the run's; the command inherits them, so the run stays
            locked as long as anything of it is alive.
        tick: Called several times a second while the command runs, to show progress.
        start: How the command is started.

    Raises:
        StepFailed: The command failed; carries what the step said, and exit code 2 if the request
            was wrong.
        Stopped: We were asked to stop; the command was given time to save.
    """
    _require(run, step)
    key = receipts.step_key(run, step)
    if receipts.is_done(run, step, key, index):
        run.event("step_skipped", step=step.name, index=index)
        return "skipped"
    if why := receipts.why_redone(run, step, key, index):
        run.event("step_redone", step=step.name, index=index, why=why)
    _clear(run, step, key, index)
    run.event("step_started", step=step.name, index=index)
    started = time.time()
    code = _run_command(run, step, index, locks, tick, start)
    if code != 0:
        error = _failure(run, step, code)
        run.event("step_failed", step=step.name, index=index, error=error.as_dict())
        raise error
    for output in receipts.outputs_of(step, index):
        if not (run.path / output).exists():
            error = StepFailed(
                f"the step ended but did not make {output}.", where=f"step {step.name}"
            )
            run.event("step_failed", step=step.name, index=index, error=error.as_dict())
            raise error
    receipt = receipts.write_receipt(run, step, key, started, index)
    if step.array == 1:
        shutil.rmtree(run.path / "steps" / step.name / "work", ignore_errors=True)
    run.event("step_done", step=step.name, index=index, seconds=receipt["seconds"])
    return "done"


def _require(run: Run, step: Step) -> None:
    """Refuse before anything is cleared: what a moved file made is not lost by looking for it."""
    for name in step.sources:
        source = run.source(step, name)
        if not source.exists():
            raise DataError(
                f"the {name} of this run is not there any more.",
                where=source,
                hint="Put it back; what was made from it is kept until then.",
            )
    for name in step.inputs:
        if not (run.path / name).exists():
            raise RunError(
                f"the step {step.name} reads {name}, which is not there yet.",
                where=run.path,
                hint=f"Do the steps before it: deepsynth run --resume {run.path}",
            )


def _clear(run: Run, step: Step, key: str, index: int) -> None:
    """Remove what an earlier attempt left; checkpoints stay if they are of the same key."""
    folder = run.path / "steps" / step.name
    folder.mkdir(parents=True, exist_ok=True)
    receipts.receipt_path(run, step, index).unlink(missing_ok=True)
    (folder / "error.json").unlink(missing_ok=True)
    for output in receipts.outputs_of(step, index):
        path = run.path / output
        if not path.parent.resolve().is_relative_to(run.path.resolve()):
            raise RunError(
                f"{output} would be removed, but a link there leads out of the run.",
                where=path,
                hint="Put a folder in place of the link.",
            )
        durable.remove(path)
    if durable.read_json(folder / "key.json") != key:
        if step.array == 1:
            shutil.rmtree(folder / "work", ignore_errors=True)
            run.rewind_metrics(step.name, -1)
        durable.write_json(folder / "key.json", key)


def command_line(run: Run, step: Step, index: int = 0) -> list[str]:
    """The argv that does one element of a step on this machine.

    Raises:
        MissingDependency: Its environment is not installed.
    """
    sources = {name: run.source(step, name) for name in step.sources}
    argv = [
        part.format(
            run=run.path,
            index=index,
            cpus=step.resources.cpus,
            sources=sources,
            python="{python}",
        )
        for part in step.argv
    ]
    return get_environment(step.environment).command(argv)


def _run_command(
    run: Run,
    step: Step,
    index: int,
    locks: Sequence[int],
    tick: Callable[[], None],
    start: Start,
) -> int:
    environment = os.environ | {
        "DEEPSYNTH_STEP": step.name,
        "DEEPSYNTH_INDEX": str(index),
        COPIES: json.dumps(_copies(run, step)),
        **our_variables(),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = command_line(run, step, index)
    log = run.path / "logs" / f"{step.name}.log"
    child: Process | None = None
    with log.open("ab") as output, lifeline() as alive:
        try:
            child = start(
                step,
                command,
                log=output.fileno(),
                environment=environment,
                named={LIFELINE: alive},
                locks=locks,
            )
            while True:
                try:
                    return child.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    tick()
        except BaseException as error:
            if child:
                _end(child)
            if not isinstance(error, KeyboardInterrupt | Stopped):
                raise
            run.event("step_stopped", step=step.name, index=index)
            raise Stopped("stopped.", where=f"step {step.name}") from None


def _copies(run: Run, step: Step) -> dict[str, str]:
    """Fetched once for a step: its environment need not have what fetching takes."""
    return {
        place: str(run.source(step, name)) for name, place in step.sources.items() if is_url(place)
    }


@contextmanager
def lifeline() -> Generator[int, None, None]:
    """A descriptor that reads as ended once this process is gone, however it went.

    A step that asks for its parent's process number may ask too late: the runner can be killed
    while the step still loads its libraries.
    """
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def _end(child: Process) -> None:
    """Ask the command and its children to save and end; a second Ctrl-C ends them at once."""
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, Stopped):
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    except ProcessLookupError:
        child.wait()


def _failure(run: Run, step: Step, code: int) -> DeepSynthError:
    if code == EXIT_STOPPED:
        return Stopped("stopped.", where=f"step {step.name}")
    told = durable.read_json(run.path / "steps" / step.name / "error.json")
    if told:
        return StepFailed.from_dict(told)
    log = run.path / "logs" / f"{step.name}.log"
    if code == -signal.SIGKILL:
        return StepFailed(
            f"the step {step.name} was killed from outside, most often for using too much memory.",
            where=log,
            hint="Use smaller batches or a shorter max_length, then go on: "
            f"deepsynth run --resume {run.path}",
        )
    if _is_full(run):
        return _no_space(run)
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
    return StepFailed(
        f"the step {step.name} ended with code {code}: {' | '.join(last) or 'it said nothing'}",
        where=log,
        hint=f"Read the log: deepsynth logs {run.path} {step.name}",
    )


def step_error(run: Run, step: Step, index: int, code: int) -> DeepSynthError:
    """Why `python -m deepsynth.run.step` ended with a code other than 0, as the run records it."""
    if code == EXIT_STOPPED:
        return Stopped("stopped.", where=f"step {step.name}")
    unsaid = StepFailed(f"the step {step.name} ended with code {code}.", where=f"step {step.name}")
    return told_error(run, step.name, index) or unsaid


def told_error(run: Run, step: str, index: int) -> StepFailed | None:
    """The error an element of a step ended with when it last failed."""
    for event in reversed(run.events()):
        if (event["kind"], event.get("step"), event.get("index")) == ("step_failed", step, index):
            return StepFailed.from_dict(event["error"])
    return None


def step_process(function: Callable[[Run], None]) -> NoReturn:
    """Run `function` as the process of a step: `python -m MODULE RUN`.

    An error of ours crosses to the runner as `steps/NAME/error.json`; anything else leaves its
    traceback in the log. SIGTERM and SIGINT raise `Stopped`, and so does the death of the runner.
    Typed by hand, without a runner, the same command line does the same work; errors are printed.
    """
    name = os.environ.get("DEEPSYNTH_STEP")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, raise_stopped)
    _watch_runner()
    if len(sys.argv) != 2:
        say("usage: python -m MODULE RUN", file=sys.stderr)
        sys.exit(EXIT_REQUEST)
    run = Run(Path(sys.argv[1]))
    try:
        Run.open(run.path)
        function(run)
        code = 0
    except DeepSynthError as error:
        say(error, file=sys.stderr)
        _tell(run, name, error)
        code = error.exit_code
    except Exception as error:
        traceback.print_exc()
        told = _no_space(run) if _is_full(run, error) else _unforeseen(run, name, error)
        _tell(run, name, told)
        code = told.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # Native libraries keep threads that may hang an ordinary interpreter exit.
    os._exit(code)


def _unforeseen(run: Run, name: str | None, error: Exception) -> DeepSynthError:
    first = next(iter(str(error).strip().splitlines()), "")
    return DeepSynthError(
        f"{type(error).__name__}: {first}",
        where=run.path / "logs" / f"{name}.log" if name else None,
        hint=f"The whole story is in the log: deepsynth logs {run.path} {name}",
    )


def _is_full(run: Run, error: Exception | None = None) -> bool:
    """Whether the disk ran out: some libraries say it in words only, some not at all."""
    said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = said or os.strerror(errno.ENOSPC) in str(error)
    return said or shutil.disk_usage(run.path).free < _LEAST_FREE


def _no_space(run: Run) -> StepFailed:
    return StepFailed(
        "there is no space left on the disk.",
        where=run.path,
        hint=f"Free some, then go on where it stopped: deepsynth run --resume {run.path}",
        exit_code=EXIT_REQUEST,
    )


def raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    """A signal handler that unwinds like Ctrl-C does, with our exit code."""
    raise Stopped(f"stopped by {signal.Signals(number).name}.")


def _tell(run: Run, name: str | None, error: DeepSynthError) -> None:
    if name is None:
        return
    try:
        durable.write_json(run.path / "steps" / name / "error.json", error.as_dict())
    except OSError:
        traceback.print_exc()


def _watch_runner() -> None:
    """Stop this process when the runner that started it is gone."""
    if LIFELINE in os.environ:
        descriptor = int(os.environ[LIFELINE])
        threading.Thread(target=_stop_with_runner, args=(descriptor,), daemon=True).start()


def _stop_with_runner(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(argv: list[str] | None = None) -> int:
    """`python -m deepsynth.run.step RUN NAME [INDEX]`: one step, with receipts."""
    path, name, *index = argv if argv is not None else sys.argv[1:]
    signal.signal(signal.SIGTERM, raise_stopped)
    locks = [int(descriptor) for descriptor in os.environ.get(LOCKS, "").split(",") if descriptor]
    _watch_runner()
    try:
        run = Run.open(Path(path))
        execute(run, run.plan.step(name), int(index[0]) if index else 0, locks=locks)
    except DeepSynthError as error:
        say(error, file=sys.stderr)
        return error.exit_code
    return 0
