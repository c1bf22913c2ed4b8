"""Which tests run together, the finished run that many look at, the command line in here."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deepsynth.cli import run_command
from tests.support import tickets
from tests.support.scheduling import group_of, turn_of
from tests.support.shared import made_once

# Started in the background of a script, the tests and what they start would not hear Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
HANDLERS = {
    number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
}
# Each test process keeps to one core; so does what it starts. The warm process that tests share has
# the variables of what is forked from it.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

pytest_plugins = ["tests.support.servers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "how long tests/fuzz goes on with each of its targets; 0: a fixed number of cases"
    parser.addoption("--fuzz-seconds", type=float, default=0, help=told)


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    """As the option says."""
    return float(request.config.getoption("--fuzz-seconds"))


@pytest.fixture(autouse=True)
def signals() -> None:
    """A step that ran in this process, in an earlier test or a shared fixture, kept its signals."""
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def remembered(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the tests confirm or send is not remembered for whoever runs them."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first; the tests of a group stay in their order."""
    items.sort(key=lambda item: turn_of(item.nodeid, "slow" in item.keywords))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give the tests of a group to one process."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


class Answer(NamedTuple):
    """What a command line said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command line in this process."""

    def call(*arguments: object) -> Answer:
        code = run_command([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def tickets_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job file of the small classify job."""
    return made_once(tmp_path_factory, "tickets", tickets.write_job) / "job.yaml"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A pretrained sentence encoder, all-MiniLM-L6-v2."""
    folder = Path(__file__).parent.parent / ".weights" / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").exists():
        pytest.skip("the pretrained encoder is not here: make weights")
    return folder


class Finished(NamedTuple):
    """A whole run by one command, and what that printed."""

    run: Path
    out: str
    err: str


@pytest.fixture(scope="session")
def finished_process(tickets_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The run of the small job that all test processes share; `finished` is to be used."""

    def make(folder: Path) -> None:
        done = tickets.deepsynth("run", tickets_job, "--runs", folder, "--name", "whole")
        assert done.returncode == 0, done.stderr
        (folder / "out").write_text(done.stdout)
        (folder / "err").write_text(done.stderr)

    made = made_once(tmp_path_factory, "finished", make)
    return Finished(made / "whole", (made / "out").read_text(), (made / "err").read_text())


@pytest.fixture(scope="session")
def finished(finished_process: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This process's own copy of it; to be looked at, not changed."""
    folder = tmp_path_factory.mktemp("finished") / "whole"
    return Path(shutil.copytree(finished_process.run, folder))


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
