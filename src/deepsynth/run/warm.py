"""A warm process: it has imported what is slow to import, and forks from itself what needs it.

Importing torch and transformers takes longer than most steps do. `WarmProcess` starts an
interpreter that imports modules in the background and then runs any `python -m MODULE ARGUMENTS` in
a fork of itself: a step, or the command line itself.

    with WarmProcess(["deepsynth.cli", "deepsynth.families.classify.train"]) as warm:
        process = warm.start("deepsynth.cli", ["run", "job.yaml"], stdout=log.fileno())
        code = process.wait(timeout=60)

What is forked is the child of the process that asked, leads a session of its own, and has the
environment variables, folder, standard streams and descriptors it is given, as if `subprocess` had
started it. A command line gets a warm process of its own, so that the steps of `deepsynth run` are
forked as well. Tests that start many commands share one `WarmProcess` in this way: keep it for the
session, ask `fits(environment)`, and start with `subprocess` what does not fit.

The warm process imports and does nothing else: there are no threads of its own to lose in a fork.
It has no descriptor of what it forked, and ends with the process that made it. Linux only.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

_SET_SUBREAPER, _GET_SUBREAPER = 36, 37
"""Of prctl(2): whether orphans below this process become its children."""
MESSAGE = 256 * 1024
"""Bytes of the longest question or answer."""
_READ_LATE = ("PYTHONUNBUFFERED", "TOKENIZERS_PARALLELISM", "PYTHONSAFEPATH")
"""Variables that need not be set before the interpreter starts; so are all of ours. What the last
one says of the working folder, a fork does itself."""
# With this, a library that asks for a GPU while it is imported does not begin to use it, which no
# fork survives.
_WHILE_IMPORTING = {"PYTHONUNBUFFERED": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}

FORKING = "deepsynth.run.forking"
"""The module that the warm process runs."""

_adoption = threading.Lock()
_at_hand: WarmProcess | None = None
"""The warm process that came with this command line, when it was forked itself."""


class NotWarm(Exception):
    """A warm process cannot be had or did not do it: start plainly. Says why."""


class Forked:
    """A process that was forked for us; waited for like one of `subprocess`.

    Attributes:
        pid: Its number, and that of its session and process group.
        args: Module and arguments.
        returncode: As of `subprocess.Popen`: negative after a signal, None while it runs.
    """

    def __init__(self, pid: int, args: list[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class WarmProcess:
    """A process that imports `modules`, in order and in the background.

    Args:
        modules: Names of modules.
        python: The interpreter, of this environment or another that has DeepSynth.
        environment: Its environment variables; those of this process by default.

    Raises:
        NotWarm: This machine cannot have one.
    """

    def __init__(
        self,
        modules: Sequence[str],
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self._turn = threading.Lock()
        with _adopting():
            self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [python, "-m", FORKING, str(theirs.fileno()), *modules],
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    env=self._environment | _WHILE_IMPORTING,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        self._process: subprocess.Popen[bytes] | Forked = process

    @classmethod
    def _of_fork(cls, channel: socket.socket, pid: int) -> WarmProcess:
        """The one that came with a command line: forked, as that was."""
        self = cls.__new__(cls)
        self._environment = dict(os.environ)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._channel = channel
        self._turn = threading.Lock()
        self._process = Forked(pid, [])
        return self

    def __enter__(self) -> WarmProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether what it imported is what a process with these variables would have.

        Libraries read variables while they are imported, so all must be the same, but for ours
        (`DEEPSYNTH_...`) and a few that are known to be read later.
        """
        return _read_early(environment) == _read_early(self._environment)

    def start(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        keep: Sequence[int] = (),
        named: Mapping[str, int] | None = None,
        needs: Sequence[str] = (),
        directory: str | None = None,
        own: bool = False,
    ) -> Forked:
        """Run `python -m MODULE ARGUMENTS` in a fork.

        Waits until the module and what it needs are imported; they come next if they are not yet.

        Args:
            module: The module.
            arguments: Its arguments.
            environment: All its variables; by default those the warm process was made with.
            stdin: Descriptor; nothing can be read by default.
            stdout: Descriptor; by default that of this process.
            stderr: Descriptor; by default that of this process.
            keep: Descriptors it has as well, under other numbers.
            named: Descriptors it has as well, whose numbers it finds in these variables.
            needs: Modules it imports in the course of its work.
            directory: Where it runs; by default where this process is.
            own: It gets a warm process of its own: see `take`.

        Raises:
            NotWarm: It was not started.
        """
        environment = self._environment if environment is None else environment
        named = named or {}
        if not self.fits(environment):
            raise NotWarm("its environment variables are others than those of the warm process")
        nothing = os.open(os.devnull, os.O_RDWR)
        descriptors = [
            nothing if stdin is None else stdin,
            sys.stdout.fileno() if stdout is None else stdout,
            sys.stderr.fileno() if stderr is None else stderr,
            *named.values(),
            *keep,
        ]
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "named": list(named),
            "directory": directory or os.getcwd(),  # noqa: PTH109
            "own": own,
        }
        try:
            with self._turn:
                self._ask({"load": [module, *needs]})
                with _adopting(), _undisturbed():
                    pid: int = self._ask({"fork": order}, descriptors)["pid"]
        finally:
            os.close(nothing)
        return Forked(pid, [module, *arguments])

    def said(self) -> str:
        """What it printed while it imported, such as the traceback of a failure."""
        # Not by reading on: the place in the file is shared with who writes it.
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode(errors="replace")

    def close(self) -> None:
        """End it; what it forked goes on."""
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._said.close()

    def _ask(self, question: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        try:
            socket.send_fds(self._channel, [json.dumps(question).encode()], descriptors)
            answer = self._channel.recv(MESSAGE)
        except ConnectionError:
            answer = b""
        except OSError as error:
            raise NotWarm(f"the warm process cannot be asked: {error.strerror}") from error
        except BaseException:
            self._channel.close()  # what it answers later must not be taken for another answer
            raise
        if not answer:
            raise NotWarm(f"the warm process ended with code {self._process.wait()}")
        told: dict[str, Any] = json.loads(answer)
        if "failed" in told:
            raise NotWarm(told["failed"])
        return told


def take() -> WarmProcess | None:
    """The warm process that came with this command line; who takes it closes it."""
    global _at_hand
    taken, _at_hand = _at_hand, None
    return taken


def came_along(channel: socket.socket, pid: int) -> None:
    """Keep the warm process that came with this command line, for whoever takes it."""
    global _at_hand
    _at_hand = WarmProcess._of_fork(channel, pid)  # pyright: ignore[reportPrivateUsage]
    atexit.register(lambda: (unused := take()) and unused.close())


@contextmanager
def _adopting() -> Generator[None]:
    """Let what the warm process forks and leaves become our child: so we learn how it ends.

    Only for this moment: orphans of others go on to be looked after by the system.
    """
    if sys.platform != "linux":
        raise NotWarm("only Linux has warm starts")
    library = ctypes.CDLL(None, use_errno=True)
    with _adoption:
        number = ctypes.c_int()
        library.prctl(_GET_SUBREAPER, ctypes.byref(number), 0, 0, 0)
        if library.prctl(_SET_SUBREAPER, 1, 0, 0, 0) != 0:
            raise NotWarm(f"no child can be adopted: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            library.prctl(_SET_SUBREAPER, number.value, 0, 0, 0)


@contextmanager
def _undisturbed() -> Generator[None]:
    """Signals wait: one that came between a fork and its number would lose the process."""
    waiting = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name not in _READ_LATE and not name.startswith("DEEPSYNTH_")
    }
