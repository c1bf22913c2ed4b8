"""The text a site is given: the guide's header, clean for shellcheck, submitted by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from deepsynth.run.step import Resources, Step
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.script import batch_script, ranges, shell_path
from deepsynth.runners.slurm.site import Allocation, Site, SiteEnvironment
from tests.support.toy import counted, counting, make_run, shell

TRAIN = Step(
    name="train",
    title="Training",
    argv=[
        "ketos",
        "--workers",
        "{cpus}",
        "-o",
        "{run}/model",
        "{sources[gt]}/x y.xml",
        "{index:05d}",
    ],
    sources={"gt": "/home/me/Ground Truth"},
    outputs=["model"],
    resources=Resources(cpus=4, memory_gb=16, gpus=1, minutes=900),
)
CENTRE = Site(
    host="hpc",
    partition="publicgpu",
    time="8:00:00",
    gres="gpu:1",
    constraint="gputc",
    mail="me@example.org",
    account="lab",
    environments={
        "this": SiteEnvironment(setup=["module load kraken"], deepsynth=False, signal="USR1")
    },
)
VARIANTS = {
    "plain": CENTRE,
    "ours": CENTRE.model_copy(update={"environments": {}}),
    "image": Site(environments={"this": SiteEnvironment(image="~/é t/x.sif", venv="$WORK/v")}),
    "image of the centre": CENTRE.model_copy(
        update={
            "environments": {
                "this": SiteEnvironment(
                    setup=["module load apptainer", "export TMPDIR=/scratch"],
                    image="docker://ghcr.io/mittagessen/kraken:5.2",
                    deepsynth=False,
                )
            }
        }
    ),
    "here": Site(),
}


def test_the_guides_header_comes_out() -> None:
    text = batch_script(TRAIN, CENTRE, "run-1")
    assert text.startswith("#!/bin/bash -l\n")
    for line in (
        "--partition=publicgpu",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=4",
        "--mem=15258M",
        "--gres=gpu:1",
        '--constraint="gputc"',
        "--time=08:00:00",
        "--account=lab",
        "--mail-user=me@example.org",
        "--signal=B:USR1@180",
    ):
        assert f"#SBATCH {line}\n" in text
    assert "\nmodule load kraken\n" in text
    assert "export OMP_NUM_THREADS=1\n" in text
    assert 'kill -USR1 "$child"' in text
    assert "2 allocations may be used" in text
    command = next(line for line in text.splitlines() if "exec ketos" in line)
    assert command == (
        '  exec ketos --workers "$SLURM_CPUS_PER_TASK" -o "$run"/model '
        '"$run"\'/sources/gt/Ground Truth/x y.xml\' "$(printf %05d "$index")"'
    )


def test_mail_comes_when_it_was_asked_for() -> None:
    text = batch_script(TRAIN, CENTRE.model_copy(update={"mail_type": "BEGIN,TIME_LIMIT"}), "run-1")
    assert "#SBATCH --mail-type=BEGIN,TIME_LIMIT\n" in text


def test_an_image_is_run_by_apptainer_with_the_run_in_it() -> None:
    text = batch_script(TRAIN, VARIANTS["image of the centre"], "run-1")
    before, _, command = text.partition("  exec ")
    assert "\nmodule load apptainer\nexport TMPDIR=/scratch\n" in before
    assert command.startswith(
        'apptainer exec --nv --bind "$run" docker://ghcr.io/mittagessen/kraken:5.2 ketos --workers'
    )
    ours = batch_script(TRAIN, VARIANTS["image"], "run-1")
    image = "\"$HOME\"/'é t/x.sif'"
    assert (
        f'apptainer exec --nv --bind "$run" {image} python3 -m deepsynth.run.step "$run" train'
        in ours
    )
    assert 'source "${WORK:?}"/v/bin/activate' in ours


def test_a_step_without_accelerator_asks_for_none() -> None:
    step = TRAIN.model_copy(update={"resources": Resources(minutes=10)})
    assert "--gres" not in batch_script(step, CENTRE, "run-1")
    site = CENTRE.model_copy(update={"cpu": Allocation(partition="cpu", cpus=8, memory="4G")})
    text = batch_script(step, site, "run-1")
    assert "#SBATCH --partition=cpu\n" in text
    assert "#SBATCH --cpus-per-task=8\n" in text
    assert "#SBATCH --mem=4G\n" in text
    assert "#SBATCH --account=lab\n" in text
    assert "--constraint" not in text


def test_memory_is_asked_for_the_cores_that_are(tmp_path: Path) -> None:
    step = TRAIN.model_copy(update={"resources": Resources(cpus=4, memory_gb=4, core_gb=0.1)})
    assert "--mem=3814M" in batch_script(step, Site(), "run-1")
    assert "--mem=9536M" in batch_script(step, Site(cpus=64), "run-1")


@pytest.mark.parametrize("site", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("array", [1, 24])
def test_shellcheck_has_nothing_to_say(site: Site, array: int, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    step = TRAIN.model_copy(update={"array": array})
    run = make_run(tmp_path / "run", step, shell("after", "true", after=["train"]))
    for name, text in SlurmRunner("x", site).scripts(run).items():
        file = tmp_path / name
        file.write_text(text)
        done = subprocess.run(["shellcheck", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_dry_run_names_every_file_and_makes_none(tmp_path: Path) -> None:
    truth = tmp_path / "gt"
    truth.mkdir()
    (truth / "page.xml").write_text("<p/>")
    step = TRAIN.model_copy(update={"sources": {"gt": str(truth)}})
    run = make_run(tmp_path / "run", step)
    before = sorted(run.path.rglob("*"))
    text = SlurmRunner("hpc", CENTRE).dry_run(run)
    assert f"# send {truth} to sources/gt/gt (4 bytes)" in text
    assert "# send plan.json" in text
    assert "# ---- slurm/train.sbatch\n#!/bin/bash -l\n" in text
    assert sorted(run.path.rglob("*")) == before


def test_scripts_work_when_submitted_by_hand(here: SlurmRunner, tmp_path: Path) -> None:
    run = make_run(tmp_path / "by hand", counting(5))
    folder = run.path / "slurm"
    folder.mkdir()
    for name, text in here.scripts(run).items():
        (folder / name).write_text(text)
    subprocess.run(["bash", "slurm/submit.sh"], cwd=run.path, check=True, env=os.environ)
    end = time.monotonic() + 60
    while not (run.path / "steps" / "train" / "receipt.json").exists():
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.2)
    assert (run.path / "model" / "weights").read_text() == counted(5)


def test_small_words() -> None:
    assert ranges([0, 1, 2, 7, 9, 10]) == "0-2,7,9-10"
    assert shell_path("~/a b") == "\"$HOME\"/'a b'"
    assert shell_path("$WORK/x") == '"${WORK:?}"/x'
    assert shell_path("/a;b") == "'/a;b'"
