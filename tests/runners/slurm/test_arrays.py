"""Sharded steps: failed elements are named, and only they are submitted again."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.errors import StepFailed
from deepsynth.run.step import Step
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import SiteEnvironment
from tests.support.toy import make_run, shell

SCRIPT = """
echo "element $1"
echo "$1" >> "$0/attempts"
case $1 in 1 | 3) [ -e "$0/repaired" ] || { echo "no page $1" >&2; exit 3; } ;; esac
mkdir -p "$0/data"
echo "shard $1" > "$0/data/$1.txt"
"""


def shards() -> list[Step]:
    outputs = ["data/{index}.txt"]
    argv = ["bash", "-ec", SCRIPT.replace("{", "{{").replace("}", "}}"), "{run}", "{index}"]
    first = shell("shards", "", argv=argv, array=4, outputs=outputs)
    joined = 'cat "$0"/data/*.txt > "$0/joined"'
    return [first, shell("join", joined, after=["shards"], outputs=["joined"])]


@pytest.mark.parametrize(
    "deepsynth",
    [pytest.param(True, id="ours", marks=pytest.mark.slow), pytest.param(False, id="plain")],
)
def test_only_failed_elements_again(here: SlurmRunner, tmp_path: Path, deepsynth: bool) -> None:
    if not deepsynth:
        plain = {"this": SiteEnvironment(deepsynth=False)}
        here.site = here.site.model_copy(update={"environments": plain})
    run = make_run(tmp_path / "run", *shards())
    with pytest.raises(StepFailed) as caught:
        here.run(run, run.plan.steps)
    assert "elements 1, 3: " in str(caught.value)
    assert "no page" in str(caught.value)
    assert {e.index for e in here.status(run).failed if e.step == "shards"} == {1, 3}
    (run.path / "repaired").touch()
    here.run(run, run.plan.steps)
    assert (run.path / "joined").read_text().split("\n")[:-1] == [f"shard {n}" for n in range(4)]
    attempts = (run.path / "attempts").read_text().split()
    assert sorted(attempts) == sorted("0123" + "13")
    assert here.status(run).done()
