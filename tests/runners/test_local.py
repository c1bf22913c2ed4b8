from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepsynth.errors import RequestError, RunError
from deepsynth.run.run import Run
from deepsynth.runners import get_runner
from deepsynth.runners.local.runner import LocalRunner
from tests.support.tickets import wait_until
from tests.support.toy import make_run, shell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", shell("first", "echo one; echo two"))


def test_local_takes_no_detail() -> None:
    assert isinstance(get_runner("local"), LocalRunner)
    with pytest.raises(RequestError, match="nothing after a colon"):
        get_runner("local:there")


def test_there_is_nothing_to_stop_when_nothing_runs(run: Run) -> None:
    with pytest.raises(RunError, match="nothing is running here"):
        LocalRunner().stop(run)
    (run.path / "run.lock").write_text(json.dumps({"pid": 1, "host": "another-machine"}))
    with pytest.raises(RunError, match="it runs on another-machine"):
        LocalRunner().stop(run)


def test_what_does_not_end_is_told_with_the_last_resort(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import signal, sys, time; from pathlib import Path; from deepsynth.run.run import Run\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "with Run(Path(sys.argv[1])).lock():\n    print('mine', flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    other.stdout.readline()
    monkeypatch.setattr("deepsynth.runners.local.runner.GRACE_SECONDS", 0.3)
    try:
        with pytest.raises(RunError, match=f"process {other.pid} does not end") as caught:
            LocalRunner().stop(run)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert f"kill -9 {other.pid}" in (caught.value.hint or "")


def test_a_log_is_followed_until_the_run_ends(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shell("first", "echo one; sleep 0.5; echo two"))
    script = (
        "import sys; from pathlib import Path; from deepsynth.run.run import Run\n"
        "from deepsynth.runners import get_runner\n"
        "run = Run(Path(sys.argv[1])); get_runner('local').run(run, run.plan.steps, lambda: None)\n"
    )
    with pytest.raises(RunError, match="has not printed anything yet"):
        list(LocalRunner().logs(run, "first", follow=False))
    worker = subprocess.Popen([sys.executable, "-c", script, str(run.path)])
    wait_until(lambda: "one" in log_of(run))
    began = time.monotonic()
    assert list(LocalRunner().logs(run, "first", follow=True)) == ["one", "two"]
    assert time.monotonic() - began > 0.2
    worker.wait()


def log_of(run: Run) -> str:
    path = run.path / "logs" / "first.log"
    return path.read_text() if path.exists() else ""
