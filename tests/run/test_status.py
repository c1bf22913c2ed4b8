from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.run import receipts
from deepsynth.run.receipts import has_receipt, is_done, receipt_path
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", "{}"),
        ("plan.json", '{"steps": [{"name": "../x", "argv": ["x"]}]}'),
        ("plan.json", "[" * 100_000),
        ("events.jsonl", '1\n[]\n{"kind": 1}\n{"kind": "progress", "time": "x"}\n\xff\n'),
        ("events.jsonl", '{"time": 1, "kind": "step_done", "step": "first", "seconds": {}}\n'),
        ("steps/first/receipt.json", "[1]"),
        ("elsewhere.json", '{"first": {"a": 1}}'),
        ("metrics.json", "[]"),
        ("run.lock", '{"pid": "x"}'),
        ("resolved.yaml", "[\n"),
    ],
)
def test_one_broken_run_does_not_hide_the_others(
    tmp_path: Path, command: Callable[..., Any], name: str, content: str
) -> None:
    for folder in ("broken", "sound"):
        make_run(tmp_path / folder, shell("first", "true"))
    path = tmp_path / "broken" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    answer = command("status", "--runs", tmp_path)
    assert answer.code == 0
    assert "sound" in answer.out
    lines = [line for line in answer.out.splitlines() if str(tmp_path / "broken") in line]
    assert len(lines) == 1
    assert lines[0].startswith("broken") == (name == "plan.json")
    assert json.loads(command("status", "--runs", tmp_path, "--json").out).keys() == {
        "broken",
        "sound",
    }


def test_a_receipt_that_is_none_does_not_count(run: Run) -> None:
    step = run.plan.steps[0]
    receipt_path(run, step).parent.mkdir(parents=True)
    receipt_path(run, step).write_text('{"key": "x", "outputs": []}')
    assert not has_receipt(run, step)
    assert not is_done(run, step, "x")
