"""`--on flyte:local`: the same results, a lasting cache, errors and stops that reach the user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth import durable, receipts
from deepsynth.errors import StepFailed
from deepsynth.run import Run
from deepsynth.runners import get_runner
from deepsynth.status import run_state
from deepsynth.step import Step
from tests import tickets
from tests.runners.flyte.conftest import small_chain
from tests.runners.slurm import toy


def run_on(place: str, run: Run, steps: list[Step] | None = None) -> Run:
    get_runner(place).run(run, steps or run.plan.steps, lambda: None)
    return run


def kinds(run: Run) -> list[tuple[str, str]]:
    return [(e["kind"], e["step"]) for e in run.events() if e.get("step")]


def made(run: Run) -> dict[str, object]:
    return {
        output: durable.digest(run.path / output)
        for step in run.plan.steps
        for index in range(step.array)
        for output in receipts.outputs_of(step, index)
    }


def test_results_keys_and_logs_are_those_of_the_local_runner(
    make_run: Callable[..., Run], chain: list[Step]
) -> None:
    here, flyte = make_run("here", *chain), make_run("flyte", *chain)
    run_on("local", here)
    run_on("flyte:local", flyte)
    assert made(flyte) == made(here)
    assert (flyte.path / "merged.txt").read_text() == "0 of 3\n1 of 3\n2 of 3\n"
    for step in chain:
        for index in range(step.array):
            one, two = (
                durable.read_json(receipts.receipt_path(run, step, index)) for run in (here, flyte)
            )
            assert one["key"] == two["key"]
            assert receipts.is_done(flyte, step, receipts.step_key(flyte, step), index)
    logs = [sorted((r.path / "logs/shard.log").read_text().splitlines()) for r in (here, flyte)]
    assert logs[0] == logs[1] == ["0 of 3", "1 of 3", "2 of 3"]
    assert run_state(flyte).state == "done"


def test_the_cache_gives_what_was_done_even_when_tmp_was_cleaned(
    make_run: Callable[..., Run], chain: list[Step]
) -> None:
    first = run_on("flyte:local", make_run("first", *chain))
    shutil.rmtree("/tmp/flyte", ignore_errors=True)
    shutil.rmtree(first.path / "flyte")
    again = run_on("flyte:local", make_run("again", *chain))
    assert made(again) == made(first)
    assert {kind for kind, _ in kinds(again)} == {"step_skipped"}


def test_only_what_changed_is_done_again(make_run: Callable[..., Run], chain: list[Step]) -> None:
    run_on("flyte:local", make_run("first", *chain))
    changed = chain[2].model_copy(update={"settings": {"order": "any"}})
    again = run_on("flyte:local", make_run("again", *chain[:2], changed))
    assert ("step_started", "merge") in kinds(again)
    assert {kind for kind, step in kinds(again) if step != "merge"} == {"step_skipped"}


def test_a_result_removed_from_the_store_is_made_again(
    make_run: Callable[..., Run], chain: list[Step], flyte_home: Path
) -> None:
    first = run_on("flyte:local", make_run("first", *chain))
    shutil.rmtree(flyte_home / "deepsynth" / "flyte" / "store" / "steps" / "shard")
    again = run_on("flyte:local", make_run("again", *chain))
    assert made(again) == made(first)
    assert ("step_started", "shard") in kinds(again)


def test_some_steps_only(make_run: Callable[..., Run], chain: list[Step]) -> None:
    run = make_run("part", *chain)
    run_on("flyte:local", run, run.plan.upto("count"))
    assert (run.path / "data").exists()
    assert not (run.path / "shards").exists()


def test_the_message_of_a_failed_step_reaches_the_user(
    make_run: Callable[..., Run], source: Path
) -> None:
    run = make_run("bad", *small_chain(source, message="no more paper"))
    with pytest.raises(StepFailed, match="no more paper") as error:
        run_on("flyte:local", run)
    assert error.value.exit_code == 1
    assert run_state(run).state == "failed"
    assert (run.path / "logs/shard.log").read_text().count("no more paper") >= 3


def test_a_changed_source_is_not_taken_for_the_old_one(
    make_run: Callable[..., Run], chain: list[Step], source: Path
) -> None:
    run_on("flyte:local", make_run("first", *chain))
    source.write_text("one\n")
    again = run_on("flyte:local", make_run("again", *chain))
    assert (again.path / "merged.txt").read_text() == "0 of 1\n1 of 1\n2 of 1\n"


def test_a_damaged_store_is_refused(
    make_run: Callable[..., Run], chain: list[Step], flyte_home: Path
) -> None:
    run_on("flyte:local", make_run("first", *chain))
    store = flyte_home / "deepsynth" / "flyte" / "store"
    (damaged,) = store.glob("steps/merge/*/*/merged.txt")
    damaged.write_text("something else\n")
    with pytest.raises(Exception, match="its checksum is another one"):
        run_on("flyte:local", make_run("again", *chain))


def test_a_step_saves_and_ends_when_its_runner_is_killed(tmp_path: Path) -> None:
    run = toy.make_run(tmp_path / "run", toy.counting(1200))
    script = (
        "import sys\nfrom pathlib import Path\nfrom deepsynth.run import Run\n"
        "from deepsynth.runners import get_runner\nrun = Run(Path(sys.argv[1]))\n"
        "get_runner('flyte:local').run(run, run.plan.steps, lambda: None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, run.path]) as runner:
        log = run.path / "logs" / "train.log"
        tickets.wait_until(lambda: log.exists() and log.read_text())
        runner.kill()
    tickets.wait_until(lambda: not run.is_locked(), 20, "the step")
    assert run_state(run).state == "interrupted"
    (work,) = Path(os.environ["DEEPSYNTH_HOME"]).glob("flyte/work/*/run")
    assert (work / "logs" / "train.log").read_text().splitlines()[-1].startswith("saved at")


# Flyte leaves the template of its report page open.
@pytest.mark.filterwarnings("ignore:.*_template.html:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_classify_gives_the_bytes_of_the_local_runner(
    finished: Path, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    """All files but those that hold measured seconds: the findings, and the report that cites them.

    The model is a saved one, since the vocabulary of a fresh one is another in every process.
    """
    job = tickets.write_job(tmp_path / "job", {"model": str(finished / "model")})
    here, flyte = make_run("same", job=job), make_run("flyte", job=job)
    run_on("local", here)
    run_on("flyte:local", flyte)
    one, two = made(here), made(flyte)
    for name in ("checks", "report.html"):
        del one[name], two[name]
    assert one == two
    assert tickets.curve(here.path) == tickets.curve(flyte.path)
    assert durable.read_json(here.path / "metrics.json") == flyte.final_metrics()
    assert run_state(flyte).state == "done"
