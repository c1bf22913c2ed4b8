from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsynth.errors import RunError
from deepsynth.run.run import Run, is_run
from tests.support.toy import make_run, shell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", shell("first", "true"), shell("second", "true"))


def test_a_run_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            make_run(tmp_path / "run", shell("first", "true"))
    assert list(tmp_path.iterdir()) == []
    run = make_run(tmp_path / "run", shell("first", "true"))
    assert {path.name for path in run.path.iterdir()} == {
        "job.yaml",
        "resolved.yaml",
        "plan.json",
        "events.jsonl",
        "steps",
        "logs",
    }
    assert is_run(run.path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    make_run(tmp_path / "mine", shell("first", "true"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "diary.txt").write_text("dear diary")
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "diary.txt", tmp_path / "mine"):
        with pytest.raises(RunError, match="exists already"):
            make_run(path, shell("first", "true"))
    assert (tmp_path / "theirs" / "diary.txt").read_text() == "dear diary"
    with pytest.raises(RunError, match="cannot be made"):
        make_run(tmp_path / "theirs" / "diary.txt" / "run", shell("first", "true"))


def test_open_says_what_runs_there_are(run: Run) -> None:
    assert Run.open(run.path).plan == run.plan
    with pytest.raises(RunError, match="there is no such run") as caught:
        Run.open(run.path.parent / "ran")
    assert caught.value.hint == "Runs there: run."
    with pytest.raises(RunError, match="not a run folder") as caught:
        Run.open(run.path / "logs")
    assert caught.value.hint == "Make one: deepsynth run JOB"


def test_events_and_metrics_survive_a_kill_in_the_middle_of_a_line(run: Run) -> None:
    run.metric("train", 1, {"loss": 2.0})
    run.metric("train", 2, {"loss": float("nan")})
    with (run.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": "train", "upd')
    values = [(m["update"], m["loss"]) for m in run.metrics()]
    assert values == [(1, 2.0), (2, None)]


def test_rewinding_forgets_only_later_points_of_that_step(run: Run) -> None:
    for update in (1, 2, 3):
        run.metric("train", update, {"loss": 1.0})
    run.metric("other", 3, {"loss": 1.0})
    run.rewind_metrics("train", 2)
    kept = [(m["step"], m["update"]) for m in run.metrics()]
    assert kept == [("train", 1), ("train", 2), ("other", 3)]


def test_progress_is_written_seldom_but_its_end_always(run: Run) -> None:
    for done in range(1, 1001):
        run.progress("train", done, 1000, "updates")
    told = [e["done"] for e in run.events() if e["kind"] == "progress"]
    assert told[0] == 1
    assert told[-1] == 1000
    assert len(told) < 20


def test_one_process_at_a_time_and_a_killed_one_frees_the_lock(run: Run) -> None:
    script = (
        "import sys, time; from pathlib import Path; from deepsynth.run.run import Run\n"
        "with Run(Path(sys.argv[1])).lock():\n    print('mine', flush=True); time.sleep(60)\n"
    )
    assert not run.is_locked()
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(RunError, match=f"process {other.pid} on .* works on it"), run.lock():
        pass
    assert run.is_locked()
    other.kill()
    other.wait()
    other.stdout.close()
    assert not run.is_locked()
    with run.lock():
        assert run.owner() == {"pid": os.getpid(), "host": os.uname().nodename}


def test_a_source_is_where_it_was_staged_else_where_the_job_says(run: Run, tmp_path: Path) -> None:
    step = shell("first", "true", sources={"data": str(tmp_path / "a.csv")})
    assert run.source(step, "data") == tmp_path / "a.csv"
    (run.path / "sources" / "data").mkdir(parents=True)
    assert run.source(step, "data") == run.path / "sources" / "data" / "a.csv"


@pytest.mark.parametrize("name", ["data", "steps/first/work", "events.jsonl", "not-there"])
def test_a_link_that_leads_out_of_a_run_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "mine"
    if name != "not-there":  # what is not there yet could be written
        outside.mkdir()
    link = run.path / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    with pytest.raises(RunError, match="leads out") as caught:
        Run.open(run.path)
    assert caught.value.where == str(link)


def test_links_within_a_run_and_to_a_run_are_followed(run: Run, tmp_path: Path) -> None:
    (run.path / "last").symlink_to("steps")
    (run.path / "itself").symlink_to("itself")
    (tmp_path / "by-another-name").symlink_to(run.path)
    assert Run.open(tmp_path / "by-another-name").plan == run.plan
