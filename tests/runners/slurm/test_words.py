"""What a centre says is told as it is, and what is told to do next works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from deepsynth.run.step import Resources, Step
from deepsynth.runners.slurm.connection import RemoteError
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.script import batch_script
from deepsynth.runners.slurm.site import Site, SiteEnvironment
from deepsynth.runners.slurm.transfer import Transfer, TransferFailed
from deepsynth.runners.slurm.words import explain
from tests.conftest import Answer
from tests.servers.remote import RemoteHost
from tests.support.toy import counting, make_run


@pytest.mark.parametrize(
    "said", ["quota: 80 %", "Disk quotas for user alice (uid 1000):", "Quota: 12 of 50 GB used"]
)
def test_a_quota_that_is_told_is_not_one_that_is_exceeded(said: str) -> None:
    assert explain(said) is None


@pytest.mark.parametrize("said", ["Disk quota exceeded", "you are over quota", "Quota exceeded."])
def test_a_quota_that_is_exceeded_is_told(said: str) -> None:
    assert "deepsynth clean" in str(explain(said))


@pytest.fixture
def talking(remote_host: RemoteHost) -> Iterator[RemoteHost]:
    """A login node whose shells say something of their own, on both streams."""
    remote_host.root(
        "cp /home/alice/.bashrc /opt/bashrc; "
        "sed -i '1i echo Welcome; echo quota: 80 % of 50 GB >&2' /home/alice/.bashrc; "
        "echo 'echo quota: 80 % of 50 GB >&2' >/etc/profile.d/quota.sh"
    )
    yield remote_host
    remote_host.root("cp /opt/bashrc /home/alice/.bashrc; rm /etc/profile.d/quota.sh")


@pytest.mark.parametrize("way", ["rsync", "sftp"])
def test_a_shell_that_talks_is_told_how_to_be_silent(
    way: Literal["rsync", "sftp"], talking: RemoteHost, hpc: SlurmRunner, tmp_path: Path
) -> None:
    hpc.__dict__["transfer"] = Transfer(hpc.connection, way=way)
    run = make_run(tmp_path / "run", counting(1))
    with pytest.raises(TransferFailed) as caught:
        hpc.run(run, run.plan.steps)
    assert ".bashrc" in str(caught.value.hint)
    assert "Give the same command again" not in str(caught.value.hint)


def test_what_a_login_says_is_not_what_failed(talking: RemoteHost, hpc: SlurmRunner) -> None:
    with pytest.raises(RemoteError, match="refused: it is so") as caught:
        hpc.connection.check("echo it is so >&2; exit 1", "refused")
    assert caught.value.hint is None


def test_status_does_not_wait_for_a_controller_that_is_down(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(1))
    hpc.run(run, run.plan.steps)
    remote_host.root("kill -STOP $(cat /opt/slurm/run/slurmctld.pid)")
    begun = time.monotonic()
    try:
        with pytest.raises(RemoteError, match="does not answer"):
            hpc.status(run)
    finally:
        remote_host.root("kill -CONT $(cat /opt/slurm/run/slurmctld.pid)")
    assert time.monotonic() - begun < 25


PROGRAM = """
import pathlib, signal, sys, time
work = pathlib.Path("steps/train/work")
def stop(*_):
    if len(sys.argv) > 1:
        work.mkdir(parents=True, exist_ok=True)
        (work / "checkpoint").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("limit", [True, False])
def test_what_a_step_saved_is_told_as_it_is(saves: bool, limit: bool, tmp_path: Path) -> None:
    step = Step(name="train", argv=["true"], resources=Resources(minutes=60))
    text = batch_script(
        step, Site(host="x", time=30, environments={"this": SiteEnvironment()}), "r"
    )
    own = f"'{sys.executable}' ../program.py {'saves' if saves else ''}"
    text = text.replace('python3 -m deepsynth.run.step "$run" train "$index"', own)
    if limit:
        text = text.replace('"$SECONDS" -ge', "2000 -ge")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho requeued\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    run = tmp_path / "run"
    (run / "slurm").mkdir(parents=True)
    (run / "batch").write_text(text.replace("#!/bin/bash -l", "#!/bin/bash"))
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    with subprocess.Popen(
        ["bash", "batch"], cwd=run, stdout=subprocess.PIPE, text=True, env=environment
    ) as job:
        while not (run / "ready").exists():
            time.sleep(0.02)
        subprocess.run(["kill", "-USR1", str(job.pid)], check=True)
        said, _ = job.communicate(timeout=30)
    if saves:
        assert "saved; back in the queue" in said
    elif limit:
        assert "requeued" not in said, "it would begin anew each time, and never end"
        assert "cannot save" in said
        assert " no 7 " in (run / "slurm" / "train-0.end").read_text()
    else:
        assert "requeued" in said
        assert "saved" not in said


def test_what_repair_tells_to_do_next_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Answer]
) -> None:
    from tests.support.jobs import htr

    htr(tmp_path / "hand")
    monkeypatch.chdir(tmp_path)
    told = command("repair", "hand/truth", "hand/mended").out
    (line,) = [line for line in told.splitlines() if line.startswith("Next: ")]
    words = line.removeprefix("Next: deepsynth ").split()
    assert command(*words, "--quiet").code == 0, words
