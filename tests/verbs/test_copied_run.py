"""A run folder that somebody else made: what it holds is read, and nothing it says is executed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.families import get_family, load
from deepsynth.run.run import Run
from tests.conftest import Answer
from tests.support import tickets

Command = Callable[..., Answer]


@pytest.fixture
def copied(tmp_path: Path) -> Run:
    resolved = load(tickets.write_job(tmp_path / "tickets"))
    plan = get_family(resolved.job.family).plan(resolved)
    return Run.create(tmp_path / "copied", resolved, plan)


def tamper(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    plan = durable.read_json(run.path / "plan.json")
    change(plan)
    (run.path / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("verb", [("check",), ("run", "--resume"), ("prepare",), ("train",)])
def test_the_command_lines_of_a_plan_are_not_believed(
    copied: Run, tmp_path: Path, command: Command, verb: tuple[str, ...]
) -> None:
    victim = tmp_path / "victim"

    def change(plan: dict[str, Any]) -> None:
        plan["steps"][0]["argv"] = ["touch", str(victim)]

    tamper(copied, change)
    answer = command(*verb, copied.path)
    assert answer.code == 2
    assert not victim.exists()
    assert "plan.json" in answer.err
    assert "argv of the step prepare" in answer.err


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "/tmp/evil"},
        {"outputs": ["../victim"]},
        {"title": "Preparing\n#SBATCH --wrap=id"},
        {"outputs": ["data", "job.yaml"]},
        {"unknown": 1},
    ],
)
def test_what_reaches_out_of_the_run_is_refused_when_it_is_read(
    copied: Run, tmp_path: Path, command: Command, change: dict[str, Any]
) -> None:
    (tmp_path / "victim").mkdir()
    tamper(copied, lambda plan: plan["steps"][0].update(change))
    answer = command("check", copied.path)
    assert answer.code == 2
    assert "plan.json" in answer.err
    assert (tmp_path / "victim").exists()


def test_a_link_in_the_run_does_not_lead_what_is_removed_out_of_it(
    copied: Run, tmp_path: Path
) -> None:
    from deepsynth.errors import RunError
    from deepsynth.run.execution import execute
    from tests.support.toy import make_run, shell

    victim = tmp_path / "victim"
    (victim / "merged").mkdir(parents=True)
    step = shell("first", "true", outputs=["model/merged"])
    run = make_run(tmp_path / "linked", step)
    (run.path / "model").symlink_to(victim)
    with pytest.raises(RunError, match="out of the run"):
        execute(run, step)
    assert (victim / "merged").is_dir()


def test_an_earlier_version_s_plan_is_made_anew_and_says_so(copied: Run, command: Command) -> None:
    def change(plan: dict[str, Any]) -> None:
        plan["deepsynth"] = "0.1.0"
        plan["steps"][0]["argv"][2] = "deepsynth.families.classify.an_earlier_name"

    tamper(copied, change)
    answer = command("prepare", copied.path)
    assert "DeepSynth 0.1.0" in answer.err
    assert Run(copied.path).plan.steps[0].argv[2] == "deepsynth.families.classify.prepare"
    assert (copied.path / "data").is_dir()


def test_a_run_that_was_copied_as_it_is_goes_on(
    copied: Run, tmp_path: Path, command: Command
) -> None:
    command("prepare", copied.path)
    shutil.copytree(copied.path, tmp_path / "again")
    assert "done before" in command("prepare", tmp_path / "again").err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.json", "{}"),
        ("plan.json", "[1"),
        ("resolved.yaml", "a: &x [*x]"),
        ("resolved.yaml", "family: {value: classify, from: file}\nmodel: 3"),
        ("resolved.yaml", "- a"),
        ("resolved.yaml", ""),
    ],
)
def test_a_damaged_run_is_told_in_a_line(
    copied: Run, command: Command, name: str, text: str
) -> None:
    (copied.path / name).write_text(text)
    answer = command("prepare", copied.path)
    assert answer.code == 2
    assert name in answer.err
