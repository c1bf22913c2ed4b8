"""What every runner must do. A new runner is covered by one line in `RUNNERS`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from deepsynth.errors import DeepSynthError, Stopped
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from deepsynth.runners import RUNNERS as KINDS
from deepsynth.runners import Runner, get_runner
from tests.support.outside import install
from tests.support.tickets import kinds, wait_until
from tests.support.toy import counted, counting, drive, make_run, shell


@contextmanager
def local() -> Iterator[str]:
    """This machine."""
    yield "local"


@contextmanager
def flyte() -> Iterator[str]:
    """Flyte's tasks on this machine, with a store and a cache of their own."""
    pytest.importorskip("flyte", exc_type=ImportError)
    from flyte._persistence._db import LocalDB

    LocalDB.close_sync()
    yield "flyte:local"


@contextmanager
def nice() -> Iterator[str]:
    """A runner that another package brings: the one of docs/adding-a-runner.md."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        install("adding-a-runner.md", Path(folder))
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder)
        yield "nice:1"


RUNNERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "local": local,
    "flyte": flyte,
    "nice": nice,
}
"""For each kind of runner, what makes a place ready and yields its name for `--on`."""

ELSEWHERE = {"slurm": "tests/runners/slurm"}
"""Kinds whose servers take longer than this contract may; it is kept in these folders."""


@pytest.fixture(params=[kind for kind in (*KINDS, "nice") if kind not in ELSEWHERE])
def on(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    for name in ("HOME", "DEEPSYNTH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert request.param in RUNNERS, f"give the runner {request.param} a line in RUNNERS"
    with RUNNERS[request.param]() as name:
        yield name


@pytest.fixture
def runner(on: str) -> Runner:
    return get_runner(on)


def do(runner: Runner, run: Run) -> None:
    runner.run(run, run.plan.steps, lambda: None)


def toy(path: Path, updates: int = 20, pause: float = 0.001) -> Run:
    """Prepare makes two shards as an array, train reads them, evaluate reads the model."""
    shard = 'mkdir -p "$0/data"; [ ! -e "$0/data/{index}" ]; echo {index} > "$0/data/{index}"'
    return make_run(
        path,
        shell("prepare", shard, outputs=["data/{index}"], array=2),
        counting(updates, pause, after=["prepare"], inputs=["data"]),
        shell(
            "evaluate",
            'cp "$0/model/weights" "$0/metrics.json"; echo scored',
            after=["train"],
            inputs=["model"],
            outputs=["metrics.json"],
        ),
    )


def test_elsewhere_is_somewhere() -> None:
    kept = [folder for kind, folder in ELSEWHERE.items() if kind in KINDS]
    assert all(list(Path(folder).glob("test_*.py")) for folder in kept)


def test_a_plan_is_done_in_order_and_only_once(runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run")
    do(runner, run)
    assert (run.path / "metrics.json").read_text() == counted(20)
    assert run_state(run).state == "done"
    do(runner, run)
    assert kinds(run.path, "prepare") == ["step_started", "step_done"] * 2 + ["step_skipped"] * 2
    for name in ("train", "evaluate"):
        assert kinds(run.path, name) == ["step_started", "step_done", "step_skipped"]


def test_what_depends_on_a_change_is_done_again(on: str, runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run")
    do(runner, run)
    (run.path / "model" / "weights").write_text("0")
    do(runner, run)
    assert (run.path / "metrics.json").read_text() == counted(20)
    assert kinds(run.path, "prepare")[-1] == "step_skipped"
    assert (run.path / "model" / "weights").read_text() == counted(20)
    # A runner with a cache of its own brings the bytes back without doing the step.
    restored = "step_skipped" if on == "flyte:local" else "step_done"
    assert kinds(run.path, "train")[-1] == restored


def test_a_run_may_move_between_two_commands(runner: Runner, tmp_path: Path) -> None:
    do(runner, toy(tmp_path / "run"))
    moved = Run(Path(shutil.move(tmp_path / "run", tmp_path / "moved")))
    do(runner, moved)
    assert all(kinds(moved.path, s.name)[-1] == "step_skipped" for s in moved.plan.steps)


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_crosses_with_its_words_and_its_code(
    runner: Runner, tmp_path: Path, code: int
) -> None:
    told = '{{"what": "row 3 is empty.", "where": "a.csv:3", "hint": "Fill it.", "exit_code": %d}}'
    script = f"echo '{told % code}' > \"$0/steps/first/error.json\"; exit {code}"
    run = make_run(
        tmp_path / "run", shell("first", script), shell("second", "true", after=["first"])
    )
    with pytest.raises(DeepSynthError) as caught:
        do(runner, run)
    assert str(caught.value) == "a.csv:3: row 3 is empty.\n  Fill it."
    assert caught.value.exit_code == code
    state = run_state(run)
    assert [step.state for step in state.steps] == ["failed", "pending"]
    assert state.steps[0].error
    assert state.steps[0].error["what"] == "row 3 is empty."


def test_what_a_step_prints_can_be_read(runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run")
    do(runner, run)
    assert list(runner.logs(run, "evaluate", follow=False)) == ["scored"]
    assert list(runner.logs(run, "train", follow=True)) == ["from 0", "trained 20"]


def test_a_stop_from_elsewhere_saves_and_a_resume_goes_on(
    on: str, runner: Runner, tmp_path: Path
) -> None:
    run = toy(tmp_path / "run", updates=60, pause=0.05)
    worker = drive(on, run)
    wait_until(lambda: training(run, "work/checkpoint"))
    runner.stop(run)
    assert worker.wait(30) != 0
    assert run_state(run).state == "stopped"
    assert list(runner.logs(run, "train", follow=False))[-1].startswith("saved at")
    do(runner, run)
    assert list(runner.logs(run, "train", follow=False))[-1] == "trained 60"
    assert "from 0" not in list(runner.logs(run, "train", follow=False))[-2:]
    assert (run.path / "metrics.json").read_text() == counted(60)


def test_killed_without_a_word_a_resume_goes_on(on: str, runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run", updates=60, pause=0.05)
    worker = drive(on, run)
    wait_until(lambda: training(run, "work/checkpoint"))
    found = subprocess.run(
        ["pgrep", "-P", str(worker.pid)], capture_output=True, text=True, check=True
    )
    for pid in [worker.pid, *map(int, found.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not run.is_locked(), 10)
    assert run_state(run).state == "interrupted"
    do(runner, run)
    lines = list(runner.logs(run, "train", follow=False))
    assert int(lines[-2].split()[1]) >= 10
    assert (run.path / "metrics.json").read_text() == counted(60)
    assert kinds(run.path, "prepare")[-1] == "step_skipped"


def test_two_at_once_never_work_on_one_run(on: str, runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run", updates=60, pause=0.05)
    worker = drive(on, run)
    wait_until(lambda: training(run, "work"))
    with pytest.raises(DeepSynthError, match="works on it") as caught:
        do(runner, run)
    assert caught.value.exit_code == 2
    runner.stop(run)
    worker.wait(30)


def test_ctrl_c_is_a_stop(runner: Runner, tmp_path: Path) -> None:
    run = toy(tmp_path / "run", updates=60, pause=0.05)

    def interrupt() -> None:
        wait_until(lambda: training(run, "work"))
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        do(runner, run)
    assert run_state(run).state == "stopped"


def training(run: Run, name: str) -> bool:
    """Whether the training has made a file of its own, in the run or where Flyte's tasks work."""
    tasks = Path(os.environ["DEEPSYNTH_HOME"], "flyte", "work").glob("*")
    folders = [run.path, *(task / "run" for task in tasks)]
    return any((folder / "steps" / "train" / name).exists() for folder in folders)
