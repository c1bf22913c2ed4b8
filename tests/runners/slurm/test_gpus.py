"""GPUs: training and evaluating ask for what a site offers, and nobody trains on a CPU unawares."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deepsynth.families import get_family, load
from deepsynth.run.step import Plan
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.script import batch_script
from deepsynth.runners.slurm.site import Allocation, Site
from deepsynth.training.device import ASKED, tell_device
from tests.conftest import Answer
from tests.support.jobs import SMALL, htr
from tests.support.toy import counting, make_run, shell

CENTRE = Site(host="hpc", partition="publicgpu", gres="gpu:1", cpu=Allocation(partition="cpu"))


def plan_of(path: Path, *overrides: str) -> Plan:
    job = load(path, overrides)
    return get_family(job.job.family).plan(job)


def with_gpu(plan: Plan, site: Site) -> list[str]:
    texts = {step.name: batch_script(step, site, "run-1") for step in plan.steps}
    return [name for name, text in texts.items() if "#SBATCH --gres=gpu:1\n" in text]


@pytest.mark.parametrize(
    ("family", "wanted"),
    [("classify", ["check", "train", "evaluate"]), ("htr", ["train", "evaluate"])],
)
def test_training_and_evaluating_ask_for_what_the_site_offers(
    family: str, wanted: list[str], tmp_path: Path
) -> None:
    path = SMALL[family](tmp_path)
    assert with_gpu(plan_of(path), CENTRE) == wanted
    assert with_gpu(plan_of(path), Site(partition="cpu")) == [], "it offers none"
    assert with_gpu(plan_of(path, "gpus=0"), CENTRE) == []
    assert with_gpu(plan_of(path, "gpus=1"), Site()) == wanted, "one is asked for by its job"


def test_a_centres_own_ketos_asks_too(tmp_path: Path) -> None:
    path = htr(tmp_path, kraken={"toolchain": "site", "version": 5})
    assert with_gpu(plan_of(path), CENTRE) == ["ketos", "evaluate"]
    assert with_gpu(plan_of(path, "train.device=cpu"), CENTRE) == []


@pytest.mark.parametrize(
    ("visible", "device"), [("0", "cuda:0"), ("", "cpu"), ("NoDevFiles", "cpu")]
)
def test_ketos_is_told_the_device_it_was_given(visible: str, device: str, tmp_path: Path) -> None:
    ketos = tmp_path / "ketos-5"
    ketos.write_text('#!/bin/sh\necho "$@"\ntouch models/model_best.mlmodel\n')
    ketos.chmod(0o755)
    path = htr(tmp_path, kraken={"toolchain": "site", "version": 5, "ketos": str(ketos)})
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "data" / f"{split}.txt").write_text("x.arrow\n")
    foreign = tmp_path / "steps" / "ketos" / "work" / "models"
    foreign.mkdir(parents=True)
    (foreign / "model_7.mlmodel").touch()
    step = plan_of(path).step("ketos")
    argv = [part.format(run=tmp_path, cpus=2, sources={}) for part in step.argv]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert f" -d {device} " in done.stdout
    assert ("on the CPU" in done.stdout) is (device == "cpu"), "it is said first"
    assert "begins anew" in done.stdout, "what came from elsewhere is not unpickled"
    assert [path.name for path in (tmp_path / "ketos").iterdir()] == ["model_best.mlmodel"]
    again = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert "-i models/model_best.mlmodel" in again.stdout, "it goes on from its own"


def test_dry_run_and_check_say_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Answer]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    sites = tmp_path / "config" / "deepsynth" / "sites.yaml"
    sites.parent.mkdir(parents=True)
    sites.write_text("hpc: {host: hpc, gres: 'gpu:1'}\nplain: {host: hpc, partition: x}\n")
    path = htr(tmp_path)
    told = command("run", path, "--on", "hpc", "--dry-run").out
    assert "# train, evaluate: one GPU each (gpu:1)\n" in told
    told = command("run", path, "--on", "plain", "--dry-run").out
    assert "# train, evaluate: no GPU, since the site has no `gres`" in told
    findings = yaml.safe_load(command("check", path, "--on", "hpc", "--json").out)
    assert [f["severity"] for f in findings if f["code"] == "site-gpus"] == ["info"]
    findings = yaml.safe_load(command("check", path, "--on", "plain", "--json").out)
    (found,) = [f for f in findings if f["code"] == "site-gpus"]
    assert (found["severity"], "gres: gpu:1" in found["fix"]) == ("warning", True)


@pytest.mark.parametrize(("given", "says"), [("asked gpu:1", "gpu:1"), ("not asked", "gres")])
def test_a_training_on_a_cpu_where_there_are_gpus_says_it(
    given: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", counting(1))
    tell_device(run, gpu=False)
    monkeypatch.setenv(ASKED, given)
    tell_device(run, gpu=True)
    assert not [e for e in run.events() if e["kind"] == "note"]
    tell_device(run, gpu=False)
    (note,) = [e["text"] for e in run.events() if e["kind"] == "note"]
    assert "CPU" in note
    assert says in note


def test_a_site_with_gpus_that_asks_for_none_is_told_of_them(
    hpc: SlurmRunner, tmp_path: Path
) -> None:
    said: list[str] = []
    hpc.site = hpc.site.model_copy(update={"gres": None})
    hpc.say = said.append
    auto = counting(1).resources.model_copy(update={"gpus": "auto"})
    script = f'mkdir "$0/model"; echo "${ASKED}" >"$0/model/x"'
    run = make_run(tmp_path / "run", shell("train", script, outputs=["model"], resources=auto))
    hpc.run(run, run.plan.steps)
    assert any("gpu:2" in line and "gres" in line for line in said), said
    assert (run.path / "model" / "x").read_text() == "not asked\n"
