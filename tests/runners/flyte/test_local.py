"""`--on flyte:local`: the same results, a lasting cache, errors and stops that reach the user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from deepsynth.run.step import Step
from deepsynth.runners import get_runner
from tests.conftest import Answer
from tests.runners.flyte.conftest import OWN, made, small_chain
from tests.support import tickets, toy

ARTICLES = Path(__file__).parents[3] / "examples" / "articles" / "articles.jsonl"


def run_on(place: str, run: Run, steps: list[Step] | None = None) -> Run:
    get_runner(place).run(run, steps or run.plan.steps, lambda: None)
    return run


def kinds(run: Run) -> list[tuple[str, str]]:
    return [(e["kind"], e["step"]) for e in run.events() if e.get("step")]


def test_results_keys_and_logs_are_those_of_the_local_runner(
    make_run: Callable[..., Run], chain: list[Step]
) -> None:
    here, flyte = make_run("here", *chain), make_run("flyte", *chain)
    run_on("local", here)
    run_on("flyte:local", flyte)
    assert made(flyte) == made(here)
    assert (flyte.path / "merged.txt").read_text() == "0 of 3\n1 of 3\n"
    for step in chain:
        for index in range(step.array):
            one, two = (
                durable.read_json(receipts.receipt_path(run, step, index)) for run in (here, flyte)
            )
            assert one["key"] == two["key"]
            assert receipts.is_done(flyte, step, receipts.step_key(flyte, step), index)
    logs = [sorted((r.path / "logs/shard.log").read_text().splitlines()) for r in (here, flyte)]
    assert logs[0] == logs[1] == ["0 of 3", "1 of 3"]
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


def test_elements_are_done_side_by_side_but_not_all_at_once(
    make_run: Callable[..., Run], tmp_path: Path, flyte_home: Path
) -> None:
    (flyte_home / OWN).write_text("concurrency: 2\n")
    for name in ("started", "running", "seen"):
        (tmp_path / name).mkdir()
    script = (
        'touch "$0/started/$1" "$0/running/$1"\n'
        'for _ in $(seq 200); do [ "$(ls "$0/started" | wc -l)" -lt 2 ] || break; sleep 0.1; done\n'
        'ls "$0/running" | wc -l > "$0/seen/$1"; sleep 0.3; rm "$0/running/$1"\n'
        'mkdir -p "$2/shards"; echo "$1" > "$2/shards/$1"\n'
    )
    shards = Step.model_validate(
        {
            "name": "shards",
            "argv": ["bash", "-ec", script, str(tmp_path), "{index}", "{run}"],
            "outputs": ["shards/{index}"],
            "array": 5,
        }
    )
    run = run_on("flyte:local", make_run("shards", shards))
    assert sorted(path.name for path in (run.path / "shards").iterdir()) == list("01234")
    assert max(int(path.read_text()) for path in (tmp_path / "seen").iterdir()) == 2


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
    assert (again.path / "merged.txt").read_text() == "0 of 1\n1 of 1\n"


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
        "import sys\nfrom pathlib import Path\nfrom deepsynth.run.run import Run\n"
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


@pytest.mark.slow
def test_a_dataset_is_drawn_in_parallel_parts_with_the_same_bytes(
    flyte_home: Path, command: Callable[..., Answer]
) -> None:
    """`generate --array`: its elements are tasks of their own."""
    articles = flyte_home / "some.articles.jsonl"
    shutil.copyfile(ARTICLES, articles)
    for place, name in (("local", "here"), ("flyte:local", "flyte")):
        options = ("--max-samples", 6, "--on", place, "--array", 2, "--quiet")
        answer = command("generate", articles, *options, "--output-dir", name)
        assert answer.code == 0, answer.err
        shutil.rmtree("runs")
    assert durable.digest(Path("flyte")) == durable.digest(Path("here"))


# Flyte leaves the template of its report page open.
@pytest.mark.filterwarnings("ignore:.*_template.html:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_classify_gives_the_bytes_of_the_local_runner(
    trained_here: Run, make_run: Callable[..., Run]
) -> None:
    run = run_on("flyte:local", make_run("here", job=trained_here.path.parent / "job" / "job.yaml"))
    assert made(run) == made(trained_here)
    assert tickets.curve(run.path) == tickets.curve(trained_here.path)
    assert run_state(run).state == "done"
    keys = [receipts.step_key(run, step) for step in run.plan.steps]
    assert keys == [receipts.step_key(trained_here, step) for step in run.plan.steps]
