from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.run.run import Run
from tests.support.toy import make_run, shell

Command = Callable[..., Any]


def test_status_lists_runs_and_tells_one(command: Command, finished: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "new", shell("first", "true", title="Doing it"))
    listed = command("status", "--runs", tmp_path)
    assert listed.out.split() == ["pending", str(tmp_path / "new")]
    assert json.loads(command("status", "--runs", tmp_path, "--json").out) == {"new": "pending"}
    one = command("status", finished)
    assert one.out.startswith(f"{finished}: done\n")
    assert "Training" in one.out
    told = json.loads(command("status", finished, "--json").out)
    assert told["state"] == "done"
    assert [step["name"] for step in told["steps"]] == ["prepare", "check", "train", "evaluate"]
    assert all(step["seconds"] > 0 for step in told["steps"])
    nothing = command("status", "--runs", tmp_path / "none")
    assert nothing.code == 0
    assert "Make one: deepsynth run JOB" in nothing.out


def test_status_of_a_failed_run_says_why_and_how_to_go_on(command: Command, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shell("first", "true"))
    run.event("step_started", step="first", index=0)
    run.event("step_failed", step="first", index=0, error={"what": "[it] broke."})
    told = command("status", run.path)
    assert "failed" in told.out
    assert "[it] broke." in told.out
    assert f"Go on: deepsynth run --resume {run.path}" in told.out


def test_logs_are_of_the_last_step_that_printed(command: Command, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shell("first", "true"), shell("second", "true"))
    assert "no step has printed anything yet" in command("logs", run.path).err
    (run.path / "logs" / "first.log").write_text("one\n[red]two\n")
    assert command("logs", run.path).out == "one\n[red]two\n"
    missing = command("logs", run.path, "third")
    assert missing.code == 2
    assert "Steps: first, second." in missing.err


def test_there_is_nothing_to_stop(command: Command, finished: Path) -> None:
    answer = command("stop", finished)
    assert answer.code == 2
    assert "nothing is running here" in answer.err


@pytest.fixture
def other(finished: Path, tmp_path: Path) -> Path:
    """A run with another setting and other figures."""
    path = Path(shutil.copytree(finished, tmp_path / "other"))
    resolved = path / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("value: 2.0", "value: 5.0", 1))
    final = Run(path).final_metrics() or {}
    durable.write_json(path / "metrics.json", final | {"accuracy": 0.25})
    return path


def test_compare_shows_figures_and_what_differs(
    command: Command, finished: Path, other: Path
) -> None:
    told = json.loads(command("compare", finished, other, "--json").out)
    assert [*told[str(finished)]["figures"]][:2] == ["macro_f1", "accuracy"]
    assert list(told) == [str(finished), str(other)]
    assert told[str(other)]["figures"]["accuracy"] == 0.25
    assert told[str(other)]["settings"] == {"train.epochs": 5.0}
    table = command("compare", finished, other).out
    assert "0.2500" in table
    assert "train.epochs" in table
    assert "train.batch_size" not in table


def test_compare_says_first_whether_a_difference_is_shown(
    command: Command, finished: Path, other: Path
) -> None:
    file = other / "evaluation" / "predictions.csv"
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    final = Run(other).final_metrics() or {}
    final["classes"]["comment"]["f1"] = 0.125
    durable.write_json(other / "metrics.json", final)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"predicted": "comment"} for row in rows)
    told = command("compare", finished, other).out.splitlines()
    assert "the difference is shown" in " ".join(told[:3])
    assert [line.split()[2] for line in told if line.startswith("F1 of")] == ["comment"]
    assert len(told) < 12
    file.write_text(file.read_text().replace("parcel", "packet"))
    assert "other texts" in command("compare", finished, other).out


def test_compare_needs_two_runs_with_figures(
    command: Command, finished: Path, untrained: Path
) -> None:
    assert "give at least two runs" in command("compare", finished).err
    unfinished = command("compare", finished, untrained)
    assert unfinished.code == 2
    assert f"{untrained}: this run has no figures yet" in unfinished.err
