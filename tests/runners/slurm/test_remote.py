"""The whole journey over ssh, to a login node with its own home and Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepsynth.errors import StepFailed
from deepsynth.run.receipts import has_receipt, is_done, step_key
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from deepsynth.run.step import Step
from deepsynth.runners.slurm.journey import need_record
from deepsynth.runners.slurm.runner import SlurmRunner, attach
from deepsynth.runners.slurm.site import SiteEnvironment
from tests.servers.remote import RemoteHost
from tests.support.toy import GPU, counted, counting, make_run, shell


def test_sources_go_and_model_comes_back(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    truth = tmp_path / "Vérité terrain"
    (truth / "pages").mkdir(parents=True)
    (truth / "pages" / "a b.txt").write_text("texte")
    prepare = shell(
        "prepare",
        'mkdir "$0/data"; cat "$0"/sources/gt/*/pages/* > "$0/data/compiled"',
        sources={"gt": str(truth)},
        outputs=["data"],
    )
    train = counting(20, after=["prepare"], inputs=["data"], resources=GPU)
    run = make_run(tmp_path / "été 1", prepare, train)
    hpc.run(run, run.plan.steps)
    assert (run.path / "model" / "weights").read_text() == counted(20)
    assert not (run.path / "data").exists(), "compiled data stays there unless asked for"
    assert has_receipt(run, train)
    hpc.fetch(run, everything=True)
    assert (run.path / "data" / "compiled").read_text() == "texte"
    for step in run.plan.steps:
        assert is_done(run, step, step_key(run, step))
    assert "trained 20" in "\n".join(hpc.logs(run, "train"))
    assert "hpc-login" in (run.path / "steps" / "train" / "receipt.json").read_text()
    folder = need_record(run).folder
    assert folder.startswith("/home/alice/deepsynth/runs/t_1-"[:26])
    assert remote_host.root(f"ls '{folder}/slurm'").split().count("submit.sh") == 1


def test_another_laptop_needs_only_the_run_folder(hpc: SlurmRunner, tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", counting(10))
    hpc.submit(run)
    shutil.copytree(run.path, tmp_path / "two")
    for path in (run.path, tmp_path / "two"):
        own = Run.open(path)
        runner = attach(own)
        runner.follow(own)
        runner.fetch(own)
        assert (own.path / "model" / "weights").read_text() == counted(10)


def test_plain_commands_leave_receipts_after_fetch(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    plain = SiteEnvironment(setup=["module load kraken"], deepsynth=False)
    site = hpc.site.model_copy(update={"environments": {"this": plain}})
    runner = SlurmRunner("hpc", site, lambda line: None)
    compile_ = shell(
        "compile", 'mkdir -p "$0/data"; echo x > "$0/data/x y.arrow"', outputs=["data"]
    )
    train = shell(
        "train",
        'pwd > "$0/model/where"; cat "$0/data/x y.arrow" > "$0/model/best"; echo trained',
        after=["compile"],
        inputs=["data"],
        outputs=["model/best", "model/where"],
    )
    run = make_run(tmp_path / "plain", compile_, train)
    runner.run(run, run.plan.steps)
    for step in run.plan.steps:
        assert is_done(run, step, step_key(run, step))
    assert (run.path / "model" / "where").read_text().endswith("/steps/train/work\n")
    assert list(runner.logs(run, "train")) == ["trained"]
    out = next((run.path / "slurm").glob("train-*.out")).read_text()
    assert "module load kraken" in out


def test_a_site_behind_a_jump_host(hpc: SlurmRunner, sockets: Path, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("page")
    copy = shell(
        "train",
        'mkdir "$0/model"; cp "$0"/sources/page/* "$0/model"',
        sources={"page": str(tmp_path / "page")},
        outputs=["model"],
    )
    run = make_run(tmp_path / "run", copy)
    site = hpc.site.model_copy(update={"host": "behind"})
    runner = SlurmRunner("behind", site, lambda line: None)
    assert runner.connection.check("echo ${SSH_CONNECTION##* }", "no") == "2222\n"
    runner.run(run, run.plan.steps)
    assert (run.path / "model" / "page").read_text() == "page"


JOIN = """
import pathlib, sys
run, made, *names = sys.argv[1:]
(pathlib.Path(run) / made).parent.mkdir(exist_ok=True)
text = "".join(pathlib.Path(name).read_text() for name in names)
(pathlib.Path(run) / made).write_text(text + made)
"""


def joining(name: str, made: str, *names: str, **fields: object) -> Step:
    """A step in Python, which a site without DeepSynth cannot do."""
    argv = ["{python}", "-c", JOIN, "{run}", made, *names]
    return shell(name, "", argv=argv, outputs=[made.split("/")[0]], **fields)


def test_what_needs_deepsynth_is_done_on_this_side(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    page = tmp_path / "page.txt"
    page.write_text("one ")
    plain = {"this": SiteEnvironment(deepsynth=False)}
    hpc.site = hpc.site.model_copy(update={"environments": plain})
    run = make_run(
        tmp_path / "run",
        joining("prepare", "data/compiled", "{sources[page]}", sources={"page": str(page)}),
        shell(
            "tool",
            'mkdir "$0/made"; cat "$0/data/compiled" > "$0/made/out"; pwd',
            after=["prepare"],
            inputs=["data"],
            outputs=["made"],
        ),
        joining("train", "model/final", "{run}/made/out", after=["tool"], inputs=["made"]),
    )
    hpc.run(run, run.plan.upto("tool"))
    assert not (run.path / "model").exists()
    assert "page.txt" not in remote_host.root(f"find '{need_record(run).folder}'")
    assert hpc.lines(run)[-1] == "train: to be done on this side, in its turn"

    other = Run.open(Path(shutil.copytree(run.path, tmp_path / "other")))
    attach(other).fetch(other)
    assert (other.path / "model" / "final").read_text() == "one data/compiledmodel/final"
    assert run_state(other).state == "done"

    page.write_text("two ")
    hpc.run(run, run.plan.steps)
    assert (run.path / "model" / "final").read_text() == "two data/compiledmodel/final"
    assert list(hpc.logs(run, "tool"))[-1].endswith("/steps/tool/work")


def test_a_source_that_is_corrected_is_sent_again(hpc: SlurmRunner, tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text("wrong")
    read = 'mkdir "$0/data"; cp "$0/sources/page/page.txt" "$0/data/"'
    check = 'mkdir "$0/model"; grep right "$0/data/page.txt" > "$0/model/kept"'
    run = make_run(
        tmp_path / "run",
        shell("prepare", read, sources={"page": str(page)}, outputs=["data"]),
        shell("train", check, after=["prepare"], inputs=["data"], outputs=["model"]),
    )
    with pytest.raises(StepFailed):
        hpc.run(run, run.plan.steps)
    page.write_text("right")
    said: list[str] = []
    hpc.say = said.append
    hpc.run(run, run.plan.steps)
    assert (run.path / "model" / "kept").read_text() == "right\n"
    assert "page changed since; what was made of it is done again." in said
    other = Run.open(Path(shutil.copytree(run.path, tmp_path / "other")))
    page.unlink()
    attach(other).run(other, other.plan.steps)
    assert (other.path / "model" / "kept").exists()
