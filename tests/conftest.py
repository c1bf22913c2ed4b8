"""The finished run that many tests look at, and the command line inside this process."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest

from deepsynth.cli import run_command
from tests.support import tickets


class Answer(NamedTuple):
    """What a command line said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Answer]]:
    """Run a command line in this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def call(*arguments: object) -> Answer:
        code = run_command([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    yield call
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tickets_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job file of the small classify job."""
    return tickets.write_job(tmp_path_factory.mktemp("tickets"))


@pytest.fixture(scope="session")
def finished_process(
    tickets_job: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, CompletedProcess[str]]:
    """A whole run of it, by one command, and what that printed."""
    runs = tmp_path_factory.mktemp("runs")
    process = tickets.deepsynth("run", tickets_job, "--runs", runs, "--name", "whole")
    assert process.returncode == 0, process.stderr
    return runs / "whole", process


@pytest.fixture(scope="session")
def finished(finished_process: tuple[Path, CompletedProcess[str]]) -> Path:
    """The run folder; to be looked at, not changed."""
    return finished_process[0]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture
def untrained(copied: Path) -> Path:
    """A copy in which the training has not begun."""
    for name in ("steps/train", "steps/evaluate", "model", "training", "evaluation"):
        shutil.rmtree(copied / name)
    for name in ("metrics.json", "metrics.jsonl", "report.html", "events.jsonl"):
        (copied / name).unlink()
    return copied
