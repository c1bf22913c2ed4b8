"""A run at a site as its user has it: submitted, left alone, looked at from another laptop."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth.errors import StepFailed
from deepsynth.run.run import Run
from deepsynth.runners import get_runner
from deepsynth.runners.slurm.journey import need_record, write_record
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import SiteEnvironment
from tests.conftest import Answer
from tests.support.tickets import wait_until
from tests.support.toy import counted, counting, make_run, shell

FOLLOW = (
    "import sys; from pathlib import Path\n"
    "from deepsynth.run.run import Run; from deepsynth.runners import get_runner\n"
    "run = Run(Path(sys.argv[1])); get_runner('hpc').run(run, run.plan.steps)"
)


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own sites.yaml, naming the login node."""
    path = tmp_path / "config" / "deepsynth" / "sites.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "hpc: {host: hpc, partition: cpu, memory: 300M, environments: "
        f"{{this: {{venv: {sys.prefix}}}}}}}\n"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


def test_the_laptop_is_closed_and_another_one_takes_over(
    hpc: SlurmRunner, sites: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    prepare = shell("prepare", 'mkdir "$0/data"; echo 1 > "$0/data/one"', outputs=["data"])
    train = counting(100, 0.1, after=["prepare"], inputs=["data"])
    run = make_run(tmp_path / "letters", prepare, train)
    with subprocess.Popen([sys.executable, "-c", FOLLOW, str(run.path)]) as follower:
        wait_until(lambda: (run.path / "logs").exists() and _trains(run))
        follower.send_signal(signal.SIGKILL)
    other = Path(shutil.copytree(run.path, tmp_path / "other" / "letters"))
    assert not list((other / "logs").iterdir()), "it has the run folder and no more"

    told = command("status", other)
    assert told.code == 0
    assert f"{other}: running" in told.out
    assert "Training: it runs (job " in told.out
    assert "Go on" not in told.out
    states = json.loads(command("status", other, "--json").out)
    assert [step["state"] for step in states["steps"]] == ["done", "running"]
    assert command("logs", other).out.startswith("from 0\n")

    assert command("stop", other).code == 0
    assert "saved at" in command("logs", other, "train", "-f").out
    told = command("status", other)
    assert f"{other}: stopped" in told.out
    assert f"Go on: deepsynth run --resume {other}" in told.out

    resumed = Run(other)
    get_runner("hpc").run(resumed, resumed.plan.steps, lambda: None)
    assert (other / "model" / "weights").read_text() == counted(100)
    assert "trained 100" in command("logs", other).out
    assert not (other / "data").exists()
    assert command("fetch", other, "--everything").code == 0
    assert (other / "data" / "one").exists()
    assert "fetched and verified" in command("clean", other, "--on", "hpc").out
    assert command("status", other).out.startswith(f"{other}: done")


def test_a_setup_that_fails_is_told_and_its_log_found(
    hpc: SlurmRunner, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    broken = SiteEnvironment(setup=["echo 'no module krake' >&2; false"], venv=sys.prefix)
    hpc.site = hpc.site.model_copy(update={"environments": {"this": broken}})
    run = make_run(tmp_path / "run", counting(5), shell("after", "true", after=["train"]))
    with pytest.raises(StepFailed, match=r"it failed \(job \d+\): no module krake"):
        hpc.run(run, run.plan.steps)
    assert command("logs", run.path).out == "no module krake\n"
    states = json.loads(command("status", run.path, "--json").out)
    assert [step["state"] for step in states["steps"]] == ["failed", "pending"]


def test_what_was_last_heard_is_told_when_the_site_is_out_of_reach(
    hpc: SlurmRunner, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    run = make_run(tmp_path / "run", counting(5))
    hpc.run(run, run.plan.steps)
    record = need_record(run)
    write_record(run, record, site=record.site.model_copy(update={"host": "nowhere.invalid"}))
    told = command("status", run.path)
    assert told.code == 1
    assert f"{run.path}: done" in told.out
    assert "cannot be reached" in told.err
    told = command("status", run.path, "--json")
    assert (told.code, json.loads(told.out)["state"]) == (1, "done")


def _trains(run: Run) -> bool:
    return any(e.get("step") == "train" for e in run.events() if e["kind"] == "step_started")
