"""Doctor, clean and setup at a site."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App

from deepsynth import DISTRIBUTION
from deepsynth.checks import Severity
from deepsynth.errors import RunError
from deepsynth.run.receipts import has_receipt
from deepsynth.runners import get_runner
from deepsynth.runners.slurm.clean import clean
from deepsynth.runners.slurm.doctor import examine
from deepsynth.runners.slurm.install import install, pinned
from deepsynth.runners.slurm.journey import need_record
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Allocation, SiteEnvironment
from deepsynth.runners.slurm.transfer import TransferFailed
from tests.conftest import Answer
from tests.servers.remote import RemoteHost
from tests.support.tickets import wait_until
from tests.support.toy import counted, counting, make_run, shell


def test_a_good_site_has_nothing_wrong(hpc: SlurmRunner) -> None:
    findings = examine("hpc", hpc.site)
    wrong = [f.code for f in findings if f.severity is not Severity.INFO]
    assert wrong == ["site-gpu"], "the torch of the tests is built for CPUs"
    told = {f.code: f.what for f in findings}
    assert [f.where for f in findings if f.code == "site-job"] == ["sbatch", "sbatch (cpu)"]
    assert [f.where for f in findings if f.code == "site-files"] == ["rsync", "sftp"]
    assert told["site-login"] == "Logged in as alice@hpc-login."
    assert "cpu, grantgpu, publicgpu" in told["site-partitions"]
    assert told["site-environment"].startswith("It has deepsynth ")


def test_what_is_wrong_with_a_site_is_said(hpc: SlurmRunner) -> None:
    site = hpc.site.model_copy(
        update={
            "constraint": "gputx",
            "time": "3-0",
            "cpu": Allocation(partition="cup"),
            "workspace": "/proc/nowhere",
            "environments": {"this": SiteEnvironment(venv="/nowhere")},
        }
    )
    wrong = {f.code for f in examine("hpc", site) if f.severity is Severity.ERROR}
    assert wrong == {
        "site-refused",
        "site-time",
        "site-partition",
        "site-workspace",
        "site-environment",
    }


def test_a_login_that_talks_a_clock_and_a_queue_are_told(
    hpc: SlurmRunner, remote_host: RemoteHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote_host.root("cp /home/alice/.bashrc /opt/bashrc; sed -i '1i echo Hi' /home/alice/.bashrc")
    remote_host.root("scontrol update partition=cpu state=down")
    monkeypatch.setattr("deepsynth.runners.slurm.trial.PATIENCE", 2)
    monkeypatch.setattr("time.time", lambda now=time.time: now() - 900)
    try:
        found = {f.code: f for f in examine("hpc", hpc.site)}
    finally:
        remote_host.root("cp /opt/bashrc /home/alice/.bashrc")
        remote_host.root("scontrol update partition=cpu state=up")
    assert "prints: Hi" in found["site-shell"].what
    assert ".bashrc" in found["site-shell"].fix
    assert "starts none now" in found["site-waits"].what
    assert found["site-clock"].what == "Its clock is 15 min ahead."
    assert remote_host.root("squeue -h -p cpu") == "", "the job that waits is cancelled"


def test_a_setup_that_fails_is_no_environment(hpc: SlurmRunner) -> None:
    def told(*setup: str) -> tuple[Severity, str]:
        plain = SiteEnvironment(setup=list(setup), deepsynth=False)
        site = hpc.site.model_copy(update={"environments": {"this": plain}})
        found = {f.code: f for f in examine("hpc", site)}["site-environment"]
        return found.severity, found.what

    wrong = "{ echo \"Unable to locate 'krake'\" >&2; false; }"
    assert told(wrong) == (Severity.ERROR, "Its setup fails: Unable to locate 'krake'")
    assert told("module load pages")[0] is Severity.INFO


def test_an_unreachable_site_is_one_finding(hpc: SlurmRunner) -> None:
    (finding,) = examine("x", hpc.site.model_copy(update={"host": "nowhere.invalid"}))
    assert finding.code == "site-login"
    assert finding.severity is Severity.ERROR


def test_clean_deletes_only_what_was_verified_here(
    hpc: SlurmRunner,
    remote_host: RemoteHost,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "config" / "deepsynth" / "sites.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"hpc: {{host: hpc, environments: {{this: {{venv: {sys.prefix}}}}}}}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "page").write_text("page")
    prepare = shell(
        "prepare",
        'mkdir "$0/data"; head -c 3000000 /dev/zero > "$0/data/compiled"',
        sources={"page": str(tmp_path / "page")},
        outputs=["data"],
    )
    train = counting(5, after=["prepare"], inputs=["data"])
    run = make_run(tmp_path / "runs" / "letters", prepare, train)
    app = App(result_action="return_value")
    app.command(clean)
    arguments = ["clean", "--on", "hpc", "--runs", str(tmp_path / "runs")]

    hpc.submit(run)
    folder = need_record(run).folder
    with pytest.raises(RunError, match="not done there"):
        app([*arguments, str(run.path)])
    hpc.follow(run)
    remote_host.root(f"cp '{folder}/model/weights' /tmp/w; echo 1 >'{folder}/model/weights'")
    with pytest.raises(TransferFailed):
        app([*arguments, str(run.path)])
    assert "compiled" in remote_host.root(f"ls '{folder}/data'")
    remote_host.root(f"cp /tmp/w '{folder}/model/weights'")

    app([*arguments, str(run.path)])
    printed = capsys.readouterr().out
    assert "fetched and verified; 3." in printed
    assert f"runs/{need_record(run).run_id}  {run.path}" in printed
    left = remote_host.root(f"cd '{folder}' && ls").split()
    assert {"data", "sources", "logs"}.isdisjoint(left)
    assert "model" in left
    assert (run.path / "model" / "weights").read_text() == counted(5)
    assert (run.path / "logs" / "train.log").exists()
    assert has_receipt(run, train)
    remote_host.root("mkdir -p /home/alice/deepsynth/wheels/3fa2b1")
    app([*arguments, "--sources"])
    printed = capsys.readouterr().out
    assert "sources/" not in printed.split("in all")[0].split("runs/")[0]
    assert "wheels/3fa2b1" in printed, "what a setup left is listed"
    assert remote_host.root("ls /home/alice/deepsynth/sources") == ""


def test_what_failed_or_was_abandoned_goes_once_its_user_says_so(
    hpc: SlurmRunner,
    remote_host: RemoteHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Answer],
) -> None:
    config = tmp_path / "config" / "deepsynth" / "sites.yaml"
    config.parent.mkdir(parents=True)
    text = "{host: hpc, partition: cpu, workspace: ~/abandoned, environments: {this: {venv: %s}}}"
    config.write_text(f"hpc: {text % sys.prefix}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def clean(*words: object, say: str = "") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.StringIO(say))
        return command("clean", *words, "--on", "hpc", "--force")

    runner = get_runner("hpc")
    run = make_run(tmp_path / "letters", counting(400, 0.1))
    other = make_run(tmp_path / "other", counting(400, 0.1))
    for one in (run, other):
        runner.submit(one)  # type: ignore[attr-defined]
    wait_until(lambda: (e := runner.status(run).active) and e[0].kind == "running")  # type: ignore[attr-defined]
    folder = need_record(run).folder
    wait_until(lambda: remote_host.root(f"ls {folder}/steps/train/work/checkpoint || true"))
    assert "End it first" in clean(run.path, say="y\n").err
    told = command("stop", "--on", "hpc")
    assert sorted(told.out.split()) == sorted(
        ["Stopped:", need_record(run).run_id, "Stopped:", need_record(other).run_id]
    )
    wait_until(lambda: not runner.status(run).active and not runner.status(other).active)  # type: ignore[attr-defined]
    assert "checkpoints of a training" in clean(run.path, say="\n").out
    assert remote_host.root(f"ls -d {folder}"), "nobody said yes"
    assert "deleted there" in clean(run.path, say="y\n").out
    assert "deleted there" in clean(f"runs/{need_record(other).run_id}", say="y\n").out
    assert remote_host.root("ls /home/alice/abandoned/runs") == ""
    assert "no such name" in clean("runs/..", say="y\n").err


def test_pins_are_the_versions_here_and_nothing_local() -> None:
    pins = dict(pin.split("==") for pin in pinned(DISTRIBUTION))
    assert {"pydantic", "cyclopts", "jinja2", "typing-extensions"} <= pins.keys()
    assert DISTRIBUTION not in pins
    assert not any("+" in version for version in pins.values())


@pytest.mark.slow
def test_setup_installs_an_environment_without_network(
    hpc: SlurmRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The training packages are gigabytes; the way they would go is the same.
    monkeypatch.setattr("deepsynth.runners.slurm.install.installed_extras", list)
    python = f"export PATH={sys.base_prefix}/bin:$PATH"
    this = SiteEnvironment(setup=[python], venv="~/offline/environments/this")
    site = hpc.site.model_copy(update={"workspace": "~/offline", "environments": {"this": this}})
    folder = install(site, offline=True, say=lambda line: None)
    assert folder == "/home/alice/offline/environments/this"
    run = make_run(tmp_path / "run", counting(5))
    SlurmRunner("hpc", site, lambda line: None).run(run, run.plan.steps)
    assert (run.path / "model" / "weights").read_text() == counted(5)
