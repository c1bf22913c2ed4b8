"""A process of our own that is handed JSON lines and answers in JSON lines.

Work goes to a process where a library may hang or abort, must be killed at any moment, or needs an
environment of its own: a process can be watched and ended, a thread cannot. Both ends are here:
`Child` starts and asks, `Parent` is what the module that was started talks to. The child ends when
its parent does, since the end of its input is the end of its work.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

from deepsynth import durable
from deepsynth.run.environments import our_variables


class ChildEnded(Exception):
    """It ended before it answered; the text says how, with the last line it wrote."""


class ChildSilent(Exception):
    """It said nothing for as long as it was given."""


def module_argv(module: str) -> list[str]:
    """The command line of a module of ours in the environment we run in."""
    return [sys.executable, "-m", module]


class Child:
    """A process that is started at once, and killed on the way out if it is still there.

    Args:
        argv: Its command line.
        environment: Changes to ours.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        environment = {**our_variables(), **(environment or {})}
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env={**os.environ, **environment},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input: IO[bytes] = self.process.stdin
        self._output: IO[bytes] = self.process.stdout
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, value: Any) -> None:
        """Hand it one line.

        Raises:
            ChildEnded: It is gone.
        """
        try:
            self._input.write(json.dumps(value).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Its next answer; what a library printed in between is left out.

        Args:
            seconds: How long to wait; for ever if None.

        Raises:
            ChildEnded: It ended without one.
            ChildSilent: The time is over.
        """
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise ChildSilent from None
        if answer is None:
            self._answers.put(None)
            raise self._ended()
        return answer

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process.poll() is None:
            self.process.terminate()

    def close(self) -> None:
        """End it and wait for it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self._output.close()
        self._noise.close()
        with suppress(BrokenPipeError):
            self._input.close()

    def _read(self) -> None:
        for line in self._output:
            for answer in durable.parse_lines(line):
                if isinstance(answer, dict):
                    self._answers.put(answer)
        self._answers.put(None)

    def _ended(self) -> ChildEnded:
        code = self.process.wait()
        self._noise.seek(0)
        lines = self._noise.read().decode(errors="replace").strip().splitlines()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return ChildEnded(f"{how}: {lines[-1][-300:]}" if lines else how)


class Parent:
    """The other end, in the process that was started: what is asked, and how it is answered.

    What libraries print goes to standard error from here on: the answers have the real standard
    output to themselves.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lock = threading.Lock()
        os.dup2(2, 1)
        # Ctrl-C goes to the whole terminal; what becomes of us is for our parent to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def requests(self) -> Iterator[Any]:
        """What is asked, one after the other, until the parent has no more or is gone."""
        while line := sys.stdin.readline():
            yield json.loads(line)

    def answer(self, value: Mapping[str, Any]) -> None:
        """Tell it one line, from any thread; if it is gone, so are we."""
        with self._lock:
            try:
                self._answers.write(json.dumps(value) + "\n")
                self._answers.flush()
            except BrokenPipeError:
                os._exit(0)

    def end_with_it(self) -> None:
        """Leave, whatever else goes on here, as soon as the parent closes its end."""
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        sys.stdin.read()
        os._exit(143)
