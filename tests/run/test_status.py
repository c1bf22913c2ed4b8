from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.run import receipts
from deepsynth.run.run import ELSEWHERE, Run
from deepsynth.run.status import run_state
from tests.support.toy import make_run, shell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", shell("first", "true"), shell("second", "true"))


def states(run: Run) -> tuple[str, list[str]]:
    found = run_state(run)
    return found.state, [step.state for step in found.steps]


def begin(run: Run, name: str) -> None:
    (run.path / "steps" / name).mkdir(exist_ok=True)
    run.event("step_started", step=name, index=0)


def finish(run: Run, name: str) -> None:
    step = run.plan.step(name)
    receipts.write_receipt(run, step, receipts.key_of(step, {}, {}), started=0.0)
    run.event("step_done", step=name, index=0, seconds=0.1)


def test_the_life_of_a_run_as_its_files_tell_it(run: Run) -> None:
    assert states(run) == ("pending", ["pending", "pending"])
    with run.lock():
        begin(run, "first")
        run.progress("first", 1, 2, "rows")
        found = run_state(run)
        assert (found.state, found.steps[0].state) == ("running", "running")
        assert found.steps[0].progress
        assert found.steps[0].progress["done"] == 1
    assert states(run) == ("interrupted", ["interrupted", "pending"])
    with run.lock():
        begin(run, "first")
        finish(run, "first")
        begin(run, "second")
        assert states(run) == ("running", ["done", "running"])
        run.event("step_failed", step="second", index=0, error={"what": "it broke."})
    found = run_state(run)
    assert (found.state, found.steps[1].error) == ("failed", {"what": "it broke."})
    begin(run, "second")
    run.event("step_stopped", step="second", index=0)
    assert states(run) == ("stopped", ["done", "stopped"])
    begin(run, "second")
    finish(run, "second")
    assert states(run) == ("done", ["done", "done"])


def test_done_is_believed_for_a_receipt_only(run: Run) -> None:
    for name in ("first", "second"):
        begin(run, name)
        finish(run, name)
    receipts.receipt_path(run, run.plan.step("second")).unlink()
    assert states(run) == ("pending", ["done", "pending"])


def test_a_skipped_step_is_done_though_this_log_never_saw_it_run(run: Run) -> None:
    for name in ("first", "second"):
        begin(run, name)
        finish(run, name)
    (run.path / "events.jsonl").unlink()
    assert states(run) == ("done", ["done", "done"])


def test_what_another_place_does_is_told_as_last_heard(run: Run) -> None:
    run.begin("slurm:hpc")
    begin(run, "first")
    durable.write_json(run.path / ELSEWHERE, {"first": "running", "second": "pending"})
    found = run_state(run)
    assert states(run) == ("running", ["running", "pending"])
    assert found.steps[0].seconds < 60
    durable.write_json(run.path / ELSEWHERE, {"first": "done", "second": "done"})
    assert states(run) == ("done", ["done", "done"]), "although no receipt was fetched"
    run.begin("slurm:hpc")
    assert states(run) == ("done", ["done", "done"]), "what was heard counts until more is heard"
    run.begin("local")
    assert states(run) == ("interrupted", ["interrupted", "pending"])
