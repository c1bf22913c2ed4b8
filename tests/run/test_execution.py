from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.errors import DataError, RunError, StepFailed, Stopped
from deepsynth.run import receipts
from deepsynth.run.execution import execute, raise_stopped
from deepsynth.run.run import Run
from deepsynth.run.starting import Start, WarmSteps, plainly
from deepsynth.run.step import Step
from tests.support.tickets import kinds, wait_until
from tests.support.toy import make_run, shell

OURS = """
import os, pathlib, sys, time
from deepsynth.errors import DataError
from deepsynth.run.execution import step_process

def main(run):
    kind = os.environ.get("TOY", "good")
    if kind == "bad-request":
        raise DataError("row 3 is empty.", where="a.csv:3", hint="Fill it.")
    if kind == "bug":
        raise ValueError("a surprise\\nin two lines")
    if kind == "full":
        raise OSError(28, "No space left on device", "x")
    if kind == "full-in-words":
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    if kind == "waits":
        try:
            (run.path / "began").touch()
            time.sleep(60)
        finally:
            (run.path / "saved").touch()
    (run.path / "out").mkdir()
    (run.path / "out" / "file").write_text("made")

if __name__ == "__main__":
    print("forked" if "deepsynth.run.forking" in sys.orig_argv else "started", flush=True)
    if os.environ.get("TOY") == "slow-to-load":
        (pathlib.Path(sys.argv[1]) / "began").touch()
        time.sleep(1.5)
        os.environ["TOY"] = "waits"
    step_process(main)
"""
"""A step of ours that behaves as TOY says."""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    (tmp_path / "ours.py").write_text(OURS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Step(name="first", argv=["{python}", "-m", "ours", "{run}"], outputs=["out"])


@pytest.fixture
def run(tmp_path: Path, ours: Step) -> Run:
    """A run of two steps: warming pays where more than one is to be started."""
    return make_run(
        tmp_path / "run", ours, ours.model_copy(update={"name": "second", "outputs": ["more"]})
    )


@pytest.fixture(params=["cold", "warm"])
def start(request: pytest.FixtureRequest, run: Run) -> Iterator[Start]:
    """Both ways of starting a step; the log tells which it was."""
    if request.param == "cold":
        yield plainly
    else:
        with WarmSteps(run, run.plan.steps) as warm:
            yield warm.start
    if (run.path / "logs" / "first.log").exists():
        assert log(run).startswith({"cold": "started", "warm": "forked"}[request.param])


def log(run: Run, name: str = "first") -> str:
    return (run.path / "logs" / f"{name}.log").read_text()


def failed(run: Run, step: Step, start: Start = plainly) -> StepFailed:
    with pytest.raises(StepFailed) as caught:
        execute(run, step, start=start)
    assert kinds(run.path, step.name)[-1] == "step_failed"
    assert not receipts.receipt_path(run, step).exists()
    return caught.value


def test_a_step_is_done_once(run: Run, ours: Step, start: Start) -> None:
    assert execute(run, ours, start=start) == "done"
    assert execute(run, ours) == "skipped"
    assert kinds(run.path, "first") == ["step_started", "step_done", "step_skipped"]


def test_an_output_that_was_changed_is_made_again(run: Run, ours: Step) -> None:
    execute(run, ours)
    (run.path / "out" / "file").write_text("changed")
    (run.path / "out" / "more").write_text("added")
    assert execute(run, ours) == "done"
    assert [p.name for p in (run.path / "out").iterdir()] == ["file"]
    assert (run.path / "out" / "file").read_text() == "made"


def test_a_step_that_is_done_again_and_fails_is_not_done(
    run: Run, ours: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(run, ours)
    (run.path / "out" / "file").write_text("changed")
    monkeypatch.setenv("TOY", "bug")
    failed(run, ours)


def test_a_request_error_crosses_the_process_border(
    run: Run, ours: Step, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", "bad-request")
    error = failed(run, ours, start)
    assert error.as_dict() == {
        "what": "row 3 is empty.",
        "where": "a.csv:3",
        "hint": "Fill it.",
        "exit_code": 2,
    }
    assert "Traceback" not in log(run)


def test_a_fault_of_ours_says_its_name_and_where_its_story_is(
    run: Run, ours: Step, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", "bug")
    error = failed(run, ours, start)
    assert (error.what, error.exit_code) == ("ValueError: a surprise", 1)
    assert error.where == str(run.path / "logs" / "first.log")
    assert "Traceback" in log(run)
    monkeypatch.setenv("TOY", "good")
    execute(run, ours, start=start)
    assert not (run.path / "steps" / "first" / "error.json").exists()


@pytest.mark.parametrize("kind", ["full", "full-in-words"])
def test_a_full_disk_is_told_however_the_library_said_it(
    run: Run, ours: Step, start: Start, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("TOY", kind)
    error = failed(run, ours, start)
    assert (error.what, error.exit_code) == ("there is no space left on the disk.", 2)
    assert "deepsynth run --resume" in (error.hint or "")


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("echo one; echo two >&2; exit 3", "the step first ended with code 3: one | two"),
        ("exit 1", "the step first ended with code 1: it said nothing"),
        ("kill -9 $$", "was killed from outside"),
    ],
)
def test_any_command_that_fails_is_told(tmp_path: Path, script: str, what: str) -> None:
    step = shell("first", script)
    assert what in failed(make_run(tmp_path / "other", step), step).what


def test_a_command_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    step = shell("first", "true", outputs=["out"])
    run = make_run(tmp_path / "other", step)
    assert failed(run, step).what == "the step ended but did not make out."


def test_work_is_kept_for_the_same_key_and_dropped_for_another(tmp_path: Path) -> None:
    work = '"$0/steps/first/work"'
    script = f"ls {work} || true; mkdir -p {work}; touch {work}/checkpoint; false"
    step = shell("first", script, settings={"rate": 1})
    run = make_run(tmp_path / "other", step)
    run.metric("first", 1, {"loss": 1.0})
    failed(run, step)
    assert run.metrics() == []
    run.metric("first", 1, {"loss": 1.0})
    failed(run, step)
    assert log(run).splitlines()[-1] == "checkpoint"
    assert run.metrics()
    failed(run, step.model_copy(update={"settings": {"rate": 2}}))
    assert "No such file" in log(run).splitlines()[-1]
    assert run.metrics() == []


def test_nothing_is_cleared_when_a_source_or_an_input_is_missing(
    run: Run, ours: Step, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("x")
    step = ours.model_copy(update={"sources": {"data": str(data)}})
    execute(run, step)
    data.unlink()
    with pytest.raises(DataError, match="is not there any more") as caught:
        execute(run, step)
    assert caught.value.where == str(data)
    assert (run.path / "out" / "file").exists()
    with pytest.raises(RunError, match="reads model, which is not there yet"):
        execute(run, ours.model_copy(update={"inputs": ["model"]}))
    assert (run.path / "out" / "file").exists()


def test_progress_is_shown_while_the_command_runs(tmp_path: Path) -> None:
    step = shell("first", "sleep 0.5")
    ticks: list[float] = []
    execute(make_run(tmp_path / "other", step), step, tick=lambda: ticks.append(time.monotonic()))
    assert len(ticks) >= 3


def test_a_stop_lets_the_step_save(
    run: Run, ours: Step, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", "waits")
    began = run.path / "began"

    def interrupt() -> None:
        wait_until(began.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        execute(run, ours, start=start)
    assert (run.path / "saved").exists()
    assert kinds(run.path, "first") == ["step_started", "step_stopped"]


def test_a_command_that_does_not_end_is_killed_after_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepsynth.run.execution.GRACE_SECONDS", 0.5)
    step = shell("first", 'trap "" TERM; touch "$0/began"; for i in $(seq 600); do sleep 0.1; done')
    run = make_run(tmp_path / "other", step)

    def tick() -> None:
        if (run.path / "began").exists():
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(Stopped):
        execute(run, step, tick=tick)
    assert time.monotonic() - began < 10


LOCAL = """
import sys
from pathlib import Path
from deepsynth.run.run import Run
from deepsynth.runners.local.runner import LocalRunner
runner, run = LocalRunner(), Run(Path(sys.argv[1]))
runner.warm = sys.argv[2] == "warm"
runner.run(run, run.plan.steps, lambda: None)
"""


@pytest.mark.parametrize("how", ["alone", "cold", "warm"])
@pytest.mark.parametrize("kind", ["waits", "slow-to-load"])
def test_a_step_ends_with_its_runner_however_early_that_was_killed(
    run: Run, kind: str, how: str
) -> None:
    alone = ["-m", "deepsynth.run.step", str(run.path), "first"]
    runner = subprocess.Popen(
        [sys.executable, *(alone if how == "alone" else ["-c", LOCAL, str(run.path), how])],
        env=os.environ | {"TOY": kind},
    )
    wait_until((run.path / "began").exists)
    found = children(runner.pid)
    assert len(found) == (2 if how == "warm" else 1)
    runner.kill()
    runner.wait()
    wait_until(lambda: all(map(has_ended, found)), 10, "the step to end")
    assert not run.is_locked()
    assert kind != "waits" or (run.path / "saved").exists()
    assert not (run.path / "out").exists()


def test_a_runner_that_is_killed_while_it_warms_starts_nothing(run: Run, tmp_path: Path) -> None:
    began = tmp_path / "importing"
    slow = f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(1)\n"
    (tmp_path / "ours.py").write_text(slow + OURS)
    runner = subprocess.Popen([sys.executable, "-c", LOCAL, str(run.path), "warm"])
    wait_until(began.exists)
    (warm,) = children(runner.pid)
    runner.kill()
    runner.wait()
    assert not run.is_locked()
    wait_until(lambda: has_ended(warm), 10, "the warm process to end")
    assert kinds(run.path, "first") == ["step_started"]
    assert log(run) == ""


def test_a_stop_while_it_warms_is_a_stop(run: Run, ours: Step, tmp_path: Path) -> None:
    began = tmp_path / "importing"
    slow = f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(60)\n"
    (tmp_path / "ours.py").write_text(slow + OURS)

    def interrupt() -> None:
        wait_until(began.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with WarmSteps(run, run.plan.steps) as warm, pytest.raises(Stopped):
        execute(run, ours, start=warm.start)
    assert kinds(run.path, "first") == ["step_started", "step_stopped"]
    assert log(run) == ""


def test_a_step_that_was_killed_lets_go_of_the_lock(run: Run, ours: Step, start: Start) -> None:
    """The warm process, which is still there, does not hold what it handed on."""
    (run.path.parent / "ours.py").write_text(OURS.replace("def main(run):", KILLED))
    with run.lock() as lock, pytest.raises(StepFailed, match="killed from outside"):
        execute(run, ours, locks=[lock], start=start)
    assert not run.is_locked()


KILLED = "def main(run):\n    os.kill(os.getpid(), 9)"


def test_what_cannot_be_warmed_is_started_plainly_and_says_so(run: Run, tmp_path: Path) -> None:
    """What is imported ahead of its need fails ahead of it; the step that needs it may say more."""
    first, second = run.plan.steps
    second = second.model_copy(update={"warm": ["no_such_module"], "outputs": []})
    (tmp_path / "ours.py").write_text(OURS.replace(".mkdir()", ".mkdir(exist_ok=True)"))
    with WarmSteps(run, [first, second]) as warm:
        execute(run, first, start=warm.start)
        wait_until(lambda: "no_such_module" in warm._warm["this"].said())
        execute(run, second, start=warm.start)
    (note,) = [event for event in run.events() if event["kind"] == "note"]
    assert "second: started without a warm process: no_such_module" in note["text"]
    assert "ModuleNotFoundError" in log(run, "second")
    assert log(run, "second").splitlines()[-1] == "started"


def test_a_warm_process_that_was_killed_is_done_without(run: Run, ours: Step) -> None:
    with WarmSteps(run, run.plan.steps) as warm:
        execute(run, ours, start=warm.start)
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(run.path / "out")
        execute(run, ours, start=warm.start)
    assert [line for line in log(run).splitlines() if line in ("forked", "started")] == [
        "forked",
        "started",
    ]
    assert "without a warm process: the warm process ended with code -9" in log(run)


def has_ended(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return found.stdout[:1] in (b"", b"Z")


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def test_one_step_as_a_command_line_of_its_own(run: Run, tmp_path: Path) -> None:
    def step(*arguments: object, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "deepsynth.run.step", *map(str, arguments)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    bad = step(run.path, "first", TOY="bad-request")
    assert (bad.returncode, bad.stderr) == (2, "a.csv:3: row 3 is empty.\n  Fill it.\n")
    assert step(run.path, "first").returncode == 0
    assert kinds(run.path, "first")[-1] == "step_done"
    assert step(tmp_path, "first").returncode == 2


def test_a_step_of_ours_typed_by_hand_needs_no_runner(run: Run, tmp_path: Path) -> None:
    def by_hand(path: Path, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, str(tmp_path / "ours.py"), str(path)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    bad = by_hand(run.path, TOY="bad-request")
    assert (bad.returncode, bad.stderr) == (2, "a.csv:3: row 3 is empty.\n  Fill it.\n")
    assert by_hand(tmp_path / "none").returncode == 2
    assert by_hand(run.path).returncode == 0
    assert (run.path / "out" / "file").exists()
    assert not (run.path / "steps" / "first").exists()


def test_a_signal_unwinds_with_our_exit_code() -> None:
    with pytest.raises(Stopped, match="SIGTERM") as caught:
        raise_stopped(signal.SIGTERM, None)
    assert caught.value.exit_code == 130


def test_an_array_keeps_the_elements_that_are_done(tmp_path: Path) -> None:
    step = shell(
        "first",
        'echo {index} >> "$0/ran"; touch "$0/shard-{index}"',
        outputs=["shard-{index}"],
        array=3,
    )
    run = make_run(tmp_path / "other", step)
    for index in (0, 2):
        execute(run, step, index)
    assert [execute(run, step, index) for index in range(3)] == ["skipped", "done", "skipped"]
    assert (run.path / "ran").read_text().split() == ["0", "2", "1"]
    assert durable.read_json(receipts.receipt_path(run, step, 1))["outputs"]["shard-1"]


def test_a_command_line_is_told_its_cores_and_where_its_sources_are(tmp_path: Path) -> None:
    (tmp_path / "a page.xml").write_text("page")
    argv = ["cp", "--", "{sources[page]}", "{run}/{cpus}-{index}"]
    sources = {"page": str(tmp_path / "a page.xml")}
    run = make_run(
        tmp_path / "run", shell("first", "", argv=argv, sources=sources, outputs=["1-{index}"])
    )
    execute(run, run.plan.step("first"))
    assert (run.path / "1-0").read_text() == "page"
