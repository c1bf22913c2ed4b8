"""Command lines of tests, forked from one warm process: they do not import torch anew each time."""

from __future__ import annotations

import atexit
import signal
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from deepsynth.run.warm import NotWarm, WarmProcess
from tests.support.environment import environment

MODULES = [
    "deepsynth.cli",
    *(f"deepsynth.families.classify.{step}" for step in ("prepare", "check", "train", "evaluate")),
    "deepsynth.families.classify.predict",
]
"""What they need most; the rest is imported when it is first asked for."""


class Command:
    """A command line that runs, and what it prints: what tests use of `subprocess.Popen[str]`.

    Args:
        arguments: Of the module.
        env: All its variables.
        cwd: Where it runs.

    Raises:
        NotWarm: Its variables are others than those of the warm process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        module: str = "deepsynth.cli",
    ) -> None:
        self.args = [module, *arguments]
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = _shared().start(
                module,
                arguments,
                environment=_kept(env),
                stdout=self._out.fileno(),
                stderr=self._err.fileno(),
                directory=cwd and str(cwd),
                own=True,
            )
        except NotWarm:
            self._close()
            raise
        self.pid = self._process.pid
        self.poll, self.wait = self._process.poll, self._process.wait
        self.send_signal = self._process.send_signal

    @property
    def returncode(self) -> int | None:
        """Its exit code once it was waited for."""
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; returns what it printed on both streams."""
        self.wait(timeout)
        texts: list[str] = []
        for stream in (self._out, self._err):
            stream.seek(0)
            texts.append(stream.read().decode())
        self._close()
        return texts[0], texts[1]

    def _close(self) -> None:
        self._out.close()
        self._err.close()


def _kept(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "PYTEST_CURRENT_TEST"}


@cache
def _shared() -> WarmProcess:
    """One of this test process."""
    process = WarmProcess(MODULES, environment=_BASE)
    atexit.register(process.close)
    return process


_BASE = _kept(environment())
